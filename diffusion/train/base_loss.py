"""Both losses of a large-vocabulary base whose embedding is frozen but for its special tokens.

Rule: logits only where a target is, a constant number of rows a batch, so that no shape changes from step to step.

    embed = freeze(model, specials); rows = told_rows(batch, 600); losses_at(model, batch, mask, rows)
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusion.model.transformer import Transformer
from diffusion.train.batches import Batch
from diffusion.train.step import Mask, attention, autocast, precision


class PartlyFrozen(nn.Module):
    """An embedding of which the rows of `specials` alone learn; `weight` (V, d) is frozen there and everywhere."""

    weight: Tensor
    at: Tensor
    specials: Tensor

    def __init__(self, weight: Tensor, specials: Iterable[int]) -> None:
        super().__init__()
        ids = torch.tensor(sorted(specials))
        self.register_buffer("weight", weight.detach().to(precision(weight.device)), persistent=False)
        self.register_buffer("specials", ids, persistent=False)
        at = torch.full((len(weight),), -1)
        at[ids] = torch.arange(len(ids))
        self.register_buffer("at", at, persistent=False)
        self.rows = nn.Parameter(weight.detach()[ids].clone())

    def forward(self, ids: Tensor) -> Tensor:
        """Rows (..., d) of `ids`, float32."""
        at = self.at[ids]
        learned = F.embedding(at.clamp_min(0), self.rows)
        return torch.where(at[..., None] >= 0, learned, F.embedding(ids, self.weight).float())

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores (N, V) of hidden rows (N, d), in the matrix's dtype: no gradient for the frozen rows is ever made."""
        hidden = hidden.to(self.weight.dtype)
        scores = F.linear(hidden, self.weight)
        scores[:, self.specials] = F.linear(hidden, self.rows.to(hidden.dtype))
        return scores

    def merged(self) -> Tensor:
        """The whole matrix (V, d), bfloat16."""
        whole = self.weight.to(torch.bfloat16, copy=True)
        whole[self.specials] = self.rows.detach().to(whole.dtype)
        return whole


def freeze(model: Transformer, specials: Iterable[int]) -> PartlyFrozen:
    """Put a partly frozen embedding into `model` in place of its own."""
    embed = PartlyFrozen(model.embed.weight, specials)
    model.embed = embed  # type: ignore[assignment]
    return embed


def told_rows(batch: Batch, n_rows: int, generator: torch.Generator) -> Tensor:
    """Indices (n_rows,) into the flattened batch: rows with a target, the heaviest first, at random among equals."""
    weight = torch.maximum(batch.ar_weight, (batch.canvas_weight > 0).float()).flatten()
    noise = torch.rand(weight.shape, generator=generator) * 0.1
    return (weight + noise).topk(n_rows).indices.sort().values


def losses_at(model: Transformer, batch: Batch, mask: Mask, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Next-token loss (nats a token) and masked-diffusion loss (nats a canvas) of the rows `rows` of a batch."""
    embed: PartlyFrozen = model.embed  # type: ignore[assignment]

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention(q, k, v, mask)

    none = batch.ids  # neighbours, which this model does not look at
    with autocast(batch.ids.device):
        hidden = model(batch.ids, batch.positions, none, none, batch.canvas > 0, attend)
        logits = embed.logits(hidden.flatten(0, 1)[rows]).float()
    losses = F.cross_entropy(logits, batch.targets.flatten()[rows], reduction="none")
    next_token, canvas = batch.ar_weight.flatten()[rows], batch.canvas_weight.flatten()[rows]
    return losses @ next_token / next_token.sum(), losses @ canvas / canvas.sum()
