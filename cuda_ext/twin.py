"""The forward pass of the native extension in plain torch float32: this defines what it computes, roundings included.

Rule: one step per line, no speed. The residual stream, norms and softmax are float32; matrix products round their
inputs to int8 or to bfloat16 and sum exactly, or in float32; attention rounds to bfloat16, as on a GPU, where the CPU
library rounds to integers that lose less. Which variation of the transformer it is, and who sees
whom, the `Shape` says, as `ModelConfig` does for `diffusion.model.transformer`.

    twin = Twin(shape, tensors, "int8", capacity=64); twin.forward(context_ids, canvas_ids, start=0)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from cuda_ext import native
from cuda_ext.native import EXTRAS, OWN_HEAD, QK_NORM, QKV_BIAS, SHIFT, Shape

Tensor = torch.Tensor
Ids = Sequence[int] | np.ndarray


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

    def __init__(self, shape: Shape, tensors: Mapping[str, native.Tensor], precision: str, capacity: int) -> None:
        self.shape, self.precision, self.d_head = shape, precision, shape.d_head
        n_qkv = (shape.n_heads + 2 * shape.n_kv_heads) * self.d_head
        rows = {"embed": shape.vocab_size, "head": shape.vocab_size, "qkv": n_qkv, "o": shape.d_model}
        rows |= {"gate_up": 2 * shape.d_ff, "down": shape.d_model}
        rows |= {"left": shape.vocab_size + 1, "right": shape.vocab_size + 1}
        self.weights: dict[str, Tensor] = {}
        self._quantised: dict[str, tuple[Tensor, Tensor]] = {}
        for name, tensor in tensors.items():
            if isinstance(tensor, tuple):
                self._quantised[name] = exact(torch.from_numpy(tensor[0])), torch.from_numpy(tensor[1])[:, None]
                continue
            kind = name.removesuffix(".weight").split(".")[-1]
            weight = from_words(tensor.reshape(-1))
            self.weights[name] = weight.view(rows[kind], -1) if kind in rows else weight
        self.context_ids = np.full(capacity, shape.vocab_size)
        self.k = torch.zeros(shape.n_layers, shape.n_kv_heads, capacity, self.d_head)
        self.v = torch.zeros_like(self.k)

    def has(self, flag: int) -> bool:
        """Whether the model has that variation."""
        return bool(self.shape.flags & flag)

    def linear(self, x: Tensor, name: str) -> Tensor:
        """X times the transpose of a weight."""
        if self.precision == "bf16":
            return bf16(x) @ self.weights[name].T
        (qx, sx), (qw, sw) = quantise(x), self.quantised(name)
        return (qx.to(qw.dtype) @ qw.T).float() * (sx * sw.T)

    def quantised(self, name: str) -> tuple[Tensor, Tensor]:
        """Integers and scales of a weight."""
        if name not in self._quantised:
            q, scale = quantise(self.weights[name])
            self._quantised[name] = exact(q), scale
        return self._quantised[name]

    def embedding(self, ids: np.ndarray) -> Tensor:
        """Rows of the embedding: the ones that a tied head multiplies with, except where there are extras."""
        rows = torch.from_numpy(np.asarray(ids, dtype=np.int64))
        if self.precision == "bf16" or self.has(EXTRAS):
            return self.weights["embed.weight"][rows]
        q, scale = self.quantised("embed.weight")
        looked_up: Tensor = q[rows].float() * scale[rows]
        return looked_up

    def norm(self, x: Tensor, name: str) -> Tensor:
        """RMSNorm over the last dimension, with the gain `name`."""
        by: Tensor = (x.square().mean(dim=-1, keepdim=True) + self.shape.norm_eps).rsqrt()
        return x * by * self.weights[name]

    def rotate(self, x: Tensor, positions: Tensor) -> Tensor:
        """RoPE of x (rows, heads, d_head): (a, b) -> (a cos - b sin, b cos + a sin) of its halves."""
        frequency = self.shape.rope_base ** (-torch.arange(0, self.d_head, 2, dtype=torch.float32) / self.d_head)
        angles = positions[:, None, None].float() * frequency
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()), dim=-1)

    def forward(self, context: Ids, canvas: Ids, start: int, decided: int = 0) -> Tensor:
        """Logits (rows, vocab) of context rows behind `start` cached ones, and of a canvas behind `decided` of them."""
        context, canvas = np.asarray(context, dtype=np.int64), np.asarray(canvas, dtype=np.int64)
        before = self.context_ids[start - 1] if start else self.shape.vocab_size
        self.context_ids[start : start + len(context)] = context
        before_canvas = context[decided - 1] if decided else before
        if self.has(SHIFT):
            canvas = np.append(before_canvas, canvas)[: len(canvas)]
        x = self.embedding(np.append(context, canvas))
        if self.has(EXTRAS):
            x = self.with_neighbours(x, context, canvas, int(before), int(before_canvas))
        first = start + len(context)
        at_canvas = torch.arange(len(canvas)) + (start + decided - self.has(SHIFT))
        positions = torch.cat((torch.arange(start, first), at_canvas))
        seen = self.visible(start, first, first + len(canvas), start + decided)
        for layer in range(self.shape.n_layers):
            block = f"blocks.{layer}."
            heads = self.linear(self.norm(x, block + "attn_norm.weight"), block + "qkv.weight")
            if self.has(QKV_BIAS):
                heads = heads + self.weights[block + "qkv.bias"]
            x = x + self.linear(self.attend(layer, heads, positions, seen), block + "o.weight")
            gate, up = self.linear(self.norm(x, block + "mlp_norm.weight"), block + "gate_up.weight").chunk(2, dim=-1)
            x = x + self.linear(F.silu(gate) * up, block + "down.weight")
        return self.linear(self.norm(x, "norm.weight"), "head.weight" if self.has(OWN_HEAD) else "embed.weight")

    def with_neighbours(self, x: Tensor, context: np.ndarray, canvas: np.ndarray, before: int, first: int) -> Tensor:
        """Embedded rows (rows, d_model), normed, with what their neighbours add.

        `before` and `first` stand in front of the context rows and of the canvas; vocab_size where nothing does.
        """
        left = np.concatenate(([before], context, [first], canvas))
        x = self.norm(x, "embed_norm.weight")
        x = x + self.weights["left"][np.concatenate((left[: len(context)], left[len(context) + 1 : -1]))]
        right = self.weights["right"][np.append(canvas[1:], self.shape.vocab_size)]
        on_canvas = self.weights["canvas_embed"] + right[: len(canvas)]
        return torch.cat((x[: len(context)], x[len(context) :] + on_canvas))

    def visible(self, start: int, first: int, stop: int, follows: int) -> Tensor:
        """Bool (rows, stop): which slots a row sees; context rows begin at slot `start`, canvas rows at `first`."""
        rows, slots = torch.arange(start, stop)[:, None], torch.arange(stop)
        of_context = slots < ((rows // self.shape.context_sees + 1) * self.shape.context_sees).clamp_max(first)
        on_canvas = slots - first < ((rows - first) // self.shape.canvas_sees + 1) * self.shape.canvas_sees
        return torch.where(rows < first, of_context, (slots < follows) | ((slots >= first) & on_canvas))

    def attend(self, layer: int, heads: Tensor, positions: Tensor, seen: Tensor) -> Tensor:
        """Attention output (n, heads x d_head); keys and values of the rows are written into their slots."""
        shape, (n, stop), block = self.shape, seen.shape, f"blocks.{layer}."
        q, k, v = heads.view(n, -1, self.d_head).tensor_split((shape.n_heads, shape.n_heads + shape.n_kv_heads), dim=1)
        if self.has(QK_NORM):
            q, k = self.norm(q, block + "q_norm.weight"), self.norm(k, block + "k_norm.weight")
        q = bf16(self.rotate(q, positions)).transpose(0, 1)
        self.k[layer, :, stop - n : stop] = bf16(self.rotate(k, positions)).transpose(0, 1)
        self.v[layer, :, stop - n : stop] = bf16(v).transpose(0, 1)
        group = shape.n_heads // shape.n_kv_heads
        keys = self.k[layer, :, :stop].repeat_interleave(group, dim=0)
        values = self.v[layer, :, :stop].repeat_interleave(group, dim=0)
        scores = (q @ keys.transpose(1, 2) * self.d_head**-0.5).masked_fill(~seen, -torch.inf)
        p = (scores - scores.amax(dim=-1, keepdim=True)).exp()
        out = bf16(p) @ values / p.sum(dim=-1, keepdim=True)
        mixed: Tensor = out.transpose(0, 1).reshape(n, -1)
        return mixed


def exact(q: Tensor) -> Tensor:
    """Integers in the smallest type in which a sum of their products is exact."""
    return q.float() if 127 * 127 * q.shape[1] < 2**24 else q.double()
