"""How many rows a hole has where every row sees every row: the model is told, and it does not fill up with ends.

Rule: a model that can grow and shrink its holes decides itself (`resizing.py`). For others a hole whose line ends
behind it has LINE_ROWS, and its first line break ends it. Other holes are tried with several lengths in one batch of
masks. A model is surer of a short canvas than of a long one, whatever the text: what counts is how much surer it is
than it usually was of that length. The best is decoded first, and the next one where its text breaks the file. What
breaks the file, the request's `breaks` says: nothing here parses.

    for draft in decode(model, cache, canvas, Policy(), request, Usual(), refresh=1, cancelled=lambda: False): ...

The mean confidence of the first step tells the length: CAL (arXiv 2602.00476).
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from cuda_ext.reference import row_stats
from cuda_ext.rules import Policy, expand
from diffusion.canvas import Canvas
from diffusion.denoise import denoise
from diffusion.inplace import InPlace
from diffusion.model.transformer import ContextCache, Transformer
from diffusion.request import UNSURE, Draft, Hole, InfillRequest, Start
from diffusion.resizing import FIRST_ROWS, denoise_resizing
from diffusion.vocabulary import NONE

LINE_ROWS = 24  # of a canvas whose text ends with its line
LENGTHS = (8, 4, 16, 32, 64)  # rows of a hole that are tried, in this order where confidence tells nothing
MOST_DECODED = 3  # lengths, where the texts of the first break the file


class Usual:
    """How sure a model was so far of canvases of masks, by their length."""

    def __init__(self) -> None:
        self._sure: dict[int, tuple[float, int]] = {}  # sum and count

    def better(self, sure: dict[int, float]) -> list[int]:
        """Lengths, that of which the model is surer by most than usual in front; `sure` counts from now on."""
        for length, value in sure.items():
            total, count = self._sure.get(length, (0.0, 0))
            self._sure[length] = total + value, count + 1
        above = {length: value - self._sure[length][0] / self._sure[length][1] for length, value in sure.items()}
        return sorted(above, key=lambda length: -above[length])


def decode(
    model: Transformer,
    cache: ContextCache,
    canvas: Canvas,
    policy: Policy,
    request: InfillRequest,
    usual: Usual,
    refresh: int,
    cancelled: Callable[[], bool],
) -> Iterator[Draft]:
    """Drafts of `canvas`, the last one `done`; its length chosen first where nothing tells it."""
    until_s = None if request.deadline_ms is None else time.perf_counter() + request.deadline_ms / 1000
    placed, tried = InPlace(model, canvas.end_id, refresh), list[Draft]()

    def left_ms() -> float | None:
        return None if until_s is None else max(0.0, (until_s - time.perf_counter()) * 1000)

    for n_rows in lengths(placed, cache, canvas, request, usual, lambda: cancelled() or left_ms() == 0):
        if tried and left_ms() == 0:
            break
        before, steps, done = placed.passes, tried[-1].step if tried else 0, False
        for draft in run(placed, cache, fitted(canvas, n_rows), policy, request, left_ms(), cancelled):
            passes, done = before + draft.forward_passes, draft.done
            draft = dataclasses.replace(draft, step=steps + draft.step, forward_passes=passes)
            if not done:
                yield draft
        if not done:
            return  # cancelled
        tried.append(draft)
        if draft.reason == UNSURE or request.breaks is None or not request.breaks(draft.text):
            yield draft
            return
    if tried and not cancelled():  # none is better than the first
        yield dataclasses.replace(tried[0], step=tried[-1].step, forward_passes=tried[-1].forward_passes)


def run(
    placed: InPlace,
    cache: ContextCache,
    canvas: Canvas,
    policy: Policy,
    request: InfillRequest,
    left_ms: float | None,
    cancelled: Callable[[], bool],
) -> Iterator[Draft]:
    """Drafts of a canvas whose holes have their lengths, or find them."""
    loop = denoise if canvas.tokenizer.vocabulary.expand == NONE else denoise_resizing
    options = (left_ms, request.temperature, request.seed, request.stop_below)
    return loop(placed, cache, canvas, policy, cancelled, *options)


def lengths(
    placed: InPlace,
    cache: ContextCache,
    canvas: Canvas,
    request: InfillRequest,
    usual: Usual,
    stopped: Callable[[], bool],
) -> list[int]:
    """Rows of a hole, what is to be decoded first in front; more than one where the next is worth a try."""
    longest = max(stop - start for start, stop in canvas.holes)
    if request.start is not None and request.start.text:
        return [longest if request.start.closed else rows_begun(canvas, request.start)]
    if canvas.tokenizer.vocabulary.expand != NONE:
        return [FIRST_ROWS]
    if ends_with_its_line(request):
        return [LINE_ROWS]
    found = [] if stopped() else by_confidence(placed, cache, canvas, usual, longest, stopped)
    return found[: MOST_DECODED if request.breaks else 1] or [longest]


def rows_begun(canvas: Canvas, start: Start) -> int:
    """Rows of the first hole that a text to start from takes, which goes on behind it: what it took before."""
    first, stop = canvas.holes[0]
    decided = np.flatnonzero(canvas.ids[first:stop] != canvas.mask_id)
    return min(stop - first, max(len(start.pieces), int(decided[-1]) + 1 if len(decided) else 1))


def ends_with_its_line(request: InfillRequest) -> bool:
    """Whether one hole of one line has nothing behind it on its line: there the first line break tells its length."""
    hole, behind = request.middle[-1], request.suffix.lstrip(" \t\r")[:1]
    return len(request.middle) == 1 and isinstance(hole, Hole) and not hole.multiline and behind in ("", "\n")


def fitted(canvas: Canvas, n_rows: int) -> Canvas:
    """A canvas whose holes have at most `n_rows` rows: those behind hold the end."""
    found = copy.copy(canvas)
    found.ids, found.fixed, found.probability = canvas.ids.copy(), canvas.fixed.copy(), canvas.probability.copy()
    for start, stop in canvas.holes:
        found.ids[start + n_rows : stop] = canvas.end_id
    return found


def by_confidence(
    placed: InPlace, cache: ContextCache, canvas: Canvas, usual: Usual, longest: int, stopped: Callable[[], bool]
) -> list[int]:
    """LENGTHS, that of the canvas of masks first which the model is surer of than usual; all in one batch."""
    lengths = list(dict.fromkeys(min(n, longest) for n in LENGTHS))
    canvases = [fitted(canvas, n).ids for n in lengths]
    tried = placed.try_all([ids[ids != canvas.end_id].tolist() for ids in canvases], cache, stopped)
    sure = (mean_confidence(canvas, ids, scores) for ids, scores in zip(canvases, tried, strict=False))
    return usual.better(dict(zip(lengths, sure, strict=False)))


def mean_confidence(canvas: Canvas, ids: np.ndarray, logits: torch.Tensor) -> float:
    """The mean probability of the likeliest tokens of the masked rows, where the canvas holds `ids`."""
    present = ids != canvas.end_id
    forbidden, ends = (torch.from_numpy(each[present]) for each in expand(canvas.rules(ids), canvas.flags))
    stats = row_stats(logits.masked_fill(forbidden, -torch.inf), torch.from_numpy(ids[present]), ends)
    return float(stats.probability[torch.from_numpy(ids[present] == canvas.mask_id)].mean())
