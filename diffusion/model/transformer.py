"""The transformer of the default family: context once, canvas many times.

Rule: one set of weights, two kinds of token. Context rows attend causally, so their keys and values are exact
for every denoising step; canvas rows attend to all of the context and to one another in both directions. The
forward pass knows neither: *who sees whom* is the `attend` function that the caller passes in.

    model = Transformer(ModelConfig())
    cache = ContextCache(model.config, capacity=512, dtype=torch.float32)
    model.encode(context_ids, cache)                    # once
    logits = model.denoise(canvas_ids, cache)           # every denoising step

RMSNorm (arXiv 1910.07467), RoPE (2104.09864), grouped-query attention (2305.13245), QK-norm (2010.04245),
SwiGLU (2002.05202), block diffusion over a cached context (2503.09573), neighbours as in token shift (2305.13048).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusion.model.config import ModelConfig
from diffusion.vocabulary import OURS

# (layer, q (B, H, R, D), k (B, G, R, D), v (B, G, R, D)) -> (B, H, R, D); H query heads share G key heads.
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


def rope_tables(positions: Tensor, d_head: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines (B, R, 1, d_head), float32, of integer `positions` (B, R), for `apply_rope`."""
    inv_freq = base ** (-torch.arange(0, d_head, 2, device=positions.device, dtype=torch.float32) / d_head)
    angles = positions[:, :, None, None].float() * inv_freq
    sin = angles.sin()
    return torch.cat((angles.cos(),) * 2, dim=-1), torch.cat((-sin, sin), dim=-1)


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the halves of the last dimension of float32 x (B, R, H, D): (a, b) -> (a cos - b sin, b cos + a sin)."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


class Block(nn.Module):
    """Pre-norm attention and SwiGLU."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, h, g = config.d_model, config.n_heads, config.n_kv_heads
        self.n_heads, self.n_kv_heads, self.d_head = h, g, config.d_head
        self.attn_norm = nn.RMSNorm(d, eps=1e-6)
        self.qkv = nn.Linear(d, (h + 2 * g) * self.d_head, bias=False)
        self.q_norm = nn.RMSNorm(self.d_head, eps=1e-6)
        self.k_norm = nn.RMSNorm(self.d_head, eps=1e-6)
        self.o = nn.Linear(h * self.d_head, d, bias=False)
        self.mlp_norm = nn.RMSNorm(d, eps=1e-6)
        self.gate_up = nn.Linear(d, 2 * config.d_ff, bias=False)
        self.down = nn.Linear(config.d_ff, d, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, layer: int, attend: Attend) -> Tensor:
        """X (B, R, d_model) -> the same shape."""
        batch, rows, _ = x.shape
        heads = self.qkv(self.attn_norm(x)).view(batch, rows, -1, self.d_head)
        n_rotated = self.n_heads + self.n_kv_heads
        gains = torch.cat((self.q_norm.weight.expand(self.n_heads, -1), self.k_norm.weight.expand(self.n_kv_heads, -1)))
        rotated = F.rms_norm(heads[:, :, :n_rotated].float(), (self.d_head,), eps=1e-6) * gains
        qk = apply_rope(rotated, cos, sin).to(heads.dtype).transpose(1, 2)
        v = heads[:, :, n_rotated:].transpose(1, 2)
        y = attend(layer, qk[:, : self.n_heads], qk[:, self.n_heads :], v)
        x = x + self.o(y.transpose(1, 2).reshape(batch, rows, -1))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        out: Tensor = x + self.down(F.silu(gate) * up)
        return out


class ContextCache:
    """Exact keys and values of the context, (layers, 1, kv heads, capacity, d_head), and the ids they belong to."""

    def __init__(self, config: ModelConfig, capacity: int, dtype: torch.dtype, device: str = "cpu") -> None:
        shape = (config.n_layers, 1, config.n_kv_heads, capacity, config.d_head)
        self.k = torch.zeros(shape, dtype=dtype, device=device)
        self.v = torch.zeros(shape, dtype=dtype, device=device)
        self.ids: list[int] = []

    @property
    def capacity(self) -> int:
        """Most tokens it can hold."""
        return self.k.shape[3]

    def keep(self, n_tokens: int) -> None:
        """Forget everything behind the first `n_tokens` tokens."""
        del self.ids[n_tokens:]


class Transformer(nn.Module):
    """Token ids in, hidden rows or logits out; input and output embeddings are tied."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        self.embed_norm = nn.RMSNorm(config.d_model, eps=1e-6)
        self.canvas_embed = nn.Parameter(torch.zeros(config.d_model))
        self.left = nn.Linear(config.d_model, config.d_model, bias=False)
        self.right = nn.Linear(config.d_model, config.d_model, bias=False)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = nn.RMSNorm(config.d_model, eps=1e-6)

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Normal weights; residual branches and neighbours start at zero: the first pass only looks tokens up."""
        for name, parameter in self.named_parameters():
            if name.endswith(("o.weight", "down.weight", "left.weight", "right.weight")):
                nn.init.zeros_(parameter)
            elif name == "canvas_embed":
                nn.init.normal_(parameter, std=0.5, generator=generator)
            elif name == "embed.weight":
                nn.init.normal_(parameter, std=0.02, generator=generator)
            elif parameter.dim() == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5, generator=generator)

    def forward(
        self, ids: Tensor, positions: Tensor, left: Tensor, right: Tensor, canvas: Tensor, attend: Attend
    ) -> Tensor:
        """Hidden rows (B, R, d_model) after the last norm.

        `ids`, `positions` are int64 (B, R), as are the tokens `left` and `right` of every row, END where none is: a
        row knows its neighbours without attending, a context row its left one only. `canvas` is bool (B, R) or (1, 1):
        true for rows of a canvas, which predict their own token, false for context rows, which predict the next one.
        """
        tokens, before, behind = (self.embed_norm(self.embed(each)) for each in (ids, left, right))
        x = tokens + self.left(before)
        x = x + canvas[..., None].to(x.dtype) * (self.canvas_embed.to(x.dtype) + self.right(behind))
        cos, sin = rope_tables(positions, self.config.d_head, self.config.rope_base)
        for layer, block in enumerate(self.blocks):
            x = block(x, cos, sin, layer, attend)
        out: Tensor = self.norm(x)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores (..., vocab_size) in float32 of hidden rows (..., d_model)."""
        return F.linear(hidden, self.embed.weight.to(hidden.dtype)).float()

    def encode(self, ids: list[int], cache: ContextCache) -> Tensor:
        """Append context `ids` to `cache`; returns their hidden rows (len(ids), d_model)."""
        start, stop = len(cache.ids), len(cache.ids) + len(ids)
        if stop > cache.capacity:
            raise ValueError(f"context of {stop} tokens does not fit the cache of {cache.capacity}")

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            cache.k[layer, :, :, start:stop] = k
            cache.v[layer, :, :, start:stop] = v
            keys, values = cache.k[layer, :, :, :stop], cache.v[layer, :, :, :stop]
            return sdpa(q, keys, values, causal_mask(start, stop, q.device))

        device = self.embed.weight.device
        rows = torch.tensor([ids], device=device)
        positions = torch.arange(start, stop, device=device)[None]
        left, right = neighbours(rows, cache)
        hidden = self.forward(rows, positions, left, right, torch.zeros(1, 1, dtype=torch.bool, device=device), attend)
        cache.ids.extend(ids)
        return hidden[0]

    def denoise(self, canvas_ids: Tensor, cache: ContextCache) -> Tensor:
        """Hidden rows (1, C, d_model) of a canvas `canvas_ids` int64 (1, C) that follows the cached context.

        The canvas borrows the cache's slots behind the context for its own keys and values: nothing is copied.
        """
        start, stop = len(cache.ids), len(cache.ids) + canvas_ids.shape[1]
        if stop > cache.capacity:
            raise ValueError(f"canvas up to row {stop} does not fit the cache of {cache.capacity}")

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            cache.k[layer, :, :, start:stop] = k
            cache.v[layer, :, :, start:stop] = v
            return sdpa(q, cache.k[layer, :, :, :stop], cache.v[layer, :, :, :stop], None)

        positions = torch.arange(start, stop, device=canvas_ids.device)[None]
        everywhere = torch.ones(1, 1, dtype=torch.bool, device=canvas_ids.device)
        return self.forward(canvas_ids, positions, *neighbours(canvas_ids, cache), everywhere, attend)


def neighbours(ids: Tensor, cache: ContextCache) -> tuple[Tensor, Tensor]:
    """Left and right neighbours of rows `ids` (1, R) that follow the cached context, END where none is; both (1, R)."""
    before = cache.ids[-1] if cache.ids else OURS.end
    return F.pad(ids, (1, 0), value=before)[:, :-1], F.pad(ids, (0, 1), value=OURS.end)[:, 1:]


def sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Grouped-query attention: q (B, H, R, D), k and v (B, G, S, D), mask bool or additive, (.., R, S)."""
    batch, n_heads, rows, d_head = q.shape
    group = n_heads // k.shape[1]
    if mask is None:  # the rows of a group's heads are so many more rows of one head: no copy of keys and values
        folded = q.reshape(batch, k.shape[1], group * rows, d_head)
        return F.scaled_dot_product_attention(folded, k, v).reshape(q.shape)
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def causal_mask(start: int, stop: int, device: torch.device) -> Tensor:
    """Bool (stop - start, stop): row i of the new tokens sees every token up to itself."""
    rows = torch.arange(start, stop, device=device)
    return torch.arange(stop, device=device)[None, :] <= rows[:, None]
