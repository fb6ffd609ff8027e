"""Matrices in int8 with one scale per row, multiplied as the activations' own type: half the memory of bfloat16.

Rule: torch only, weights only: activations are not rounded, as the native library's int8 does. A matrix is widened in
parts of PART_ROWS rows, so that none is there whole in the wider type.

    model = in_int8(Transformer(config))    # with empty matrices; `load.load_weights` fills them
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PART_ROWS = 8192


class Int8Matrix(nn.Module):
    """A matrix (N, K), as an embedding or as a linear layer."""

    def __init__(self, n_rows: int, n_columns: int, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(n_rows, n_columns, dtype=torch.int8))
        self.register_buffer("scale", torch.empty(n_rows))
        self.bias = bias
        self.weight: Tensor
        self.scale: Tensor

    def times(self, x: Tensor) -> Tensor:
        """X (..., K) -> (..., N)."""
        parts = [F.linear(x, rows.to(x.dtype)) for rows in torch.split(self.weight, PART_ROWS)]
        y = (parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


class Int8Linear(Int8Matrix):
    """Instead of `nn.Linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """X (..., K) -> (..., N)."""
        return self.times(x)


class Int8Embedding(Int8Matrix):
    """Instead of `nn.Embedding`."""

    def __init__(self, n_rows: int, n_columns: int, dtype: torch.dtype) -> None:
        super().__init__(n_rows, n_columns)
        self.dtype = dtype

    def forward(self, ids: Tensor) -> Tensor:
        """Rows (..., K) of `ids` (...)."""
        return (self.weight[ids].float() * self.scale[ids][..., None]).to(self.dtype)


def in_int8(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """`model` with every matrix in int8, yet to be filled; `dtype`: of the activations."""
    for name, part in list(model.named_children()):
        if isinstance(part, nn.Linear):
            setattr(model, name, Int8Linear(part.out_features, part.in_features, part.bias))
        elif isinstance(part, nn.Embedding):
            setattr(model, name, Int8Embedding(part.num_embeddings, part.embedding_dim, dtype))
        else:
            in_int8(part, dtype)
    return model
