"""Model, tokenizer and context caches behind one call: `Engine.infill(request, cancelled) -> drafts`.

Rule: for one thread at a time, `beside` makes one for another; knows no LSP, and no torch unless the torch backend is
chosen. Context keys and values are exact: a request re-encodes from the first token that differs from what is cached,
nothing more.

    engine = Engine.load(); drafts = list(engine.infill(InfillRequest("def f(", "): pass"), lambda: False))
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from cuda_ext.rules import MAX_ROWS, TOKEN_BY_TOKEN, Policy, Verdict
from diffusion import extras
from diffusion.around import in_front, in_place
from diffusion.canvas import Canvas
from diffusion.contexts import Cache, Contexts, common_prefix
from diffusion.layout import Context, Layout, lay_out
from diffusion.model.adapter import open_adapter
from diffusion.model.card import ModelFolder, open_folder, weights_hash
from diffusion.model.config import EMBEDDED, ModelConfig
from diffusion.recall import RECALL_ABOVE, recalled
from diffusion.request import Draft, InfillRequest
from diffusion.tokenizer import Tokenizer
from diffusion.vocabulary import NONE

logger = logging.getLogger(__name__)

ENCODE_ROWS = 128  # context tokens between two looks at `cancelled`
CANVAS_ROWS = 2 * MAX_ROWS  # cache slots behind the context: a canvas, and in front of it what is judged
BACKENDS = ("auto", "native", "torch")


class Backend(Protocol):
    """What runs the model: `TorchBackend` or `NativeBackend`, each with caches of its own kind."""

    @property
    def config(self) -> ModelConfig: ...  # noqa: D102

    @property
    def info(self) -> dict[str, object]: ...  # noqa: D102

    @property
    def forward_passes(self) -> int: ...  # noqa: D102

    def beside(self) -> Backend: ...  # noqa: D102

    def new_cache(self, capacity: int) -> Any: ...  # noqa: D102

    def encode(self, ids: list[int], cache: Any) -> None: ...  # noqa: D102

    def denoise(  # noqa: D102
        self, cache: Any, canvas: Canvas, policy: Policy, request: InfillRequest, cancelled: Callable[[], bool]
    ) -> Iterator[Draft]: ...

    def verdict(  # noqa: D102
        self, cache: Any, canvas: Canvas, policy: Verdict, request: InfillRequest, cancelled: Callable[[], bool]
    ) -> Iterator[Draft]: ...


class Engine:
    """A loaded model, ready to infill."""

    def __init__(
        self, backend: Backend, tokenizer: Tokenizer, policy: Policy | Verdict, info: dict[str, object]
    ) -> None:
        self.backend, self.tokenizer, self.policy, self.info = backend, tokenizer, policy, info
        self.layout = Layout.of(backend.config.max_context)
        self.recall_above = RECALL_ABOVE
        self.encoded_tokens = 0
        self.context_tokens = 0  # of all requests; those that were not cached are `encoded_tokens`
        self.encode_cpu_s = 0.0  # of the calling thread while they were encoded
        n_rows = backend.config.max_context + CANVAS_ROWS
        self.contexts = Contexts(lambda: backend.new_cache(n_rows))  # of the backend alone: an engine in a circle stays

    @classmethod
    def load(
        cls,
        path: Path | None = None,
        *,
        device: str = "cpu",
        threads: int | None = None,
        backend: str = "auto",
        refresh: int = 0,
        adapter: Path | None = None,
    ) -> Engine:
        """Load the model folder `path` (default: the embedded model); ValueError says what is wrong with it.

        `backend`: "native", "torch", or "auto" for native where it was built. `refresh`: of a model that fills
        in place, steps from one pass over all rows to the next; 0 is as the folder says. `adapter`: what
        `mezzotint adapt` made for this model.
        """
        folder = open_folder(path or EMBEDDED)
        base = weights_hash(folder.path)
        added = open_adapter(adapter, folder.config, base) if adapter else None
        folder = dataclasses.replace(folder, refresh=refresh or folder.refresh, adapter=added)
        tokenizer = folder.tokenizer()
        chosen = load_backend(folder, device, threads, backend)
        info = {
            "model": "embedded" if path is None else str(path),
            "weights": base,
            **({"adapter": folder.adapter.digest} if folder.adapter else {}),
            "max_context": chosen.config.max_context,
            "other_tokens": Layout.of(chosen.config.max_context).other_tokens if folder.shows_others else 0,
            "cache": folder.cache,
            "policy": folder.policy,
            **({"family": folder.family} if folder.family else {}),
            **({"refresh": folder.refresh} if folder.config.in_place else {}),
            **({"torch_because": folder.only_torch} if folder.only_torch else {}),
            **chosen.info,
        }
        return cls(chosen, tokenizer, folder.verdict if folder.policy == "verdict" else Policy(), info)

    def beside(self) -> Engine:
        """An engine for another thread, with the same weights and contexts: passes of both that meet run as one.

        ValueError says why this model's passes do not.
        """
        other = copy.copy(self)
        other.backend = self.backend.beside()
        other.encoded_tokens = other.context_tokens = 0
        other.encode_cpu_s = 0.0
        return other

    @property
    def forward_passes(self) -> int:
        """Forward passes of all runs so far: those that ran, not only those whose drafts were read."""
        return self.backend.forward_passes

    def infill(self, request: InfillRequest, cancelled: Callable[[], bool], owner: str = "") -> Iterator[Draft]:
        """Drafts, coarse to fine; one forward pass between two; ends without a done draft when cancelled.

        The deadline is for all of it: what encoding the context takes is taken from the loop's time. `owner`: whose
        contexts may be gone on from, and whose this one will be.
        """
        if request.start is None and self.recall_above < 1:
            request = dataclasses.replace(request, start=next(iter(recalled(request).starts(self.recall_above)), None))
        yield from self._decode(request, self.policy, cancelled, owner)

    def autoregress(self, request: InfillRequest, cancelled: Callable[[], bool]) -> Iterator[Draft]:
        """The same request decoded token by token, recalling nothing."""
        yield from self._decode(dataclasses.replace(request, start=None), TOKEN_BY_TOKEN, cancelled)

    def prepare(self, request: InfillRequest, cancelled: Callable[[], bool], owner: str = "") -> None:
        """Encode the context of `request` ahead of time."""
        context = self._lay_out(request)
        with self.contexts.borrowed(context.ids, owner, cancelled) as cache:
            if cache is not None:
                self._encode(context, cache, cancelled)

    def _decode(
        self, request: InfillRequest, policy: Policy | Verdict, cancelled: Callable[[], bool], owner: str = ""
    ) -> Iterator[Draft]:
        """The drafts of a request under a policy."""
        if isinstance(policy, Verdict) and not self.backend.config.has_causal_rows:
            raise ValueError("token by token needs a context whose rows are causal")
        began = time.perf_counter()

        def left_ms() -> float | None:
            passed = (time.perf_counter() - began) * 1000
            return None if request.deadline_ms is None else max(0.0, request.deadline_ms - passed)

        def stopped() -> bool:
            return cancelled() or left_ms() == 0

        context = self._lay_out(request)
        with self.contexts.borrowed(context.ids, owner, stopped) as cache:
            if cache is None or not self._encode(context, cache, stopped):
                if not cancelled():
                    yield Draft(0, "", (), 0.0, 0, True, "deadline")
                return
            # a verdict's first draft is not on the canvas, and it alone decides from the left
            start, left = None, context.left
            if isinstance(policy, Policy):
                start, left = request.start, left.as_one
            canvas = Canvas.blank(self.tokenizer, request.middle, left, context.right, start)
            request = dataclasses.replace(request, deadline_ms=left_ms())
            if isinstance(policy, Policy):
                yield from self.backend.denoise(cache, canvas, policy, request, cancelled)
            else:
                yield from self.backend.verdict(cache, canvas, policy, request, cancelled)

    def _lay_out(self, request: InfillRequest) -> Context:
        return context_of(request, self.backend.config, self.tokenizer, self.layout)

    def _encode(self, context: Context, cache: Cache, stopped: Callable[[], bool]) -> bool:
        """Encode what is not cached; False when `stopped` meanwhile, with what was encoded kept."""
        block = self.backend.config.context_sees
        kept = common_prefix(cache.ids, context.ids)
        if kept != len(cache.ids) or kept != len(context.ids):
            kept -= kept % block  # a block whose tokens changed is another block
        cache.keep(kept)
        cache.behind = context.behind
        self.context_tokens += len(context.ids)
        while kept < len(context.ids):
            if stopped():
                return False
            piece = list(context.ids[kept : kept + (ENCODE_ROWS // block * block or ENCODE_ROWS)])
            began_s = time.thread_time()
            self.backend.encode(piece, cache)
            self.encode_cpu_s += time.thread_time() - began_s
            self.encoded_tokens += len(piece)
            kept += len(piece)
        return True


def context_of(request: InfillRequest, config: ModelConfig, tokenizer: Tokenizer, layout: Layout) -> Context:
    """The context of a request, as a model of this kind wants it."""
    rows, sides = config.max_context, (request.prefix, request.suffix)
    if config.in_place:
        return in_place(tokenizer, rows, *sides)
    if tokenizer.vocabulary.middle != NONE:
        return in_front(tokenizer, rows, *sides)
    return lay_out(tokenizer, layout, *sides, request.other_files)


def load_backend(folder: ModelFolder, device: str, threads: int | None, backend: str) -> Backend:
    """The backend asked for; torch, imported only here, where native code was not built."""
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is none of {', '.join(BACKENDS)}")
    missing = folder.only_torch
    if missing and backend == "native":
        raise ValueError(f"the native backend cannot run {folder.path}: {missing}")
    if backend != "torch" and not missing:
        from diffusion.backends.native import NativeBackend, why_not

        missing = why_not(device)
        if backend == "native" or not missing:
            return NativeBackend.load(folder, device, threads)
    if missing:
        logger.info("native library: %s; torch runs the model", missing)
    try:
        from diffusion.backends.torch import TorchBackend
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ValueError(
            extras.no_backend(missing) if missing else extras.missing("the torch backend", "torch")
        ) from None
    return TorchBackend.load(folder, device, threads)
