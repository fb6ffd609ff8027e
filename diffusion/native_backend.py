"""The model run by the compiled extension: weights by safetensors and numpy, the loop as one native call, no torch.

Rule: everything between `Engine` and `cuda_ext.native`. Drafts are read while the loop goes on; a cancelled run is told
at once and stops before its next forward pass.

    if not why_not("cpu"): backend = NativeBackend.load(EMBEDDED)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import numpy as np

from cuda_ext import native
from cuda_ext.rules import Policy
from diffusion.canvas import Canvas, ended
from diffusion.model.card import ModelFolder
from diffusion.model.config import ModelConfig
from diffusion.model.tensors import rounded, widened
from diffusion.request import Draft, InfillRequest
from diffusion.vocabulary import OURS

ROWS_AT_ONCE = 1024  # of a table: all at once would take six times its memory for a moment
POLL_US = 1000  # between two looks at `cancelled` while no draft comes


def why_not(device: str) -> str:
    """What keeps the native backend from running on `device`; "" if nothing does."""
    return native.why_not("cuda" if device.startswith("cuda") else "cpu")


def libraries() -> list[str]:
    """What was found of either native library, a line each."""
    lines = []
    for kind in ("cpu", "cuda"):
        library, reason = native.find(kind)
        found = f"{library.target}, {library.path.name}" if library else f"{reason}; torch runs the model there"
        lines.append(f"{kind}: {found}")
    return lines


class NativeContext:
    """Keys and values of a context in native memory, and the ids they belong to."""

    def __init__(self, cache: native.NativeCache) -> None:
        self.cache = cache
        self.ids: list[int] = []

    def keep(self, n_tokens: int) -> None:
        """Forget everything behind the first `n_tokens` tokens."""
        del self.ids[n_tokens:]


class NativeBackend:
    """A packed model and how to run it."""

    def __init__(self, config: ModelConfig, model: native.NativeModel, info: dict[str, object]) -> None:
        self.config, self.model, self.info = config, model, info

    @classmethod
    def load(
        cls, folder: ModelFolder, device: str = "cpu", threads: int | None = None, precision: str | None = None
    ) -> NativeBackend:
        """Load a model folder; ValueError says which file is wrong and how.

        `precision`: of weights and matrix products, "int8" (the default on a CPU) or "bf16".
        """
        missing = why_not(device)
        if missing:
            raise ValueError(f"the native backend cannot run: {missing}")
        config = folder.config
        kind = "cuda" if device.startswith("cuda") else "cpu"
        precision = precision or ("bf16" if kind == "cuda" else "int8")
        tensors = {name: weight.words() for name, weight in folder.weights().items()}
        try:
            given = with_neighbour_tables(tensors, config)
            model = native.NativeModel(shape_of(config), given, precision, threads or default_threads(), kind)
        except ValueError as error:
            raise ValueError(f"{folder.path} does not fit its config.json: {error}") from error
        info: dict[str, object] = {
            "backend": "native",
            "device": kind,
            "target": model.target,
            "precision": precision,
            "parameters": sum(tensor.size for tensor in tensors.values()),
        }
        return cls(config, model, info)

    def new_cache(self, capacity: int) -> NativeContext:
        """An empty context cache for `capacity` tokens."""
        return NativeContext(native.NativeCache(self.model, capacity))

    def encode(self, ids: list[int], cache: NativeContext) -> None:
        """Append context tokens to the cache."""
        self.model.encode(cache.cache, ids, len(cache.ids))
        cache.ids.extend(ids)

    def denoise(
        self,
        cache: NativeContext,
        canvas: Canvas,
        policy: Policy,
        request: InfillRequest,
        cancelled: Callable[[], bool],
    ) -> Iterator[Draft]:
        """The denoising loop; drafts as they come."""
        if cancelled():
            return
        control = control_of(canvas, policy, request)
        run = native.NativeRun(self.model, cache.cache, len(cache.ids), control, canvas.flags)
        with run:
            for slot in slots(run, cancelled):
                take_over(canvas, slot)
                reason = ended(bool(slot.late), bool(canvas.masked.any())) if slot.done else ""
                yield canvas.draft(rows_of(slot.guess, canvas), slot.step, slot.step, reason)

    def autoregress(self, cache: NativeContext, canvas: Canvas, cancelled: Callable[[], bool]) -> Iterator[Draft]:
        """The same canvas decoded token by token."""
        if len(canvas.holes) != 1:
            raise ValueError("autoregressive decoding fills one hole")
        control = control_of(canvas, Policy(max_steps=len(canvas.ids)), None)
        run = native.NativeRun(
            self.model, cache.cache, len(cache.ids), control, canvas.flags, autoregressive_from=cache.ids[-1]
        )
        with run:
            for slot in slots(run, cancelled):
                take_over(canvas, slot)
                guess = rows_of(slot.guess, canvas)
                reason = ("complete" if canvas.end_id in guess else "length") if slot.done else ""
                yield canvas.draft(guess, slot.step, slot.step, reason)


def shape_of(config: ModelConfig) -> native.Shape:
    """The sizes as the library wants them."""
    return native.Shape(
        config.vocab_size, config.d_model, config.n_layers, config.n_heads, config.n_kv_heads, config.d_ff,
        config.rope_base,
    )  # fmt: skip


def slots(run: native.NativeRun, cancelled: Callable[[], bool]) -> Iterator[native.DraftSlot]:
    """Draft slots until the run is done or cancelled."""
    while not cancelled() and not run.ended:
        slot = run.next(POLL_US)
        if slot is not None:
            yield slot
            if slot.done:
                return
    run.cancel()


def rows_of(values: object, canvas: Canvas) -> np.ndarray:
    """The canvas's rows of a slot's array, int64 (C,)."""
    return np.asarray(values, dtype=np.int64)[: len(canvas.ids)]


def take_over(canvas: Canvas, slot: native.DraftSlot) -> None:
    """Make the canvas what the native loop's canvas is."""
    canvas.ids = rows_of(slot.ids, canvas)
    canvas.probability = np.asarray(slot.probability, dtype=np.float32)[: len(canvas.ids)]


def control_of(canvas: Canvas, policy: Policy, request: InfillRequest | None) -> native.Control:
    """What the native loop is told of a run."""
    if len(canvas.ids) > native.MAX_ROWS or len(canvas.holes) > native.MAX_HOLES:
        raise ValueError(f"a canvas holds at most {native.MAX_ROWS} rows and {native.MAX_HOLES} holes")
    control = native.Control()
    control.n_rows, control.n_holes = len(canvas.ids), len(canvas.holes)
    for i, ((start, stop), multiline) in enumerate(zip(canvas.holes, canvas.multiline, strict=True)):
        control.hole_start[i], control.hole_stop[i], control.multiline[i] = start, stop, multiline
    given = zip(canvas.ids.tolist(), canvas.fixed.tolist(), canvas.probability.tolist(), strict=True)
    for row, (token, fixed, probability) in enumerate(given):
        control.ids[row], control.fixed[row], control.probability[row] = token, fixed, probability
    control.mask_id, control.end_id = canvas.mask_id, canvas.end_id
    control.has_left, control.has_right = canvas.left.allowed is not None, canvas.right.allowed is not None
    control.max_steps, control.max_revisions = policy.max_steps, policy.max_revisions
    control.threshold, control.revise_below = policy.threshold, policy.revise_below
    control.present = int(np.bitwise_or.reduce(np.left_shift(np.uint32(1), np.unique(canvas.flags).astype(np.uint32))))
    control.deadline_us = -1
    if request is not None:
        control.seed, control.temperature = request.seed & (2**64 - 1), request.temperature
        control.stop_below = request.stop_below
        if request.deadline_ms is not None:
            control.deadline_us = int(request.deadline_ms * 1000)
    return control


def default_threads() -> int:
    """Threads for a model this small: the cores this process may use, four at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, cores)


def with_neighbour_tables(tensors: dict[str, np.ndarray], config: ModelConfig) -> dict[str, np.ndarray]:
    """The tensors as the library wants them: what a token adds to the rows beside it, looked up instead of multiplied.

    `left` and `right` (vocab_size + 1, d_model), END's row again at the end, instead of `left.weight` and
    `right.weight`.
    """
    gain, size = widened(tensors["embed_norm.weight"]), (config.d_model, config.d_model)
    matrices = {side: widened(tensors[f"{side}.weight"]).reshape(size).T for side in ("left", "right")}
    tables = {side: np.empty((config.vocab_size + 1, config.d_model), dtype=np.uint16) for side in matrices}
    words = tensors["embed.weight"].reshape(config.vocab_size, config.d_model)
    for start in range(0, config.vocab_size, ROWS_AT_ONCE):
        rows = widened(words[start : start + ROWS_AT_ONCE])
        normed = rows / np.sqrt(np.square(rows).mean(axis=1, keepdims=True) + 1e-6) * gain
        for side, matrix in matrices.items():
            tables[side][start : start + len(rows)] = rounded(normed @ matrix)
    for table in tables.values():
        table[-1] = table[OURS.end]
    return {name: words for name, words in tensors.items() if name not in ("left.weight", "right.weight")} | tables
