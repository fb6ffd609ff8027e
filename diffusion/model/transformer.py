"""The transformer that every model here is: context once, canvas many times.

Rule: one set of weights, two kinds of row. Context rows attend causally, so their keys and values are exact
for every denoising step; canvas rows attend to all of the context and to one another in both directions. The
forward pass knows neither: *who sees whom* is the `attend` function that the caller passes in.

    model = Transformer(ModelConfig())
    cache = ContextCache(model.config, capacity=512, dtype=torch.float32)
    model.encode(context_ids, cache)                    # once
    logits = model.denoise(canvas_ids, cache)           # every denoising step

RMSNorm (arXiv 1910.07467), RoPE (2104.09864), grouped-query attention (2305.13245), QK-norm (2010.04245),
SwiGLU (2002.05202), block diffusion over a cached context (2503.09573), neighbours as in token shift (2305.13048).
Which of these a model has is data: `ModelConfig`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusion.model.config import ModelConfig
from diffusion.model.int8 import Int8Matrix
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
        self.n_heads, self.n_kv_heads, self.d_head, self.eps = h, g, config.d_head, config.norm_eps
        self.attn_norm = nn.RMSNorm(d, eps=self.eps)
        self.qkv = nn.Linear(d, (h + 2 * g) * self.d_head, bias=config.qkv_bias)
        self.q_norm = nn.RMSNorm(self.d_head, eps=self.eps) if config.qk_norm else None
        self.k_norm = nn.RMSNorm(self.d_head, eps=self.eps) if config.qk_norm else None
        self.o = nn.Linear(h * self.d_head, d, bias=False)
        self.mlp_norm = nn.RMSNorm(d, eps=self.eps)
        self.gate_up = nn.Linear(d, 2 * config.d_ff, bias=False)
        self.down = nn.Linear(config.d_ff, d, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, layer: int, attend: Attend) -> Tensor:
        """X (B, R, d_model) -> the same shape."""
        batch, rows, _ = x.shape
        heads = self.qkv(self.attn_norm(x)).view(batch, rows, -1, self.d_head)
        n_rotated = self.n_heads + self.n_kv_heads
        rotated = self.normed(heads[:, :, :n_rotated].float())
        qk = apply_rope(rotated, cos, sin).to(heads.dtype).transpose(1, 2)
        v = heads[:, :, n_rotated:].transpose(1, 2)
        y = attend(layer, qk[:, : self.n_heads], qk[:, self.n_heads :], v)
        x = x + self.o(y.transpose(1, 2).reshape(batch, rows, -1))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        out: Tensor = x + self.down(F.silu(gate) * up)
        return out

    def normed(self, heads: Tensor) -> Tensor:
        """Queries and keys (B, R, heads, d_head) normed per head, where the model does that."""
        if self.q_norm is None or self.k_norm is None:
            return heads
        gains = torch.cat((self.q_norm.weight.expand(self.n_heads, -1), self.k_norm.weight.expand(self.n_kv_heads, -1)))
        return F.rms_norm(heads, (self.d_head,), eps=self.eps) * gains


class ContextCache:
    """Exact keys and values of the context, (layers, 1, kv heads, capacity, d_head), and the ids they belong to."""

    def __init__(self, config: ModelConfig, capacity: int, dtype: torch.dtype, device: str = "cpu") -> None:
        shape = (config.n_layers, 1, config.n_kv_heads, capacity, config.d_head)
        self.k = torch.zeros(shape, dtype=dtype, device=device)
        self.v = torch.zeros(shape, dtype=dtype, device=device)
        self.ids: list[int] = []
        self.behind = 0  # of the ids, the last ones: behind the canvas

    @property
    def capacity(self) -> int:
        """Most tokens it can hold."""
        return self.k.shape[3]

    def keep(self, n_tokens: int) -> None:
        """Forget everything behind the first `n_tokens` tokens."""
        del self.ids[n_tokens:]


class Pass:
    """Rows of two kinds behind a cached context, for one forward pass; ValueError where they do not fit.

    `context` goes on with the context: its keys and values stay in the cache's next slots, to be kept by
    `cache.ids.extend` or to be written over. `canvas` follows the cached context and the first `decided` tokens of
    `context`: it sees those and itself, not the other rows of `context`; it borrows the slots behind all of them.
    Row i that is returned for a canvas predicts the canvas's token i: where the model shifts, that is the row of
    the token before, the first one that of the last token in front of the canvas.
    """

    def __init__(self, context: list[int], canvas: list[int], cache: ContextCache, decided: int = 0) -> None:
        self.context, self.canvas, self.cache, self.decided = context, canvas, cache, decided
        self.start = len(cache.ids)  # slots: of the first row, of the first canvas row, behind the last one
        self.first = self.start + len(context)
        self.stop = self.first + len(canvas)
        self.follows = self.start + decided  # slots that the canvas sees
        if self.stop > cache.capacity:
            raise ValueError(f"rows up to {self.stop} do not fit the cache of {cache.capacity}")

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Attention of these rows, once their keys and values are in the cache."""
        cache = self.cache
        cache.k[layer, :, :, self.start : self.stop] = k
        cache.v[layer, :, :, self.start : self.stop] = v
        return sdpa(q, cache.k[layer, :, :, : self.stop], cache.v[layer, :, :, : self.stop], mask)


class Transformer(nn.Module):
    """Token ids in, hidden rows or logits out."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        if config.extras:
            self.embed_norm = nn.RMSNorm(config.d_model, eps=config.norm_eps)
            self.canvas_embed = nn.Parameter(torch.zeros(config.d_model))
            self.left = nn.Linear(config.d_model, config.d_model, bias=False)
            self.right = nn.Linear(config.d_model, config.d_model, bias=False)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = nn.RMSNorm(config.d_model, eps=config.norm_eps)
        self.head = None if config.tied else nn.Linear(config.d_model, config.vocab_size, bias=False)

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Normal weights; residual branches and neighbours start at zero: the first pass only looks tokens up."""
        for name, parameter in self.named_parameters():
            if name.endswith(("o.weight", "down.weight", "left.weight", "right.weight", "qkv.bias")):
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

        `ids`, `positions` are int64 (B, R), as are the tokens `left` and `right` of every row, the end where none is: a
        model with extras lets a row know its neighbours without attending, a context row its left one only. `canvas` is
        bool (B, R) or (1, 1): true for rows of a canvas, false for context rows, which predict the next token.
        """
        x = self.embed(ids)
        if self.config.extras:
            before, behind = (self.embed_norm(self.embed(each)) for each in (left, right))
            x = self.embed_norm(x) + self.left(before)
            x = x + canvas[..., None].to(x.dtype) * (self.canvas_embed.to(x.dtype) + self.right(behind))
        cos, sin = rope_tables(positions, self.config.d_head, self.config.rope_base)
        for layer, block in enumerate(self.blocks):
            x = block(x, cos, sin, layer, attend)
        out: Tensor = self.norm(x)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores (..., vocab_size) in float32 of hidden rows (..., d_model)."""
        matrix = self.embed if self.head is None else self.head
        if isinstance(matrix, Int8Matrix):
            return matrix.times(hidden).float()
        return F.linear(hidden, matrix.weight.to(hidden.dtype)).float()

    def encode(self, ids: list[int], cache: ContextCache) -> Tensor:
        """Append context `ids` to `cache`; returns their hidden rows (len(ids), d_model)."""
        hidden = self.run(ids, [], cache)
        cache.ids.extend(ids)
        return hidden

    def denoise(self, canvas_ids: Tensor, cache: ContextCache) -> Tensor:
        """Hidden rows (1, C, d_model) of a canvas `canvas_ids` int64 (1, C) that follows the cached context."""
        return self.run([], canvas_ids[0].tolist(), cache)[None]

    def run(self, context: list[int], canvas: list[int], cache: ContextCache, decided: int = 0) -> Tensor:
        """One forward pass over rows of two kinds behind the cached context; hidden rows (len(context + canvas), d)."""
        return self.run_all([Pass(context, canvas, cache, decided)])[0]

    def run_all(self, passes: Sequence[Pass]) -> list[Tensor]:
        """Hidden rows of each of several passes over different caches, as one: only attention is by itself."""
        device, sizes = self.embed.weight.device, [one.stop - one.start for one in passes]
        rows = [self.laid(one, device) for one in passes]
        masks = [self.visible(one, device) for one in passes]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            parts = zip(passes, masks, *(torch.split(heads, sizes, dim=2) for heads in (q, k, v)), strict=True)
            return torch.cat([one.attend(layer, *heads, mask) for one, mask, *heads in parts], dim=2)

        ids, positions, left, right, is_canvas = (torch.cat(parts, dim=1) for parts in zip(*rows, strict=True))
        hidden: Tensor = self.forward(ids, positions, left, right, is_canvas, attend)[0]
        return list(torch.split(hidden, sizes))

    def laid(self, one: Pass, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What `forward` is given of the rows of a pass, each (1, R)."""
        shift = int(self.config.shift and bool(one.canvas))
        before = [*one.cache.ids[-1:], *one.context[: one.decided]][-1:]
        fed = (before + one.canvas)[: len(one.canvas)] if shift else one.canvas
        rows = torch.tensor([one.context + fed], device=device)
        at_canvas = torch.arange(one.follows - shift, one.follows - shift + len(one.canvas), device=device)
        positions = torch.cat((torch.arange(one.start, one.first, device=device), at_canvas))[None]
        is_canvas = (torch.arange(one.start, one.stop, device=device) >= one.first)[None]
        return rows, positions, *neighbours(rows, len(one.context), one.cache.ids[-1:], before), is_canvas

    def visible(self, one: Pass, device: torch.device) -> Tensor | None:
        """Bool (rows, slots) of what each row of a pass sees; None: all of it.

        Canvas rows see the slots before `follows` and, as `canvas_sees` says, one another.
        """
        config, first = self.config, one.first
        if one.start == first and config.canvas_sees >= one.stop - first:
            return None
        slots = torch.arange(one.stop, device=device)
        rows = torch.arange(one.start, one.stop, device=device)[:, None]
        own = torch.where(rows < first, rows, rows - first)
        block = torch.where(rows < first, config.context_sees, config.canvas_sees)
        seen = (own // block + 1) * block  # slots of a context row, rows of a canvas row, from the first on
        of_context = torch.where(rows < first, slots < seen.clamp_max(first), slots < one.follows)
        return of_context | ((rows >= first) & (slots >= first) & (slots - first < seen))


def neighbours(ids: Tensor, n_context: int, before: list[int], before_canvas: list[int]) -> tuple[Tensor, Tensor]:
    """Left and right neighbours of rows `ids` (1, R), `n_context` rows and a canvas; both (1, R).

    `before` and `before_canvas` are what stands in front of the rows of each kind; the end stands where nothing does.
    """
    left, right = ids.roll(1, 1), ids.roll(-1, 1)
    for first, last, beside in ((0, n_context, before), (n_context, ids.shape[1], before_canvas)):
        if first < last:
            left[:, first], right[:, last - 1] = (*beside, OURS.end)[0], OURS.end
    return left, right


def sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Grouped-query attention: q (B, H, R, D), k and v (B, G, S, D), mask bool or additive, (.., R, S)."""
    batch, n_heads, rows, d_head = q.shape
    group = n_heads // k.shape[1]
    if mask is None:  # the rows of a group's heads are so many more rows of one head: no copy of keys and values
        folded = q.reshape(batch, k.shape[1], group * rows, d_head)
        return F.scaled_dot_product_attention(folded, k, v).reshape(q.shape)
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
