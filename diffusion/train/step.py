"""One training step: both losses of a packed batch, and the optimizers.

losses = compute_losses(model, batch, dense_mask(batch)); (AR_WEIGHT * losses[0] + losses[1]).backward()
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusion.model import Transformer, sdpa
from diffusion.train.batches import Batch, visible

AR_WEIGHT = 0.3  # of the next-token loss, beside 1 of the masked-diffusion loss


def dense_mask(batch: Batch) -> Tensor:
    """Additive bfloat16 mask (B, 1, R, R) of a packed batch; made outside the compiled step, once for all layers."""
    seen = visible(batch.branch, batch.canvas, batch.trunk_limit, batch.branch_limit)[:, None]
    return torch.zeros(seen.shape, dtype=torch.bfloat16, device=seen.device).masked_fill_(~seen, -torch.inf)


def compute_losses(model: Transformer, batch: Batch, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Next-token loss (nats per token) and masked-diffusion loss (nats per masked token) of a batch."""

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return sdpa(q, k, v, mask)

    with torch.autocast(batch.ids.device.type, dtype=torch.bfloat16):
        hidden = model(batch.ids, batch.positions, batch.canvas > 0, attend)
        logits = model.logits(hidden)
    losses = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none")
    next_token = losses @ batch.ar_weight.flatten() / batch.ar_weight.sum()
    # A canvas weighs 1 in all (a little more with its revealed rows): the sum of weights counts canvases.
    diffusion = losses @ batch.canvas_weight.flatten() / batch.canvas_weight.sum()
    return next_token, diffusion


def make_optimizers(model: Transformer, lr: float) -> list[torch.optim.Optimizer]:
    """Muon (Jordan 2024) for the matrices of the blocks, AdamW for embeddings and gains."""
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
    rest = [p for name, p in model.named_parameters() if not (name.startswith("blocks.") and p.dim() == 2)]
    muon = torch.optim.Muon(matrices, lr=lr, weight_decay=0.02, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=0.0)
    return [muon, adamw]


def learning_rate(progress: float, peak: float, warmup: float = 0.02, decay: float = 0.4) -> float:
    """Warm up, hold, then fall linearly to zero over the last `decay` share of the run (progress in [0, 1])."""
    if progress < warmup:
        return peak * max(progress, 1e-3) / warmup
    return peak * min(1.0, max(0.0, 1.0 - progress) / decay)


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], lr: float) -> None:
    """Write `lr` into every parameter group."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr


def clip(model: nn.Module, max_norm: float = 1.0) -> float:
    """Clip the gradients; returns their norm before."""
    return float(torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm))
