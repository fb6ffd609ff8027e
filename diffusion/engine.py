"""Model, tokenizer and context caches behind one call: `Engine.infill(request, cancelled) -> drafts`.

Rule: for one thread at a time; knows no LSP. Context keys and values are exact: a request re-encodes from the first
token that differs from what is cached, nothing more.

    engine = Engine.load(); drafts = list(engine.infill(InfillRequest("def f(", "): pass"), lambda: False))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from cuda_ext.reference import Policy
from diffusion.autoregress import autoregress
from diffusion.canvas import Canvas
from diffusion.checkpoint import EMBEDDED, load_model, weights_hash
from diffusion.denoise import denoise
from diffusion.layout import Context, lay_out
from diffusion.model import ContextCache, Transformer
from diffusion.request import Draft, InfillRequest
from diffusion.tokenizer import Tokenizer

N_CACHES = 4  # contexts kept, so that changing between a few files costs nothing
ENCODE_ROWS = 128  # context tokens between two looks at `cancelled`


class Engine:
    """A loaded model, ready to infill."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer, policy: Policy, info: dict[str, object]) -> None:
        self.model, self.tokenizer, self.policy, self.info = model, tokenizer, policy, info
        self.forward_passes = 0
        self.encoded_tokens = 0
        self._caches: list[ContextCache] = []

    @classmethod
    def load(cls, path: Path | None = None, *, device: str = "cpu", threads: int | None = None) -> Engine:
        """Load the model folder `path` (default: the embedded model); ValueError says what is wrong with it."""
        if threads:
            torch.set_num_threads(threads)
        if device != "cpu" and not torch.cuda.is_available():
            raise ValueError(f"device {device!r} asked for, but this torch finds no CUDA device")
        folder = path or EMBEDDED
        dtype = inference_dtype(device)
        model, tokenizer = load_model(folder, dtype)
        info: dict[str, object] = {
            "model": "embedded" if path is None else str(path),
            "weights": weights_hash(folder),
            "parameters": sum(p.numel() for p in model.parameters()),
            "max_context": model.config.max_context,
            "device": device,
            "dtype": str(dtype).removeprefix("torch."),
            "cache": "exact",
        }
        return cls(model.to(device), tokenizer, Policy(), info)

    def infill(self, request: InfillRequest, cancelled: Callable[[], bool]) -> Iterator[Draft]:
        """Drafts, coarse to fine; one forward pass between two; ends without a done draft when cancelled."""
        prepared = self._prepare(request, cancelled)
        if prepared is None:
            return
        context, cache = prepared
        canvas = Canvas.blank(self.tokenizer, request.middle, context.left, context.right)
        drafts = denoise(
            self.model, cache, canvas, self.policy, cancelled, request.deadline_ms, request.temperature, request.seed
        )
        for draft in drafts:
            self.forward_passes += 1
            yield draft

    def autoregress(self, request: InfillRequest, cancelled: Callable[[], bool]) -> Iterator[Draft]:
        """The same request decoded token by token."""
        prepared = self._prepare(request, cancelled)
        if prepared is None:
            return
        context, cache = prepared
        canvas = Canvas.blank(self.tokenizer, request.middle, context.left, context.right)
        for draft in autoregress(self.model, cache, canvas, cancelled):
            self.forward_passes += 1
            yield draft

    def prepare(self, request: InfillRequest, cancelled: Callable[[], bool]) -> None:
        """Encode the context of `request` ahead of time."""
        self._prepare(request, cancelled)

    def _prepare(self, request: InfillRequest, cancelled: Callable[[], bool]) -> tuple[Context, ContextCache] | None:
        """Lay the context out and encode what is not cached; None when cancelled meanwhile."""
        max_context = self.model.config.max_context
        context = lay_out(self.tokenizer, request.prefix, request.suffix, request.other_files, max_context)
        cache = self._cache_for(context.ids)
        kept = common_prefix(cache.ids, context.ids)
        cache.keep(kept)
        while kept < len(context.ids):
            if cancelled():
                return None
            piece = list(context.ids[kept : kept + ENCODE_ROWS])
            with torch.no_grad():
                self.model.encode(piece, cache)
            self.encoded_tokens += len(piece)
            kept += len(piece)
        return context, cache

    def _cache_for(self, ids: tuple[int, ...]) -> ContextCache:
        """The cache that shares most with `ids`; the one unused longest if none shares much."""
        best = max(self._caches, key=lambda cache: common_prefix(cache.ids, ids), default=None)
        if best is None or (common_prefix(best.ids, ids) < len(ids) // 4 and len(self._caches) < N_CACHES):
            embed = self.model.embed.weight
            capacity = self.model.config.max_context + 128  # autoregressive decoding writes behind the context
            best = ContextCache(self.model.config, capacity, embed.dtype, str(embed.device))
        elif common_prefix(best.ids, ids) < len(ids) // 4:
            best = self._caches[0]
        self._caches = [cache for cache in self._caches if cache is not best] + [best]
        return best


def inference_dtype(device: str) -> torch.dtype:
    """bfloat16 where the hardware multiplies it, else float32."""
    if device != "cpu":
        return torch.bfloat16
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


def common_prefix(a: list[int], b: tuple[int, ...]) -> int:
    """Length of the longest common prefix."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
