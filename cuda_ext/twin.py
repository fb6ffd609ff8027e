"""The forward pass of the native extension in plain torch float32: this defines what it computes, roundings included.

Rule: one step per line, no speed. The residual stream, norms and softmax are float32; matrix products round their
inputs to int8 or to bfloat16 and sum exactly, or in float32.

    twin = Twin(shape, tensors, "int8", capacity=64); twin.forward(ids, start=0, causal=True)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cuda_ext.native import Shape

EPS = 1e-6


def bf16(x: Tensor) -> Tensor:
    """X rounded to bfloat16, as float32."""
    return x.to(torch.bfloat16).float()


def from_words(words: np.ndarray) -> Tensor:
    """Float32 of bfloat16 words (uint16)."""
    return torch.from_numpy((words.astype(np.uint32) << 16).view(np.float32))


def quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Integers in [-127, 127] and the scale of every row; a row of zeros has the scale 0."""
    scale = x.abs().amax(dim=-1, keepdim=True) / 127
    return (x / scale).nan_to_num(nan=0.0).round(), scale


class Twin:
    """Weights and a cache of keys and values, (layers, kv heads, capacity, d_head)."""

    def __init__(self, shape: Shape, tensors: Mapping[str, np.ndarray], precision: str, capacity: int) -> None:
        self.shape, self.precision = shape, precision
        self.d_head = shape.d_model // shape.n_heads
        n_qkv = (shape.n_heads + 2 * shape.n_kv_heads) * self.d_head
        rows = {"embed": shape.vocab_size, "qkv": n_qkv, "o": shape.d_model, "gate_up": 2 * shape.d_ff}
        rows |= {"down": shape.d_model, "left": shape.vocab_size + 1, "right": shape.vocab_size + 1}
        self.weights = {name: from_words(words.reshape(-1)) for name, words in tensors.items()}
        for name, weight in self.weights.items():
            kind = name.removesuffix(".weight").split(".")[-1]
            if kind in rows:
                self.weights[name] = weight.view(rows[kind], -1)
        self.context_ids = np.full(capacity, shape.vocab_size)
        self._quantised: dict[str, tuple[Tensor, Tensor]] = {}
        self.k = torch.zeros(shape.n_layers, shape.n_kv_heads, capacity, self.d_head)
        self.v = torch.zeros_like(self.k)

    def linear(self, x: Tensor, name: str) -> Tensor:
        """X times the transpose of a weight."""
        if self.precision == "bf16":
            return bf16(x) @ self.weights[name].T
        (qx, sx), (qw, sw) = quantise(x), self.quantised(name)
        return (qx.to(qw.dtype) @ qw.T).float() * (sx * sw.T)

    def quantised(self, name: str) -> tuple[Tensor, Tensor]:
        """Integers and scales of a weight, in the smallest type in which a sum of products of integers is exact."""
        if name not in self._quantised:
            q, scale = quantise(self.weights[name])
            self._quantised[name] = (q if 127 * 127 * q.shape[1] < 2**24 else q.double()), scale
        return self._quantised[name]

    def norm(self, x: Tensor, name: str) -> Tensor:
        """RMSNorm over the last dimension, with the gain `name`."""
        return x * (x.square().mean(dim=-1, keepdim=True) + EPS).rsqrt() * self.weights[name]

    def rotate(self, x: Tensor, positions: Tensor) -> Tensor:
        """RoPE of x (rows, heads, d_head): (a, b) -> (a cos - b sin, b cos + a sin) of its halves."""
        frequency = self.shape.rope_base ** (-torch.arange(0, self.d_head, 2, dtype=torch.float32) / self.d_head)
        angles = positions[:, None, None].float() * frequency
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()), dim=-1)

    def forward(self, ids: np.ndarray, start: int, causal: bool) -> Tensor:
        """Logits (n, vocab) of rows behind `start` cached ones: context rows if `causal`, else canvas rows."""
        shape, rows = self.shape, torch.from_numpy(np.asarray(ids, dtype=np.int64))
        left, right = self.neighbours(np.asarray(ids), start)
        x = self.norm(self.weights["embed.weight"][rows], "embed_norm.weight") + self.weights["left"][left]
        if causal:
            self.context_ids[start : start + len(ids)] = ids
        else:
            x = x + self.weights["canvas_embed"] + self.weights["right"][right]
        for layer in range(shape.n_layers):
            block = f"blocks.{layer}."
            heads = self.linear(self.norm(x, block + "attn_norm.weight"), block + "qkv.weight")
            x = x + self.linear(self.attend(layer, heads, start, causal), block + "o.weight")
            gate, up = self.linear(self.norm(x, block + "mlp_norm.weight"), block + "gate_up.weight").chunk(2, dim=-1)
            x = x + self.linear(F.silu(gate) * up, block + "down.weight")
        return self.linear(self.norm(x, "norm.weight"), "embed.weight")

    def neighbours(self, ids: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
        """The tokens left and right of every row, vocab_size where there is none."""
        none = self.shape.vocab_size
        before = self.context_ids[start - 1] if start else none
        return np.append(before, ids[:-1]), np.append(ids[1:], none)

    def attend(self, layer: int, heads: Tensor, start: int, causal: bool) -> Tensor:
        """Attention output (n, d_model); keys and values of the rows are written behind the first `start`."""
        shape, n, block = self.shape, len(heads), f"blocks.{layer}."
        positions = torch.arange(start, start + n)
        q, k, v = heads.view(n, -1, self.d_head).tensor_split((shape.n_heads, shape.n_heads + shape.n_kv_heads), dim=1)
        q = bf16(self.rotate(self.norm(q, block + "q_norm.weight"), positions)).transpose(0, 1)
        k = self.rotate(self.norm(k, block + "k_norm.weight"), positions)
        self.k[layer, :, start : start + n] = bf16(k).transpose(0, 1)
        self.v[layer, :, start : start + n] = bf16(v).transpose(0, 1)
        group = shape.n_heads // shape.n_kv_heads
        keys = self.k[layer, :, : start + n].repeat_interleave(group, dim=0)
        values = self.v[layer, :, : start + n].repeat_interleave(group, dim=0)
        scores = q @ keys.transpose(1, 2) * self.d_head**-0.5
        if causal:
            scores = scores.masked_fill(torch.arange(start + n) > positions[:, None], -torch.inf)
        p = (scores - scores.amax(dim=-1, keepdim=True)).exp()
        out = bf16(p) @ values / p.sum(dim=-1, keepdim=True)
        mixed: Tensor = out.transpose(0, 1).reshape(n, -1)
        return mixed
