"""Low-rank matrices beside the frozen ones of every block (LoRA, arXiv 2106.09685), and both losses through them.

Rule: the base never changes; its matrices stay as `step.precision` has them, what learns is float32. The frame is that
of the weights as they are loaded, evened out (`train/smooth.py`) or not: W + up @ down is the adapted matrix as it is.

    learned = grow(model, rank=16, seed=0); next_token, canvas = losses(model, batch, attention_mask(batch), rows)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusion.model.transformer import Transformer
from diffusion.train.batches import Batch, neighbours
from diffusion.train.step import Mask, attention, autocast

MATRICES = ("qkv", "o", "gate_up", "down")  # of every block
DOWN, UP = ".down", ".up"  # behind a matrix's name: (rank, K) and (N, rank)


class LowRank(nn.Module):
    """A frozen linear layer and what is added to its weight: `up` (N, rank) @ `down` (rank, K); nothing at first."""

    def __init__(self, frozen: nn.Linear, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        n, k = frozen.weight.shape
        self.frozen = frozen
        self.down = nn.Parameter(torch.randn(rank, k, generator=generator) * k**-0.5)
        self.up = nn.Parameter(torch.zeros(n, rank))

    def forward(self, x: Tensor) -> Tensor:
        """X (..., K) -> (..., N)."""
        out: Tensor = self.frozen(x) + F.linear(F.linear(x, self.down), self.up)
        return out


def grow(model: Transformer, rank: int, seed: int = 0) -> dict[str, nn.Parameter]:
    """Put low-rank matrices beside all matrices of the blocks; returns them by the names of an adapter's tensors."""
    generator = torch.Generator().manual_seed(seed)
    model.requires_grad_(False).train()
    model.embed.register_forward_hook(lambda _module, _ids, rows: rows.float())  # the residual stream is float32
    learned: dict[str, nn.Parameter] = {}
    for number, block in enumerate(model.blocks):
        for name in MATRICES:
            layer = LowRank(getattr(block, name), rank, generator)
            setattr(block, name, layer)
            learned |= {f"blocks.{number}.{name}.weight{part}": getattr(layer, part[1:]) for part in (DOWN, UP)}
    for module in model.modules():
        if isinstance(module, nn.RMSNorm):
            module.float()
    return learned


def losses(model: Transformer, batch: Batch, mask: Mask, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Next-token loss (nats a token) and masked-diffusion loss (nats a canvas) of the rows `rows` of a batch."""

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention(q, k, v, mask)

    with autocast(batch.ids.device):
        hidden = model(batch.ids, batch.positions, *neighbours(batch), batch.canvas > 0, attend)
        logits = model.logits(hidden.flatten(0, 1)[rows])
    each = F.cross_entropy(logits, batch.targets.flatten()[rows], reduction="none")
    next_token, canvas = batch.ar_weight.flatten()[rows], batch.canvas_weight.flatten()[rows]
    return each @ next_token / next_token.sum().clamp_min(1e-6), each @ canvas / canvas.sum().clamp_min(1e-6)
