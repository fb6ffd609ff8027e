"""The model run by the compiled extension: weights by safetensors and numpy, the loop as one native call, no torch.

Rule: everything between `Engine` and `cuda_ext.native`. Drafts are read while the loop goes on; a cancelled run is told
at once and stops before its next forward pass.

    if not why_not("cpu"): backend = NativeBackend.load(open_folder(EMBEDDED))
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator

import numpy as np

from cuda_ext import native
from cuda_ext.rules import COUNTED, HISTORY, MAX_ROWS, Policy, Verdict
from diffusion.canvas import Canvas, ended
from diffusion.device import parse_device
from diffusion.model.card import ModelFolder
from diffusion.model.config import ModelConfig
from diffusion.model.memory import refuse_if_too_large
from diffusion.model.tensors import Weight, rounded, widened
from diffusion.request import Draft, InfillRequest
from diffusion.vocabulary import NONE, OURS

ROWS_AT_ONCE = 1024  # of a table: all at once would take six times its memory for a moment
POLL_US = 1000  # between two looks at `cancelled` while no draft comes


def why_not(device: str) -> str:
    """What keeps the native backend from running on `device`; "" if nothing does."""
    return native.why_not(parse_device(device)[0])


def libraries() -> list[str]:
    """What was found of either native library, a line each."""
    lines = []
    for kind in ("cpu", "cuda"):
        library, reason = native.find(kind)
        found = f"{library.target}, {library.path.name}" if library else f"{reason}; torch can run the model there"
        lines.append(f"{kind}: {found}")
    return lines


class NativeContext:
    """Keys and values of a context in native memory, and the ids they belong to."""

    def __init__(self, cache: native.NativeCache) -> None:
        self.cache = cache
        self.ids: list[int] = []
        self.behind = 0  # no token is: such models run in torch

    def keep(self, n_tokens: int) -> None:
        """Forget everything behind the first `n_tokens` tokens."""
        del self.ids[n_tokens:]


class NativeBackend:
    """A packed model and how to run it."""

    def __init__(self, config: ModelConfig, model: native.NativeModel, info: dict[str, object]) -> None:
        self.config, self.model, self.info = config, model, info
        self._ended_passes = 0
        self._running: native.NativeRun | None = None
        self._counting = threading.Lock()  # a run may end while another thread counts its passes

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
        config, (kind, index) = folder.config, parse_device(device)
        precision = precision or ("bf16" if kind == "cuda" else "int8")
        refuse_if_too_large(folder, precision, device)
        weights = folder.weights()
        n_parameters = sum(math.prod(part.shape) for weight in weights.values() for part, _ in weight.parts)
        try:
            given = tensors_of(weights, config, precision)
            threads = threads or default_threads()
            model = native.NativeModel(shape_of(config), given, precision, threads, kind, index)
        except ValueError as error:
            raise ValueError(f"{folder.path} does not fit its config.json: {error}") from error
        info: dict[str, object] = {
            "backend": "native",
            "device": device,
            "target": model.target,
            "precision": precision,
            "parameters": n_parameters,
        }
        return cls(config, model, info)

    def beside(self) -> NativeBackend:
        """The same model for another thread: on a CPU, passes of both that meet run as one."""
        if self.model.library.kind != "cpu":
            raise ValueError("the native backend runs passes of several requests together on a CPU alone")
        return NativeBackend(self.config, self.model, self.info)

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
        return self._run(cache, canvas, control_of(canvas, policy, request), cancelled)

    def verdict(
        self,
        cache: NativeContext,
        canvas: Canvas,
        policy: Verdict,
        request: InfillRequest,
        cancelled: Callable[[], bool],
    ) -> Iterator[Draft]:
        """Draft and verdict; the cache keeps what was decided."""
        if not cache.ids:
            raise ValueError("only a context that is not empty judges drafts")
        return self._run(cache, canvas, verdict_control(canvas, policy, request, cache.ids), cancelled)

    def _run(
        self, cache: NativeContext, canvas: Canvas, control: native.Control, cancelled: Callable[[], bool]
    ) -> Iterator[Draft]:
        """Drafts of one run, which goes on ahead of its reader until this generator ends."""
        if cancelled():
            return
        n_context = len(cache.ids)
        run = self._running = native.NativeRun(self.model, cache.cache, n_context, control, canvas.flags)
        try:
            for slot in slots(run, cancelled):
                take_over(canvas, slot)
                cache.ids[n_context:] = decided_text(canvas)[: slot.cached - n_context]
                reason = ended(bool(slot.late), bool(canvas.masked.any())) if slot.done else ""
                yield canvas.draft(rows_of(slot.guess, canvas), slot.step, slot.step, reason)
        finally:
            run.finish()  # outside of the lock: who counts does not wait for a pass
            with self._counting:
                self._running = None
                self._ended_passes += run.close() or 0

    @property
    def forward_passes(self) -> int:
        """Forward passes of all runs so far, that of now included, whether their drafts were read or not."""
        with self._counting:
            return self._ended_passes + (self._running.steps if self._running else 0)


def shape_of(config: ModelConfig) -> native.Shape:
    """The sizes as the library wants them."""
    has = {
        native.QKV_BIAS: config.qkv_bias,
        native.QK_NORM: config.qk_norm,
        native.OWN_HEAD: not config.tied,
        native.EXTRAS: config.extras,
        native.SHIFT: config.shift,
    }
    flags = sum(flag for flag, there in has.items() if there)
    heads, sees = (config.n_heads, config.n_kv_heads), (config.context_sees, config.canvas_sees)
    sizes = (config.vocab_size, config.d_model, config.n_layers, *heads, config.d_ff, config.d_head)
    return native.Shape(*sizes, flags, *sees, config.rope_base, config.norm_eps)


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


def decided_text(canvas: Canvas) -> list[int]:
    """Tokens of the rows in front of the first undecided one; ends are none."""
    undecided = np.flatnonzero(canvas.masked)
    ids = canvas.ids[: undecided[0] if len(undecided) else None]
    text: list[int] = ids[canvas.fixed[: len(ids)] | (ids != canvas.end_id)].tolist()
    return text


def control_of(canvas: Canvas, policy: Policy, request: InfillRequest) -> native.Control:
    """What the native loop is told of a threshold run."""
    control = any_control(canvas, request)
    control.max_steps, control.max_revisions = policy.max_steps, policy.max_revisions
    control.threshold, control.revise_below = policy.threshold, policy.revise_below
    return control


def verdict_control(canvas: Canvas, policy: Verdict, request: InfillRequest, context: list[int]) -> native.Control:
    """What the native loop is told of a verdict run; `context`: the token ids in front, at least one."""
    control, history = any_control(canvas, request), context[-HISTORY:] if policy.look_up else []
    control.verdict, control.last_id, control.draft_above = 1, context[-1], policy.draft_above
    control.look_up, control.n_history = policy.look_up, len(history)
    control.history[: len(history)] = history
    control.judge_rows, control.patience, control.rest = policy.judge_rows, policy.patience, policy.rest
    control.canvas_rows = 0 if canvas.mask_id == NONE else policy.canvas_rows
    drafted = canvas.proposed_by(request.start) if request.start else []
    control.n_drafted = len(drafted)
    control.drafted[: len(drafted)] = drafted
    return control


def any_control(canvas: Canvas, request: InfillRequest) -> native.Control:
    """What is the same for both loops."""
    if len(canvas.ids) > MAX_ROWS or len(canvas.holes) > native.MAX_HOLES:
        raise ValueError(f"a canvas holds at most {MAX_ROWS} rows and {native.MAX_HOLES} holes")
    control, n = native.Control(), len(canvas.ids)
    control.n_rows, control.n_holes = n, len(canvas.holes)
    for i, ((start, stop), multiline) in enumerate(zip(canvas.holes, canvas.multiline, strict=True)):
        control.hole_start[i], control.hole_stop[i], control.multiline[i] = start, stop, multiline
    control.ids[:n], control.fixed[:n] = canvas.ids.tolist(), canvas.fixed.tolist()
    control.probability[:n] = canvas.probability.tolist()
    control.mask_id, control.end_id = canvas.mask_id, canvas.end_id
    control.has_left, control.has_right = canvas.left.allowed is not None, canvas.right.allowed is not None
    control.head = canvas.left.head if canvas.has_head else 0
    kinds = np.unique(canvas.flags & COUNTED).astype(np.uint32)
    control.present = int(np.bitwise_or.reduce(np.left_shift(np.uint32(1), kinds)))
    control.seed, control.temperature = request.seed & (2**64 - 1), request.temperature
    control.stop_below = request.stop_below
    control.deadline_us = -1 if request.deadline_ms is None else int(request.deadline_ms * 1000)
    return control


def default_threads() -> int:
    """Threads for a model this small: the cores this process may use, four at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, cores)


def tensors_of(weights: dict[str, Weight], config: ModelConfig, precision: str) -> Iterator[tuple[str, native.Tensor]]:
    """(name, tensor) as the library wants them, one at a time; `weights` is emptied, so that files are let go of.

    What is stored in int8 is given so to an int8 model. With extras, bfloat16 words: the tables are made of them.
    """
    if config.extras:
        words = {name: weight.words() for name, weight in weights.items()}
        yield from with_neighbour_tables(words, config).items()
        return
    for name in list(weights):
        weight = weights.pop(name)
        stored = weight.int8() if precision == "int8" else None
        yield name, weight.words() if stored is None else stored


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
        normed = rows / np.sqrt(np.square(rows).mean(axis=1, keepdims=True) + config.norm_eps) * gain
        for side, matrix in matrices.items():
            tables[side][start : start + len(rows)] = rounded(normed @ matrix)
    for table in tables.values():
        table[-1] = table[OURS.end]
    return {name: words for name, words in tensors.items() if name not in ("left.weight", "right.weight")} | tables
