"""What a training canvas holds: the right tokens, which rows are fixed, masked or wrong, and what every row weighs.

Rule: fresh noise every time; a canvas weighs 1 by its masked rows and a little by its revealed ones (`weights`).

    content, fixed = noise.content(hole, n_rows); inputs, weights = noise.corrupt(content, fixed, masked)
"""

from __future__ import annotations

import numpy as np

from diffusion.tokenizer import Tokenizer
from diffusion.train.recipe import Recipe


class Noise:
    """Draws the noise of canvases; `noise_level` is low-discrepancy across them."""

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer, rng: np.random.Generator) -> None:
        self.recipe, self.rng = recipe, rng
        self.mask, self.end = tokenizer.vocabulary.mask, tokenizer.vocabulary.end
        self.texts = np.setdiff1d(np.arange(tokenizer.vocab_size), list(tokenizer.specials))
        self.index, self.offset = 0, rng.random()

    def level(self) -> float:
        """Uniform in (0, 1) with low discrepancy over successive canvases (golden-ratio sequence)."""
        self.index += 1
        return (self.offset + self.index * 0.6180339887498949) % 1.0

    def content(self, hole: np.ndarray, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Right tokens (C,) of a canvas and which of them are fixed; now and then two holes around fixed text."""
        content = np.full(n_rows, self.end)
        fixed = np.zeros(n_rows, dtype=bool)
        hole = hole[:n_rows]
        if 6 <= len(hole) <= n_rows - 4 and self.rng.random() < self.recipe.two_holes_share:
            a, b = np.sort(self.rng.integers(1, len(hole), 2))
            b = min(b, a + 8)
            slack = int(self.rng.integers(0, n_rows - len(hole)))
            content[:a], content[a + slack : slack + len(hole)] = hole[:a], hole[a:]
            fixed[a + slack : b + slack] = True
        else:
            content[: len(hole)] = hole
        return content, fixed

    def choose_masked(self, content: np.ndarray, fixed: np.ndarray, previous: np.ndarray | None) -> np.ndarray:
        """Bool (C,): the rows to mask, at least one; now and then those that the `previous` canvas revealed."""
        rng, recipe = self.rng, self.recipe
        free = ~fixed
        if previous is not None and len(previous) == len(free) and rng.random() < recipe.complement_share:
            complement = np.asarray(free & ~previous)
            if complement.any():
                return complement
        kind = rng.random()
        if kind < recipe.all_masked_share:
            return free
        kind -= recipe.all_masked_share
        text = np.flatnonzero(content != self.end)
        if kind < recipe.from_left_share and len(text):
            first = min(int(rng.integers(1, len(text) + 1)), len(content) - 1)
            return np.asarray(free & (np.arange(len(content)) >= first))
        kind -= recipe.from_left_share
        if kind < recipe.length_known_share and (free & (content != self.end)).any():
            free = free & (content != self.end)
        rows = np.flatnonzero(free)
        n_masked = max(1, int(np.ceil(self.level() * len(rows))))
        masked = np.zeros(len(content), dtype=bool)
        masked[rng.choice(rows, n_masked, replace=False)] = True
        return masked

    def corrupt(self, content: np.ndarray, fixed: np.ndarray, masked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Canvas input ids and loss weights (C,); a few revealed rows hold wrong tokens."""
        inputs = np.where(masked, self.mask, content)
        revealed = np.flatnonzero(~masked & ~fixed)
        wrong = revealed[self.rng.random(len(revealed)) < self.recipe.wrong_token_share]
        neighbour = content[np.minimum(wrong + 1, len(content) - 1)]
        random = self.rng.choice(self.texts, len(wrong))
        inputs[wrong] = np.where(self.rng.random(len(wrong)) < 0.5, neighbour, random)
        if self.recipe.row_decay < 1:
            return inputs, self.decaying(masked, content)
        return inputs, self.weights(masked, ~masked & ~fixed, self.recipe.revealed_weight)

    def decaying(self, masked: np.ndarray, content: np.ndarray) -> np.ndarray:
        """Loss weights (C,), 1 in all: each row behind the first masked one weighs `row_decay` of the row before.

        A draft is accepted from the left up to its first wrong token, and none of it behind an end: a row counts as
        often as it is reached.
        """
        rows = np.arange(len(masked))
        ends = rows[content == self.end]
        reached = rows <= (ends[0] if len(ends) and (content[ends[0] :] == self.end).all() else len(rows))
        weights = (masked & reached) * self.recipe.row_decay ** (rows - int(np.argmax(masked)))
        return np.asarray(weights / max(weights.sum(), 1e-9))

    def weights(self, masked: np.ndarray, revealed: np.ndarray, revealed_weight: float) -> np.ndarray:
        """Loss weights (C,): 1 in all for the masked rows, `revealed_weight` in all for the revealed ones.

        With the number of masked rows uniform this is the 1/t weight of arXiv 2406.07524 with less variance. With
        `flat_weight` a canvas weighs what the share of its rows that are masked is of its mean, one half.
        """
        weights: np.ndarray = masked * (2 / len(masked) if self.recipe.flat_weight else 1 / max(1, masked.sum()))
        if revealed.any():
            weights[revealed] = revealed_weight / revealed.sum()
        return weights

    def from_draft(self, draft: np.ndarray, hole: np.ndarray, n_rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Right tokens, input ids and loss weights (C,) of a canvas that starts from a recalled `draft` of its hole.

        Every row of text is revealed, or some are masked again, more of the wrong ones, as the loop does with what it
        doubts. The rows that hold text, in the draft or in the hole, and one end weigh 1 in all.
        """
        content, inputs = np.full(n_rows, self.end), np.full(n_rows, self.end)
        content[: min(len(hole), n_rows)], inputs[: min(len(draft), n_rows)] = hole[:n_rows], draft[:n_rows]
        rows = np.arange(n_rows) <= max(len(hole), len(draft))
        doubt = self.rng.random() if self.rng.random() < self.recipe.doubted_share else 0.0
        masked = rows & (self.rng.random(n_rows) < np.where(inputs == content, 0.2, 1.0) * doubt)
        inputs[masked] = self.mask
        return content, inputs, self.weights(masked, rows & ~masked, 1.0)
