"""Model, tokenizer and context caches behind one call: `Engine.infill(request, cancelled) -> drafts`.

Rule: for one thread at a time; knows no LSP, and no torch unless the torch backend is chosen. Context keys and values
are exact: a request re-encodes from the first token that differs from what is cached, nothing more.

    engine = Engine.load(); drafts = list(engine.infill(InfillRequest("def f(", "): pass"), lambda: False))
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from cuda_ext.rules import Policy
from diffusion.canvas import Canvas
from diffusion.layout import Context, Layout, lay_out
from diffusion.model.card import ModelFolder, open_folder, weights_hash
from diffusion.model.config import EMBEDDED, ModelConfig
from diffusion.recall import RECALL_ABOVE, starts
from diffusion.request import Draft, InfillRequest
from diffusion.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

N_CACHES = 4  # contexts kept, so that changing between a few files costs nothing
ENCODE_ROWS = 128  # context tokens between two looks at `cancelled`
CANVAS_ROWS = 128  # cache slots behind the context, for the canvas or for decoding token by token
BACKENDS = ("auto", "native", "torch")


class Cache(Protocol):
    """Keys and values of a context, and the ids they belong to."""

    ids: list[int]

    def keep(self, n_tokens: int) -> None: ...  # noqa: D102


class Backend(Protocol):
    """What runs the model: `TorchBackend` or `NativeBackend`, each with caches of its own kind."""

    @property
    def config(self) -> ModelConfig: ...  # noqa: D102

    @property
    def info(self) -> dict[str, object]: ...  # noqa: D102

    def new_cache(self, capacity: int) -> Any: ...  # noqa: D102

    def encode(self, ids: list[int], cache: Any) -> None: ...  # noqa: D102

    def denoise(  # noqa: D102
        self, cache: Any, canvas: Canvas, policy: Policy, request: InfillRequest, cancelled: Callable[[], bool]
    ) -> Iterator[Draft]: ...

    def autoregress(self, cache: Any, canvas: Canvas, cancelled: Callable[[], bool]) -> Iterator[Draft]: ...  # noqa: D102


class Engine:
    """A loaded model, ready to infill."""

    def __init__(self, backend: Backend, tokenizer: Tokenizer, policy: Policy, info: dict[str, object]) -> None:
        self.backend, self.tokenizer, self.policy, self.info = backend, tokenizer, policy, info
        self.layout = Layout.of(backend.config.max_context)
        self.recall_above = RECALL_ABOVE
        self.forward_passes = 0
        self.encoded_tokens = 0
        self._caches: list[Cache] = []

    @classmethod
    def load(
        cls, path: Path | None = None, *, device: str = "cpu", threads: int | None = None, backend: str = "auto"
    ) -> Engine:
        """Load the model folder `path` (default: the embedded model); ValueError says what is wrong with it.

        `backend`: "native", "torch", or "auto" for native where it was built.
        """
        folder = open_folder(path or EMBEDDED)
        tokenizer = folder.tokenizer()
        chosen = load_backend(folder, device, threads, backend)
        info = {
            "model": "embedded" if path is None else str(path),
            "weights": weights_hash(folder.path),
            "max_context": chosen.config.max_context,
            "cache": "exact",
            **chosen.info,
        }
        return cls(chosen, tokenizer, Policy(), info)

    def infill(self, request: InfillRequest, cancelled: Callable[[], bool]) -> Iterator[Draft]:
        """Drafts, coarse to fine; one forward pass between two; ends without a done draft when cancelled."""
        if request.start is None and self.recall_above < 1:
            request = dataclasses.replace(request, start=next(iter(starts(request, self.recall_above)), None))
        prepared = self._prepare(request, cancelled)
        if prepared is None:
            return
        canvas, cache = prepared
        yield from self._counted(self.backend.denoise(cache, canvas, self.policy, request, cancelled))

    def autoregress(self, request: InfillRequest, cancelled: Callable[[], bool]) -> Iterator[Draft]:
        """The same request decoded token by token."""
        prepared = self._prepare(request, cancelled)
        if prepared is None:
            return
        canvas, cache = prepared
        yield from self._counted(self.backend.autoregress(cache, canvas, cancelled))

    def prepare(self, request: InfillRequest, cancelled: Callable[[], bool]) -> None:
        """Encode the context of `request` ahead of time."""
        self._prepare(request, cancelled)

    def _counted(self, drafts: Iterator[Draft]) -> Iterator[Draft]:
        """Pass drafts on and count their forward passes."""
        passes = 0
        for draft in drafts:
            self.forward_passes += draft.forward_passes - passes
            passes = draft.forward_passes
            yield draft

    def _prepare(self, request: InfillRequest, cancelled: Callable[[], bool]) -> tuple[Canvas, Cache] | None:
        """Lay the context out and encode what is not cached; None when cancelled meanwhile."""
        context = lay_out(self.tokenizer, self.layout, request.prefix, request.suffix, request.other_files)
        cache = self._cache_for(context)
        kept = common_prefix(cache.ids, context.ids)
        cache.keep(kept)
        while kept < len(context.ids):
            if cancelled():
                return None
            piece = list(context.ids[kept : kept + ENCODE_ROWS])
            self.backend.encode(piece, cache)
            self.encoded_tokens += len(piece)
            kept += len(piece)
        return Canvas.blank(self.tokenizer, request.middle, context.left, context.right, request.start), cache

    def _cache_for(self, context: Context) -> Cache:
        """The cache that shares most with the context; the one unused longest if none shares much."""
        ids = context.ids
        best = max(self._caches, key=lambda cache: common_prefix(cache.ids, ids), default=None)
        if best is None or (common_prefix(best.ids, ids) < len(ids) // 4 and len(self._caches) < N_CACHES):
            best = self.backend.new_cache(self.backend.config.max_context + CANVAS_ROWS)
        elif common_prefix(best.ids, ids) < len(ids) // 4:
            best = self._caches[0]
        self._caches = [cache for cache in self._caches if cache is not best] + [best]
        return best


def load_backend(folder: ModelFolder, device: str, threads: int | None, backend: str) -> Backend:
    """The backend asked for; torch, imported only here, where native code was not built."""
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is none of {', '.join(BACKENDS)}")
    if backend != "torch":
        from diffusion.native_backend import NativeBackend, why_not

        missing = why_not(device)
        if backend == "native" or not missing:
            return NativeBackend.load(folder, device, threads)
        logger.info("native library: %s; torch runs the model", missing)
    from diffusion.torch_backend import TorchBackend

    return TorchBackend.load(folder, device, threads)


def common_prefix(a: list[int], b: tuple[int, ...]) -> int:
    """Length of the longest common prefix."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
