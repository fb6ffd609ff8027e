"""Denoising where the model itself says how long a hole is (DreamOn): a masked row may become two, or none.

Rule: the same generator of drafts as `denoise.py`, with two more things that a row may say: EXPAND puts another mask
behind it, the end takes the row away. A hole has all its rows from the start; those it does not use hold the end.

    for draft in denoise_resizing(placed, cache, canvas, Policy(), cancelled=lambda: False): ...

DreamOn (arXiv 2602.01326).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from cuda_ext.reference import RowStats, gumbel, row_stats
from cuda_ext.rules import BREAK, Policy, expand
from diffusion.canvas import Canvas, ended
from diffusion.denoise import Model, guess, pad_with_ends
from diffusion.model.transformer import ContextCache
from diffusion.request import Draft

FIRST_ROWS = 8  # of a hole that may grow
STEPS_PER_ROW = 2  # of the largest canvas, at most


@dataclass(frozen=True)
class Predicted:
    """What one pass says of every row: `text` of text and ends alone, (C,) each of the rest, EXPAND included.

    `best`: a token of text, or EXPAND; `probability`: of that; `end`: of an end; `breaks`: that end is a line break.
    """

    text: RowStats
    best: np.ndarray
    probability: np.ndarray
    end: np.ndarray
    breaks: np.ndarray

    @property
    def confidence(self) -> np.ndarray:
        """Of whatever is likeliest, (C,)."""
        confidence: np.ndarray = np.maximum(self.probability, self.end)
        return confidence


def denoise_resizing(
    model: Model,
    cache: ContextCache,
    canvas: Canvas,
    policy: Policy,
    cancelled: Callable[[], bool],
    deadline_ms: float | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    stop_below: float = 0.0,
) -> Iterator[Draft]:
    """Drafts of `canvas` after each step, the last one `done`; `model` is an `InPlace`.

    At the deadline, or after STEPS_PER_ROW steps a row, one last step decides everything that is left.
    """
    started, step = time.perf_counter(), 0
    while not cancelled():
        step += 1
        late = deadline_ms is not None and (time.perf_counter() - started) * 1000 >= deadline_ms
        predicted = predict(model, cache, canvas, temperature, seed, step)
        if late or step >= STEPS_PER_ROW * len(canvas.ids):
            written = guess(canvas, predicted.text)
            canvas.write(written, np.where(written == canvas.end_id, predicted.end, predicted.probability))
            shown = canvas.ids
        else:
            shown = decide(canvas, predicted, policy.threshold)
        undecided = bool(canvas.masked.any())
        done = not undecided or canvas.is_unsure(stop_below)
        yield canvas.draft(shown, step, step, ended(late, undecided) if done else "")
        if done:
            return


def predict(model: Model, cache: ContextCache, canvas: Canvas, temperature: float, seed: int, step: int) -> Predicted:
    """What every row of the canvas says; one forward pass."""
    n_active, grows = canvas.n_active, canvas.tokenizer.vocabulary.expand
    ids = torch.from_numpy(canvas.ids[:n_active])
    with torch.no_grad():
        logits = model.logits(model.denoise(ids[None], cache)[0]).cpu()
    if temperature > 0:
        logits = logits / temperature + gumbel(seed, step, np.arange(n_active), logits.shape[1])
    forbidden, ends = (torch.from_numpy(mask) for mask in expand(canvas.rules()[:n_active], canvas.flags))
    scores = logits.masked_fill(forbidden, -torch.inf)
    text = row_stats(scores, ids, ends)
    breaks = torch.from_numpy(canvas.flags)[scores.masked_fill(~ends, -torch.inf).argmax(dim=1)] & BREAK
    room = torch.from_numpy(has_room(canvas)[:n_active])
    scores[room, grows] = logits[room, grows]
    stats = pad_with_ends(row_stats(scores, ids, ends), len(canvas.ids), canvas.end_id)
    broken = np.zeros(len(canvas.ids), dtype=bool)
    broken[:n_active] = breaks.numpy() != 0
    best, probability, end = stats.best.numpy(), stats.probability.numpy(), stats.end.numpy()
    return Predicted(pad_with_ends(text, len(canvas.ids), canvas.end_id), best, probability, end, broken)


def has_room(canvas: Canvas) -> np.ndarray:
    """Bool (C,): rows of holes that have a row to spare."""
    room = np.zeros(len(canvas.ids), dtype=bool)
    for start, stop in canvas.holes:
        room[start:stop] = canvas.ids[stop - 1] == canvas.end_id
    return room


def decide(canvas: Canvas, predicted: Predicted, threshold: float) -> np.ndarray:
    """Do what the rows say that are at least as sure as `threshold`, at least the surest one.

    Returns ids (C,) whose undecided rows hold a guess, or the mask where they are not likeliest to be text.
    """
    rows = np.flatnonzero(canvas.masked)
    sure = rows[predicted.confidence[rows] >= threshold]
    if not len(rows):
        return canvas.ids  # all of it was there from the start
    if not len(sure):
        sure = rows[np.argmax(predicted.confidence[rows])][None]
    is_text = (predicted.probability > predicted.end) & (predicted.best != canvas.tokenizer.vocabulary.expand)
    written, texts = canvas.ids.copy(), sure[is_text[sure]]
    written[texts] = predicted.best[texts]
    canvas.write(written, predicted.probability)
    guessed = np.where(canvas.masked & is_text, predicted.text.best.numpy(), canvas.ids)
    for row in sure[~is_text[sure]][::-1]:
        if not canvas.masked[row]:
            continue  # behind the end of its line
        if predicted.probability[row] > predicted.end[row]:
            guessed = double(canvas, row, guessed)
        else:
            guessed = take_out(canvas, row, guessed, bool(predicted.breaks[row]))
    lacking = canvas.end_to_take_back()
    if lacking is not None:
        canvas.ids[lacking] = guessed[lacking] = canvas.mask_id
    return guessed


def double(canvas: Canvas, row: int, guessed: np.ndarray) -> np.ndarray:
    """Another masked row behind `row`, where the hole has one to spare; returns `guessed` moved likewise."""
    if not has_room(canvas)[row]:
        return guessed
    _, stop = hole_of(canvas, row)
    order = np.arange(len(canvas.ids))
    order[row + 1 : stop] -= 1
    guessed = rearranged(canvas, order, guessed)
    canvas.ids[row : row + 2] = guessed[row : row + 2] = canvas.mask_id
    return guessed


def take_out(canvas: Canvas, row: int, guessed: np.ndarray, ends_line: bool) -> np.ndarray:
    """Without `row`, and at the end of a line without the masks behind it; returns `guessed` moved likewise."""
    start, stop = hole_of(canvas, row)
    behind = canvas.ids[row:stop]
    n_out = len(behind) if ends_line and bool(np.isin(behind, (canvas.mask_id, canvas.end_id)).all()) else 1
    order = np.arange(len(canvas.ids))
    order[row : stop - n_out] += n_out
    guessed = rearranged(canvas, order, guessed)
    canvas.ids[stop - n_out : stop] = guessed[stop - n_out : stop] = canvas.end_id
    canvas.fixed[stop - n_out : stop] = False
    return guessed


def hole_of(canvas: Canvas, row: int) -> tuple[int, int]:
    """The hole that `row` is in."""
    return next(hole for hole in canvas.holes if hole[0] <= row < hole[1])


def rearranged(canvas: Canvas, order: np.ndarray, guessed: np.ndarray) -> np.ndarray:
    """Put row order[i] of the canvas where row i was; returns `guessed` in that order."""
    canvas.ids, canvas.fixed = canvas.ids[order], canvas.fixed[order]
    canvas.probability = canvas.probability[order]
    moved: np.ndarray = guessed[order]
    return moved
