"""Batches that stand where decoding really stands: some masked rows hold what the model itself would reveal there.

Rule: targets stay the right tokens; one forward pass without gradients, and every canvas keeps a masked row.
The idea is that of scheduled sampling (Bengio et al. 2015, arXiv 1506.03099), for the states of a denoising loop that
reveals many tokens at once.

    batch = with_own_drafts(predict(model, batch, attention_mask(batch)), batch, recipe, seed=step)
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from diffusion.model.transformer import Transformer
from diffusion.train.batches import Batch
from diffusion.train.recipe import Recipe
from diffusion.train.step import Mask, forward
from diffusion.vocabulary import OURS

LEAST_THRESHOLD, MOST_THRESHOLD = 0.05, 0.95  # of revealing, uniform, one a canvas


@torch.no_grad()
def predict(model: Transformer, batch: Batch, mask: Mask) -> tuple[Tensor, Tensor]:
    """The probability of every row's likeliest token, and that token; both (B, R)."""
    logits = forward(model, batch, mask)
    best, ids = logits.max(dim=-1)
    return (best - logits.logsumexp(dim=-1)).exp(), ids


def with_own_drafts(best: tuple[Tensor, Tensor], batch: Batch, recipe: Recipe, seed: int) -> Batch:
    """The batch with the likely ones of its masked rows revealed, in a share of its canvases; `best` is `predict`'s.

    There, masked rows weigh 1 in all and revealed ones `recipe.revealed_weight`, as in `train/noise.py`.
    """
    probability, ids = best
    generator = torch.Generator(device=batch.ids.device).manual_seed(seed)
    shape = (len(batch.ids), int(batch.canvas.max()) + 1)  # one cell a canvas
    canvas = batch.canvas.long()
    thresholds = torch.rand(shape, generator=generator, device=batch.ids.device)
    thresholds = LEAST_THRESHOLD + (MOST_THRESHOLD - LEAST_THRESHOLD) * thresholds
    chosen = torch.rand(shape, generator=generator, device=batch.ids.device) < recipe.own_draft_share
    free = (batch.canvas > 0) & (batch.canvas_weight > 0) & chosen.gather(1, canvas)
    masked = free & (batch.ids == OURS.mask)
    open_probability = probability.masked_fill(~masked, 2.0)
    least = torch.full(shape, 2.0, device=batch.ids.device).scatter_reduce(1, canvas, open_probability, "amin")
    reveal = masked & (probability >= thresholds.gather(1, canvas)) & (probability > least.gather(1, canvas))
    weight = batch.canvas_weight.masked_fill(free, 0.0)
    for rows, total in ((masked & ~reveal, 1.0), (free & ~(masked & ~reveal), recipe.revealed_weight)):
        counts = torch.zeros(shape, device=batch.ids.device).scatter_add(1, canvas, rows.float())
        weight += rows * total / counts.gather(1, canvas).clamp_min(1)
    return replace(batch, ids=torch.where(reveal, ids, batch.ids), canvas_weight=weight)
