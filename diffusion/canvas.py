"""The canvas: rows that are fixed, masked or revealed, and what they read as text.

Rule: the only mutable thing in a denoising run; it knows tokens and bytes, not the model. C is the number of rows.

    canvas = Canvas.blank(tokenizer, (Hole(16),), left=NO_EDGE, right=NO_EDGE); canvas.draft(step=0, ...)
"""

from __future__ import annotations

import codecs
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffusion.healing import Edge
from diffusion.request import Draft, Hole
from diffusion.tokenizer import END, MASK, Tokenizer


@dataclass
class Canvas:
    """Rows of one infilling run.

    `ids` int64 (C,): MASK, END or a text token. `fixed` bool (C,): rows that must stay. `probability` float32 (C,):
    how sure the model was of a revealed row. `holes` are half-open row ranges; `multiline` says of each hole
    whether it may hold line breaks.
    """

    tokenizer: Tokenizer
    ids: Tensor
    fixed: Tensor
    probability: Tensor
    holes: list[tuple[int, int]]
    multiline: list[bool]
    left: Edge
    right: Edge

    @classmethod
    def blank(cls, tokenizer: Tokenizer, middle: tuple[Hole | str, ...], left: Edge, right: Edge) -> Canvas:
        """All holes masked, the text between them fixed."""
        ids: list[int] = []
        fixed: list[bool] = []
        holes: list[tuple[int, int]] = []
        for part in middle:
            rows = [MASK] * part.max_tokens if isinstance(part, Hole) else tokenizer.encode(part)
            if isinstance(part, Hole):
                holes.append((len(ids), len(ids) + len(rows)))
            ids += rows
            fixed += [not isinstance(part, Hole)] * len(rows)
        multiline = [part.multiline for part in middle if isinstance(part, Hole)]
        probability = torch.ones(len(ids))
        left = left if isinstance(middle[0], Hole) else Edge(left.text, None)
        right = right if isinstance(middle[-1], Hole) else Edge(right.text, None)
        return cls(tokenizer, torch.tensor(ids), torch.tensor(fixed), probability, holes, multiline, left, right)

    @property
    def masked(self) -> Tensor:
        """Bool (C,): rows not decided yet."""
        return (self.ids == MASK) & ~self.fixed

    @property
    def revealed(self) -> Tensor:
        """Bool (C,): rows that hold text the model chose."""
        return ~self.masked & ~self.fixed & (self.ids != END)

    @property
    def n_active(self) -> int:
        """Rows that still matter: those behind the first end of a trailing run of ends leave the canvas."""
        text = torch.nonzero(self.ids != END)
        return min(len(self.ids), int(text[-1]) + 2) if len(text) else 1

    def write(self, ids: Tensor, probability: Tensor) -> None:
        """Take over new `ids` (C,), with the model's `probability` (C,) for the rows that changed."""
        changed = (ids != self.ids) & ~self.fixed
        self.ids = torch.where(self.fixed, self.ids, ids)
        self.probability = torch.where(changed, probability, self.probability)

    def remask(self, rows: Tensor) -> None:
        """Mask `rows` (C,) again."""
        self.ids = torch.where(rows & ~self.fixed, MASK, self.ids)

    def length_unknown(self, guess: Tensor) -> bool:
        """Whether some hole has no end on the canvas."""
        return any(not bool((guess[start:stop] == END).any()) for start, stop in self.holes)

    def draft(self, guess: Tensor, step: int, forward_passes: int, reason: str = "") -> Draft:
        """What the canvas reads as, with `guess` (C,) standing in for the masked rows."""
        read = self._read(guess)
        text, spans = decode_spans(self.tokenizer, [token for token, _ in read])
        masked = [span for span, (_, undecided) in zip(spans, read, strict=True) if undecided]
        skip = len(self.left.text) if text.startswith(self.left.text) else 0
        stop = len(text) - len(self.right.text) if text.endswith(self.right.text) else len(text)
        stop = max(skip, stop)
        spans_left = merge_spans([(max(a, skip) - skip, min(b, stop) - skip) for a, b in masked])
        sure = self.probability[self.revealed]
        confidence = math.exp(float(sure.clamp_min(1e-9).log().mean())) if len(sure) else 0.0
        if reason == "complete" and self.length_unknown(guess):
            reason = "length"
        return Draft(step, text[skip:stop], spans_left, confidence, forward_passes, bool(reason), reason)

    def _read(self, guess: Tensor) -> list[tuple[int, bool]]:
        """(token, undecided) of every row that shows: holes up to their first end, fixed text whole."""
        ids, masked = torch.where(self.masked, guess, self.ids).tolist(), self.masked.tolist()
        hidden = np.zeros(len(ids), dtype=bool)
        for start, stop in self.holes:
            ended = next((row for row in range(start, stop) if ids[row] == END), stop)
            hidden[ended:stop] = True
        return [(ids[row], masked[row]) for row in range(len(ids)) if not hidden[row]]


def decode_spans(tokenizer: Tokenizer, ids: list[int]) -> tuple[str, list[tuple[int, int]]]:
    """Text of `ids` and the code points each token covers; tokens that share a character share its span."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text, spans = "", []
    for token in ids:
        start = len(text)
        text += decoder.decode(tokenizer.token_bytes[token])
        spans.append((start, len(text) + bool(decoder.getstate()[0])))
    text += decoder.decode(b"", final=True)
    return text, [(a, min(b, len(text))) for a, b in spans]


def merge_spans(spans: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Sorted, disjoint, non-empty."""
    merged: list[tuple[int, int]] = []
    for start, stop in spans:
        if stop <= start:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return tuple(merged)
