"""Full-bidirectional checkpoints in torch: the canvas stands between prefix and suffix, and every row sees every row.

Rule: `cache.ids` are the prefix and, `cache.behind` of them, the suffix; the canvas borrows the slots behind both,
whatever its position. A full pass goes over all rows and is exact. Between two full passes only the canvas and WINDOW
rows on either side are run, against the keys and values that the rows further away had at the last full pass. Rows of
the canvas that hold the end are not there: a hole that has ended is as long as its text, and the suffix moves up.

    for draft in decode(model, cache, canvas, Policy(), request, refresh=1, cancelled=lambda: False): ...

Frozen keys with a fresh neighbourhood: the dual cache of Fast-dLLM (arXiv 2505.22618), the vicinity of dInfer.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from cuda_ext.reference import row_stats
from cuda_ext.rules import Policy, expand
from diffusion.canvas import Canvas
from diffusion.denoise import denoise
from diffusion.model.transformer import ContextCache, Transformer, apply_rope, rope_tables, sdpa
from diffusion.request import Draft, Hole, InfillRequest
from diffusion.resizing import FIRST_ROWS, denoise_resizing
from diffusion.vocabulary import NONE

WINDOW = 16  # rows on either side of the canvas that every pass runs
LINE_ROWS = 24  # of a canvas whose text ends with its line
LENGTHS = (4, 8, 16, 32, 64)  # rows of a hole, of which the likeliest is taken


class InPlace:
    """The model as the denoising loop sees it: hidden rows of a canvas in its place."""

    def __init__(self, model: Transformer, end_id: int, refresh: int) -> None:
        self.model, self.end_id, self.refresh = model, end_id, refresh
        self.config = model.config
        self.passes = self.full_passes = 0
        self._n_rows = 0  # of the canvas at the last pass: where the keys of the suffix are turned to

    def denoise(self, canvas_ids: Tensor, cache: ContextCache) -> Tensor:
        """Hidden rows (1, C, d_model) of a canvas `canvas_ids` int64 (1, C), those that hold the end being zero."""
        there = canvas_ids[0] != self.end_id
        rows = canvas_ids[0][there].tolist()
        n_prefix = len(cache.ids) - cache.behind
        before, after = min(WINDOW, n_prefix), min(WINDOW, cache.behind)
        if self.passes % self.refresh == 0:
            before, after = n_prefix, cache.behind
            self.full_passes += 1
        else:
            turn_suffix(cache, len(rows) - self._n_rows, self.config.rope_base)
        hidden = self.run(cache, rows, before, after)
        self.passes, self._n_rows = self.passes + 1, len(rows)
        answers = torch.arange(len(rows)) + before + after
        if self.config.shift and rows:
            answers = torch.cat((torch.tensor([before - 1]), answers[:-1]))
        out = hidden.new_zeros(canvas_ids.shape[1], hidden.shape[-1])
        out[there] = hidden[answers.to(hidden.device)]
        return out[None]

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of hidden rows."""
        return self.model.logits(hidden)

    def run(self, cache: ContextCache, rows: list[int], before: int, after: int) -> Tensor:
        """Hidden rows of the last `before` rows of the prefix, the first `after` of the suffix, and the canvas."""
        first, stop = len(cache.ids), len(cache.ids) + len(rows)
        n_prefix = first - cache.behind
        if stop > cache.capacity:
            raise ValueError(f"rows up to {stop} do not fit the cache of {cache.capacity}")
        device = cache.k.device
        near = torch.arange(n_prefix - before, n_prefix + after, device=device)
        slots = torch.cat((near, torch.arange(first, stop, device=device)))
        ids = torch.tensor([*cache.ids, *rows], device=device)[slots]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            cache.k[layer].index_copy_(2, slots, k)
            cache.v[layer].index_copy_(2, slots, v)
            return sdpa(q, cache.k[layer, :, :, :stop], cache.v[layer, :, :, :stop], None)

        positions = in_order(slots, n_prefix, first, len(rows))[None]
        hidden: Tensor = self.model(ids[None], positions, ids[None], ids[None], positions < 0, attend)[0]
        return hidden


def in_order(slots: Tensor, n_prefix: int, first: int, n_rows: int) -> Tensor:
    """Positions of `slots`: the canvas, in the slots from `first` on, comes between prefix and suffix."""
    return torch.where(slots >= first, slots - first + n_prefix, slots + n_rows * (slots >= n_prefix).long())


def turn_suffix(cache: ContextCache, by: int, rope_base: float) -> None:
    """Turn the keys of the suffix to where it is when the canvas has `by` rows more: exact for the rotation."""
    if not by or not cache.behind:
        return
    slots = slice(len(cache.ids) - cache.behind, len(cache.ids))
    keys = cache.k[:, 0, :, slots].float()  # (layers, kv heads, S, d_head)
    cos, sin = rope_tables(torch.full((1, 1), by, device=keys.device), keys.shape[-1], rope_base)
    cache.k[:, 0, :, slots] = apply_rope(keys, cos, sin).to(cache.k.dtype)


def decode(
    model: Transformer,
    cache: ContextCache,
    canvas: Canvas,
    policy: Policy,
    request: InfillRequest,
    refresh: int,
    cancelled: Callable[[], bool],
) -> Iterator[Draft]:
    """Drafts of `canvas`, its length chosen first where nothing tells it."""
    began, before = time.perf_counter(), 0
    grows = canvas.tokenizer.vocabulary.expand != NONE
    if request.start is None or not request.start.text:
        if grows:
            fit(canvas, FIRST_ROWS)
        elif ends_with_its_line(request):
            fit(canvas, LINE_ROWS)
        elif not cancelled():
            fit(canvas, likeliest_length(model, cache, canvas))
            before = 1
    left_ms = request.deadline_ms
    if left_ms is not None:
        left_ms = max(0.0, left_ms - (time.perf_counter() - began) * 1000)
    placed = InPlace(model, canvas.end_id, refresh)
    loop = denoise_resizing if grows else denoise
    options = (left_ms, request.temperature, request.seed, request.stop_below)
    for draft in loop(placed, cache, canvas, policy, cancelled, *options):
        yield dataclasses.replace(draft, forward_passes=draft.forward_passes + before)


def ends_with_its_line(request: InfillRequest) -> bool:
    """Whether one hole of one line has nothing behind it on its line: there the first line break tells its length."""
    hole, behind = request.middle[-1], request.suffix.lstrip(" \t\r")[:1]
    return len(request.middle) == 1 and isinstance(hole, Hole) and not hole.multiline and behind in ("", "\n")


def fit(canvas: Canvas, n_rows: int) -> None:
    """Leave every hole its first `n_rows` rows: those behind hold the end."""
    canvas.ids = fitted(canvas, n_rows)


def fitted(canvas: Canvas, n_rows: int) -> np.ndarray:
    """Ids (C,) of a canvas whose holes have at most `n_rows` rows."""
    ids: np.ndarray = canvas.ids.copy()
    for start, stop in canvas.holes:
        ids[start + n_rows : stop] = canvas.end_id
    return ids


def likeliest_length(model: Transformer, cache: ContextCache, canvas: Canvas) -> int:
    """Of LENGTHS, that of the canvas of masks which the model is surest of on the whole; one pass over a batch."""
    longest = max(stop - start for start, stop in canvas.holes)
    lengths = sorted({min(n, longest) for n in LENGTHS})
    tried = [fitted(canvas, n) for n in lengths]
    logits = batch_logits(model, cache, [ids[ids != canvas.end_id].tolist() for ids in tried])
    sure = []
    for ids, scores in zip(tried, logits, strict=True):
        there = ids != canvas.end_id
        forbidden, ends = (torch.from_numpy(each[there]) for each in expand(canvas.rules(ids), canvas.flags))
        stats = row_stats(scores.masked_fill(forbidden, -torch.inf), torch.from_numpy(ids[there]), ends)
        masked = torch.from_numpy(ids[there] == canvas.mask_id)
        sure.append(float(stats.probability[masked].mean()))
    return lengths[int(np.argmax(sure))]


def batch_logits(model: Transformer, cache: ContextCache, canvases: list[list[int]]) -> list[Tensor]:
    """Logits (C, V) of each canvas in its place, all in one forward pass; the cache is left alone."""
    first, most = len(cache.ids), max(map(len, canvases))
    n_prefix, shift, device = first - cache.behind, int(model.config.shift), cache.k.device
    slots = torch.arange(first + most, device=device)
    ids = torch.tensor([cache.ids + rows + [0] * (most - len(rows)) for rows in canvases], device=device)
    positions = torch.stack([in_order(slots, n_prefix, first, len(rows)) for rows in canvases])
    seen = torch.stack([slots < first + len(rows) for rows in canvases])[:, None, None]

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return sdpa(q, k, v, seen)

    with torch.no_grad():
        hidden = model(ids, positions, ids, ids, positions < 0, attend)
        found = []
        for i, rows in enumerate(canvases):
            answers = torch.arange(first, first + len(rows), device=device) - shift
            if shift and len(rows):
                answers[0] = n_prefix - 1
            found.append(model.logits(hidden[i, answers]).cpu())
    return found
