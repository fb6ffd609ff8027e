"""Full-bidirectional checkpoints in torch: the canvas stands between prefix and suffix, and every row sees every row.

Rule: `cache.ids` are the prefix and, `cache.behind` of them, the suffix; the canvas borrows the slots behind both,
whatever its position. A full pass goes over all rows and is exact. Between two full passes only the canvas and WINDOW
rows on either side are run, against the keys and values that the rows further away had at the last full pass. Rows of
the canvas that hold the end are not there: a hole that has ended is as long as its text, and the suffix moves up.

    placed = InPlace(model, end_id, refresh=1); denoise(placed, cache, canvas, Policy(), cancelled=lambda: False)

Frozen keys with a fresh neighbourhood: the dual cache of Fast-dLLM (arXiv 2505.22618), the vicinity of dInfer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffusion.model.memory import BATCH_ROWS
from diffusion.model.transformer import ContextCache, Transformer, apply_rope, rope_tables, sdpa

WINDOW = 16  # rows on either side of the canvas that every pass runs


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
        rows = canvas_ids[0, there].tolist()
        n_prefix = len(cache.ids) - cache.behind
        before, after = min(WINDOW, n_prefix), min(WINDOW, cache.behind)
        if self.passes % self.refresh == 0:
            before, after = n_prefix, cache.behind
            self.full_passes += 1
        else:
            turn_suffix(cache, len(rows) - self._n_rows, self.config.rope_base)
        hidden = self.run(cache, rows, before, after)
        self.passes, self._n_rows = self.passes + 1, len(rows)
        out = hidden.new_zeros(canvas_ids.shape[1], hidden.shape[-1])
        out[there] = hidden[answers(before, after, len(rows), self.config.shift).to(hidden.device)]
        return out[None]

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of hidden rows."""
        return self.model.logits(hidden)

    def try_all(self, canvases: list[list[int]], cache: ContextCache, stopped: Callable[[], bool]) -> list[Tensor]:
        """Logits (C, V) of each of several canvases, in batches of at most BATCH_ROWS; of the first few if `stopped`.

        Run are all rows of each, or its neighbourhood.
        """
        n_prefix = len(cache.ids) - cache.behind
        before, after, was = n_prefix, cache.behind, 0
        if self.refresh > 1:
            if self.passes % self.refresh == 0:
                self.denoise(torch.tensor([canvases[0]], device=cache.k.device), cache)
            before, after, was = min(WINDOW, n_prefix), min(WINDOW, cache.behind), self._n_rows
        at_once = max(1, BATCH_ROWS // (before + after + max(map(len, canvases))))
        found: list[Tensor] = []
        while len(found) < len(canvases) and not stopped():
            some = canvases[len(found) : len(found) + at_once]
            found += batch_logits(self.model, cache, some, before, after, was)
            self.passes += 1
        return found

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


def in_order(slots: Tensor, n_prefix: int, first: int, n_rows: int | Tensor) -> Tensor:
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


def batch_logits(
    model: Transformer, cache: ContextCache, canvases: list[list[int]], before: int, after: int, was: int = 0
) -> list[Tensor]:
    """Logits (C, V) of each canvas in its place, all in one forward pass; the cache is left alone.

    Run are the last `before` rows of the prefix, the first `after` of the suffix, and the canvas; what is further away
    is taken from the cache, whose canvas had `was` rows.
    """
    first, most = len(cache.ids), max(map(len, canvases))
    n_prefix, shift, device = first - cache.behind, model.config.shift, cache.k.device
    order = torch.arange(first + most, device=device)
    slots = torch.cat((order[n_prefix - before : n_prefix + after], order[first:]))
    far = torch.cat((order[: n_prefix - before], order[n_prefix + after : first]))
    ids = torch.tensor([cache.ids + rows + [0] * (most - len(rows)) for rows in canvases], device=device)[:, slots]
    n_rows = torch.tensor([len(rows) for rows in canvases], device=device)[:, None]
    positions = in_order(slots[None], n_prefix, first, n_rows)
    seen = (torch.cat((far, slots))[None] < first + n_rows)[:, None, None]
    turned = rope_tables((n_rows - was) * (far >= n_prefix).long()[None], model.config.d_head, model.config.rope_base)

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        kept = cache.k[layer, :, :, far].float().transpose(1, 2).expand(len(canvases), -1, -1, -1)
        keys = apply_rope(kept, *turned).transpose(1, 2).to(k.dtype)
        values = cache.v[layer, :, :, far].expand(len(canvases), -1, -1, -1)
        return sdpa(q, torch.cat((keys, k), dim=2), torch.cat((values, v), dim=2), seen)

    with torch.no_grad():
        hidden = model(ids, positions, ids, ids, positions < 0, attend)
        rows = [answers(before, after, len(canvas), shift).to(device) for canvas in canvases]
        return [model.logits(hidden[i, predicting]).cpu() for i, predicting in enumerate(rows)]


def answers(before: int, after: int, n_rows: int, shift: bool) -> Tensor:
    """Which of the rows that are run, `before` and `after` a canvas and its own, predict those of the canvas."""
    rows = torch.arange(n_rows) + before + after
    return torch.cat((torch.tensor([before - 1]), rows[:-1])) if shift and n_rows else rows
