"""The honest baseline in torch: the same weights, the same context, decoded token by token.

Rule: greedy, one forward pass per token, exact KV cache, the same constraints as the canvas; single hole only.

    for draft in autoregress(model, cache, canvas, cancelled=lambda: False): ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from cuda_ext.reference import row_stats
from cuda_ext.rules import expand
from diffusion.canvas import Canvas
from diffusion.model.transformer import ContextCache, Transformer
from diffusion.request import Draft


def autoregress(
    model: Transformer, cache: ContextCache, canvas: Canvas, cancelled: Callable[[], bool]
) -> Iterator[Draft]:
    """A draft per token, the last one `done`; the cache holds the same context afterwards."""
    if len(canvas.holes) != 1:
        raise ValueError("autoregressive decoding fills one hole")
    context = list(cache.ids)
    newest, last = context[-1:], len(context) - 1
    kept = cache.k[:, :, :, last].clone(), cache.v[:, :, :, last].clone()
    cache.keep(last)
    row, passes = 0, 0
    try:
        while not cancelled():
            with torch.no_grad():
                logits = model.logits(model.encode(newest, cache)[-1:]).cpu()
            passes += 1
            forbidden, ends = (torch.from_numpy(mask) for mask in expand(canvas.rules()[row : row + 1], canvas.flags))
            logits = logits.masked_fill(forbidden, -torch.inf)
            stats = row_stats(logits, torch.from_numpy(canvas.ids[row : row + 1]), ends)
            ended = bool(stats.end[0] >= stats.probability[0])
            ids = canvas.ids.copy()
            ids[row] = canvas.end_id if ended else int(stats.best[0])
            canvas.write(ids, np.full(len(ids), float(stats.probability[0]), dtype=np.float32))
            row += 1
            done = ended or row == len(canvas.ids)
            rest = np.where(canvas.masked, canvas.end_id, canvas.ids)
            if done:
                canvas.write(rest, canvas.probability)
            reason = ("complete" if ended else "length") if done else ""
            yield canvas.draft(rest, passes, passes, reason)
            if done:
                return
            newest = [int(ids[row - 1])]
    finally:
        cache.keep(last)
        cache.ids.extend(context[last:])
        cache.k[:, :, :, last], cache.v[:, :, :, last] = kept
