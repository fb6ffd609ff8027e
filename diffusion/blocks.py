"""Block-causal checkpoints in torch: a row sees its own block, and all blocks before it; the canvas goes on in them.

Rule: blocks are counted from the start of the context. Whole blocks of it are encoded once and exact; the tokens of the
last, begun one are run with the canvas, for they see its masks. Rows are decided block by block, as these models were
trained: a block stands on those before it. A model that shifts reads a token off the row before, in a block before too.

    blocks = Blocks(model); denoise(blocks, cache, canvas, Policy(), cancelled, within=blocks.within(cache))

Block diffusion (arXiv 2503.09573), SDAR (2510.06303), Fast-dLLM v2 (2509.26328).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from diffusion.canvas import Canvas
from diffusion.model.transformer import ContextCache, Transformer, sdpa


class Blocks:
    """The model as the denoising loop sees it: hidden rows of a canvas that goes on where the context ends."""

    def __init__(self, model: Transformer) -> None:
        self.model, self.config = model, model.config
        self.size = model.config.context_sees

    def denoise(self, canvas_ids: Tensor, cache: ContextCache) -> Tensor:
        """Hidden rows (1, C, d_model) of a canvas `canvas_ids` int64 (1, C)."""
        n_context, n_rows = len(cache.ids), canvas_ids.shape[1]
        start = n_context // self.size * self.size
        if self.config.shift and start == n_context:
            start -= 1  # the row whose answer is the canvas's first token; it sees what it saw
        ids, stop = cache.ids[start:] + canvas_ids[0].tolist(), n_context + n_rows
        if stop > cache.capacity:
            raise ValueError(f"rows up to {stop} do not fit the cache of {cache.capacity}")
        slots = torch.arange(stop, device=cache.k.device)
        seen = slots[None] < ((slots[start:] // self.size + 1) * self.size)[:, None]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            cache.k[layer, :, :, start:stop] = k
            cache.v[layer, :, :, start:stop] = v
            return sdpa(q, cache.k[layer, :, :, :stop], cache.v[layer, :, :, :stop], seen)

        rows, positions = torch.tensor([ids], device=slots.device), slots[None, start:]
        hidden: Tensor = self.model(rows, positions, rows, rows, positions < 0, attend)
        first = n_context - start - int(self.config.shift)
        return hidden[:, first : first + n_rows]

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of hidden rows."""
        return self.model.logits(hidden)

    def within(self, cache: ContextCache) -> Callable[[Canvas, np.ndarray], np.ndarray]:
        """What a step may write of what it would: no more than `in_turn` lets through."""
        return lambda canvas, written: in_turn(canvas, written, len(cache.ids), self.size)


def in_turn(canvas: Canvas, written: np.ndarray, n_context: int, size: int) -> np.ndarray:
    """`written` (C,) up to the block of the first masked row, and the rest of a hole that ends there."""
    masked = np.flatnonzero(canvas.masked)
    if not len(masked):
        return written
    stop = (n_context + int(masked[0])) // size * size + size - n_context
    ids = np.concatenate((written[:stop], canvas.ids[stop:]))
    for first, last in canvas.holes:
        ends = np.flatnonzero(written[first:last] == canvas.end_id)
        if len(ends) and first + ends[0] < stop and canvas.mask_id not in written[first : first + ends[0]]:
            ids[first:last] = written[first:last]
    return ids
