"""Binding of the native libraries by ctypes: finds them, checks that they fit, and wraps their handles.

Rule: numpy only, no torch. A library that is missing or does not fit is a normal state with a reason, not an error;
what a library refuses is a ValueError. Calls release the GIL.

    model = NativeModel(shape, tensors, "int8", threads=2); cache = NativeCache(model, 512)
    model.encode(cache, context_ids, start=0)
    with NativeRun(model, cache, len(context_ids), control, flags) as run:
        for slot in run: print(slot.step, slot.guess[: control.n_rows])
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ctypes import c_char_p, c_float, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cuda_ext.rules import HISTORY, MAX_ROWS

ABI_VERSION = 7
MAX_HOLES = 8
PRECISIONS = {"bf16": 0, "int8": 1, "fp8": 2}
FOREVER_US = 3_600_000_000
QKV_BIAS, QK_NORM, OWN_HEAD, EXTRAS, SHIFT = 1, 2, 4, 8, 16  # flags of a shape

# A tensor: bfloat16 words (uint16), or the int8 values (N, K) of a matrix and the float32 scales (N,) of its rows.
Tensor = np.ndarray | tuple[np.ndarray, np.ndarray]


class Shape(ctypes.Structure):
    """`mz_shape`: sizes of a model."""

    _fields_ = [
        ("vocab_size", c_int32),
        ("d_model", c_int32),
        ("n_layers", c_int32),
        ("n_heads", c_int32),
        ("n_kv_heads", c_int32),
        ("d_ff", c_int32),
        ("d_head", c_int32),
        ("flags", c_int32),
        ("context_sees", c_int32),
        ("canvas_sees", c_int32),
        ("rope_base", c_float),
        ("norm_eps", c_float),
    ]


class Control(ctypes.Structure):
    """`mz_control`: what a run is told."""

    _fields_ = [
        ("seed", c_uint64),
        ("deadline_us", c_int64),
        ("n_rows", c_int32),
        ("n_holes", c_int32),
        ("hole_start", c_int32 * MAX_HOLES),
        ("hole_stop", c_int32 * MAX_HOLES),
        ("multiline", c_int32 * MAX_HOLES),
        ("ids", c_int32 * MAX_ROWS),
        ("probability", c_float * MAX_ROWS),
        ("fixed", c_int32 * MAX_ROWS),
        ("mask_id", c_int32),
        ("end_id", c_int32),
        ("has_left", c_int32),
        ("has_right", c_int32),
        ("head", c_int32),
        ("max_steps", c_int32),
        ("max_revisions", c_int32),
        ("threshold", c_float),
        ("revise_below", c_float),
        ("temperature", c_float),
        ("stop_below", c_float),
        ("present", c_uint32),
        ("verdict", c_int32),
        ("judge_rows", c_int32),
        ("canvas_rows", c_int32),
        ("patience", c_int32),
        ("rest", c_int32),
        ("draft_above", c_float),
        ("last_id", c_int32),
        ("n_drafted", c_int32),
        ("drafted", c_int32 * MAX_ROWS),
        ("look_up", c_int32),
        ("n_history", c_int32),
        ("history", c_int32 * HISTORY),
    ]


class CanvasState(ctypes.Structure):
    """`mz_canvas`: what the loop changes."""

    _fields_ = [
        ("step", c_int32),
        ("revisions_left", c_int32),
        ("ids", c_int32 * MAX_ROWS),
        ("doubted", c_int32 * MAX_ROWS),
        ("probability", c_float * MAX_ROWS),
    ]


class DraftSlot(ctypes.Structure):
    """`mz_draft`: one draft."""

    _fields_ = [
        ("step", c_int32),
        ("done", c_int32),
        ("late", c_int32),
        ("cached", c_int32),
        ("ids", c_int32 * MAX_ROWS),
        ("guess", c_int32 * MAX_ROWS),
        ("probability", c_float * MAX_ROWS),
    ]


class Row(ctypes.Structure):
    """`mz_row`: statistics of one row."""

    _fields_ = [
        ("best", c_int32),
        ("probability", c_float),
        ("end", c_float),
        ("entropy", c_float),
        ("own", c_float),
    ]


class Rule(ctypes.Structure):
    """`mz_rule`: which tokens a row may hold."""

    _fields_ = [("forbid", c_uint32), ("need", c_uint32), ("also_need", c_uint32), ("ends", c_uint32)]


class Stream(ctypes.Structure):
    """`mz_stream`: what the verdict loop changes besides."""

    _fields_ = [
        ("row", c_int32),
        ("cached", c_int32),
        ("last", c_int32),
        ("n_pending", c_int32),
        ("pending", c_int32 * MAX_ROWS),
        ("n_drafted", c_int32),
        ("drafted", c_int32 * MAX_ROWS),
        ("drafter", c_int32),
        ("in_vain", c_int32),
        ("resting", c_int32),
        ("weighing", c_int32),
        ("guess", c_int32 * MAX_ROWS),
    ]


class Plan(ctypes.Structure):
    """`mz_plan`: one forward pass."""

    _fields_ = [
        ("start", c_int32),
        ("n_context", c_int32),
        ("n_canvas", c_int32),
        ("decided", c_int32),
        ("ids", c_int32 * MAX_ROWS),
        ("n_wanted", c_int32),
        ("wanted", c_int32 * MAX_ROWS),
        ("at", c_int32 * MAX_ROWS),
        ("own", c_int32 * MAX_ROWS),
        ("rule", Rule * MAX_ROWS),
    ]


STRUCTS = (Control, DraftSlot, Row, Shape, CanvasState, Rule, Stream, Plan)  # in the order of mz_struct_size

# name: (result, arguments)
FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "mz_abi_version": (c_int32, []),
    "mz_last_error": (c_char_p, []),
    "mz_target": (c_char_p, []),
    "mz_struct_size": (c_int32, [c_int32]),
    "mz_model_create": (c_void_p, [c_void_p, c_int32, c_int32, c_int32]),
    "mz_model_set": (c_int32, [c_void_p, c_char_p, c_void_p, c_int64]),
    "mz_model_set_int8": (c_int32, [c_void_p, c_char_p, c_void_p, c_void_p, c_int64, c_int64]),
    "mz_model_ready": (c_int32, [c_void_p]),
    "mz_model_bytes": (c_int64, [c_void_p]),
    "mz_model_destroy": (None, [c_void_p]),
    "mz_cache_create": (c_void_p, [c_void_p, c_int32]),
    "mz_cache_destroy": (None, [c_void_p]),
    "mz_encode": (c_int32, [c_void_p, c_void_p, c_void_p, c_int32, c_int32]),
    "mz_forward": (c_int32, [c_void_p, c_void_p, c_void_p, c_int32, c_int32, c_int32, c_int32, c_void_p]),
    "mz_run_start": (c_void_p, [c_void_p, c_void_p, c_int32, c_void_p, c_void_p]),
    "mz_run_next": (c_int32, [c_void_p, c_void_p, c_int64]),
    "mz_run_cancel": (None, [c_void_p]),
    "mz_run_steps": (c_int32, [c_void_p]),
    "mz_run_destroy": (c_int32, [c_void_p]),
    "mz_test_row_stats": (None, [c_void_p, c_int32, c_int32, c_void_p, c_void_p, c_void_p, c_void_p]),
    "mz_test_rules": (None, [c_void_p, c_void_p, c_void_p, c_void_p]),
    "mz_test_commit": (c_int32, [c_void_p, c_void_p, c_void_p, c_void_p, c_int32, c_void_p]),
    "mz_test_verdict_start": (None, [c_void_p, c_int32, c_void_p, c_void_p]),
    "mz_test_verdict_plan": (None, [c_void_p, c_void_p, c_void_p, c_void_p, c_void_p]),
    "mz_test_verdict_commit": (c_int32, [c_void_p] * 7),
    "mz_test_gumbel": (None, [c_uint64, c_int32, c_int32, c_int32, c_void_p]),
}
MEASURES: dict[str, tuple[Any, list[Any]]] = {
    "mz_measure_int8_rate": (ctypes.c_double, [c_int32]),
    "mz_measure_bf16_rate": (ctypes.c_double, [c_int32]),
    "mz_measure_bandwidth": (ctypes.c_double, [c_int32, c_int64]),
    "mz_measure_barrier": (ctypes.c_double, [c_int32]),
}


def tensor_sizes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Names and sizes of the tensors that a model of this shape is given."""
    d, ff, n_q = shape.d_model, shape.d_ff, shape.n_heads * shape.d_head
    n_qkv = n_q + 2 * shape.n_kv_heads * shape.d_head
    sizes: dict[str, tuple[int, ...]] = {"embed.weight": (shape.vocab_size, d), "norm.weight": (d,)}
    if shape.flags & OWN_HEAD:
        sizes["head.weight"] = (shape.vocab_size, d)
    if shape.flags & EXTRAS:
        sizes |= {"left": (shape.vocab_size + 1, d), "right": (shape.vocab_size + 1, d)}
        sizes |= {"embed_norm.weight": (d,), "canvas_embed": (d,)}
    matrices = {"qkv": (n_qkv, d), "o": (d, n_q), "gate_up": (2 * ff, d), "down": (d, ff)}
    gains = {"attn_norm.weight": d, "mlp_norm.weight": d}
    gains |= {"q_norm.weight": shape.d_head, "k_norm.weight": shape.d_head} if shape.flags & QK_NORM else {}
    gains |= {"qkv.bias": n_qkv} if shape.flags & QKV_BIAS else {}
    for layer in range(shape.n_layers):
        sizes |= {f"blocks.{layer}.{name}.weight": size for name, size in matrices.items()}
        sizes |= {f"blocks.{layer}.{name}": (n,) for name, n in gains.items()}
    return sizes


class Library:
    """A loaded library whose structures and ABI are ours; `raw` has the functions of c_api.h."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.kind = path, kind
        self.raw = ctypes.CDLL(str(path))
        measures = MEASURES if kind == "cpu" else {}
        for name, (result, arguments) in (FUNCTIONS | measures).items():
            function = getattr(self.raw, name)
            function.restype, function.argtypes = result, arguments
        if self.raw.mz_abi_version() != ABI_VERSION:
            raise OSError(f"{path} has ABI version {self.raw.mz_abi_version()}, not {ABI_VERSION}")
        for which, struct in enumerate(STRUCTS):
            if self.raw.mz_struct_size(which) != ctypes.sizeof(struct):
                raise OSError(f"{path} has another layout of {struct.__name__}")

    @property
    def target(self) -> str:
        """What it runs on: an instruction set, or a GPU; "" without a usable device."""
        return str(self.raw.mz_target().decode())

    def error(self) -> str:
        """What went wrong in this thread's last call."""
        return str(self.raw.mz_last_error().decode(errors="replace"))

    def check(self, result: Any) -> Any:
        """`result`, or a ValueError if it is a null handle or negative."""
        if result is None or result < 0:
            raise ValueError(self.error())
        return result


def library_path(kind: str) -> Path:
    """Where the library is, or should be; MEZZOTINT_NATIVE_LIB names a folder that goes first."""
    suffix = {"darwin": "dylib", "win32": "dll"}.get(sys.platform, "so")
    name = f"{'' if sys.platform == 'win32' else 'lib'}mezzotint_{kind}.{suffix}"
    given = os.environ.get("MEZZOTINT_NATIVE_LIB")
    packages = sys.modules["cuda_ext"].__path__  # two folders in an editable install: sources, and what was built
    folders = [Path(given)] if given else [Path(package) / "_lib" for package in packages]
    paths = [folder / name for folder in folders]
    return next((path for path in paths if path.exists()), paths[0])


@cache
def _find(kind: str, path: Path, wanted: str) -> tuple[Library | None, str]:
    if wanted == "0":
        return None, "switched off by MEZZOTINT_NATIVE=0"
    if not path.exists():
        return None, f"the native library was not built: no {path.name} in {path.parent}"
    try:
        library = Library(path, kind)
    except (OSError, AttributeError) as error:
        return None, f"the native library does not fit: {error}"
    return (library, "") if library.target else (None, f"{path.name} finds no device it can use")


def find(kind: str) -> tuple[Library | None, str]:
    """The library for "cpu" or "cuda", or None and the reason why there is none."""
    return _find(kind, library_path(kind), os.environ.get("MEZZOTINT_NATIVE", ""))


def load(kind: str) -> Library | None:
    """The library for "cpu" or "cuda", or None if it cannot be used here."""
    return find(kind)[0]


def why_not(kind: str) -> str:
    """What keeps the library from being used; "" if nothing does."""
    return find(kind)[1]


def _pointer(array: np.ndarray) -> int:
    return int(array.ctypes.data)


def _ids(ids: Sequence[int] | np.ndarray) -> np.ndarray:
    try:
        return np.ascontiguousarray(ids, dtype=np.int32)
    except OverflowError as error:
        raise ValueError("a token id that is not in the vocabulary") from error


class Handle:
    """Something of a library's that is freed with its Python object, or by `close`."""

    def __init__(self, library: Library, kind: str, address: int | None) -> None:
        self.library, self.raw = library, library.raw
        self._address: int = library.check(address)
        self.close = weakref.finalize(self, getattr(library.raw, f"mz_{kind}_destroy"), self._address)

    @property
    def handle(self) -> int:
        """What the library knows it by; ValueError once it is closed."""
        if not self.close.alive:
            raise ValueError(f"{type(self).__name__} is closed")
        return self._address


class NativeModel(Handle):
    """Packed weights. `tensors` are named as in diffusion/model/tensors.py; none of them is kept.

    `device`: which of the devices of `kind`.
    """

    def __init__(
        self,
        shape: Shape,
        tensors: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]],
        precision: str,
        threads: int,
        kind: str = "cpu",
        device: int = 0,
    ) -> None:
        library, reason = find(kind)
        if library is None:
            raise ValueError(reason)
        created = library.raw.mz_model_create(ctypes.byref(shape), PRECISIONS[precision], device, threads)
        super().__init__(library, "model", created)
        self.shape = shape
        for name, tensor in tensors.items() if isinstance(tensors, Mapping) else tensors:
            self._set_int8(name, *tensor) if isinstance(tensor, tuple) else self._set(name, tensor)
        library.check(self.raw.mz_model_ready(self.handle))

    def _set(self, name: str, tensor: np.ndarray) -> None:
        words = np.ascontiguousarray(tensor)
        if words.dtype != np.uint16:
            raise ValueError(f"{name} must be bfloat16 words, not {words.dtype}")
        self.library.check(self.raw.mz_model_set(self.handle, name.encode(), _pointer(words), words.size))

    def _set_int8(self, name: str, values: np.ndarray, scales: np.ndarray) -> None:
        rows, by = np.ascontiguousarray(values), np.ascontiguousarray(scales)
        if rows.dtype != np.int8 or by.dtype != np.float32 or rows.ndim != 2 or by.shape != rows.shape[:1]:
            raise ValueError(f"{name} must be int8 rows with a float32 scale each")
        given = (name.encode(), _pointer(rows), _pointer(by), *rows.shape)
        self.library.check(self.raw.mz_model_set_int8(self.handle, *given))

    @property
    def target(self) -> str:
        """What it runs on."""
        return self.library.target

    @property
    def n_bytes(self) -> int:
        """Size of the packed weights."""
        return int(self.raw.mz_model_bytes(self.handle))

    def encode(self, cache: NativeCache, ids: Sequence[int] | np.ndarray, start: int) -> None:
        """Write keys and values of context `ids` behind the first `start` tokens of the cache."""
        rows = _ids(ids)
        self.library.check(self.raw.mz_encode(self.handle, cache.handle, _pointer(rows), start, len(rows)))

    def forward(
        self, cache: NativeCache, context: Sequence[int] | np.ndarray, canvas: Sequence[int] | np.ndarray, start: int,
        decided: int = 0,
    ) -> np.ndarray:  # fmt: skip
        """Logits (len(context) + len(canvas), vocab) of rows of two kinds behind `start` cached ones."""
        rows = np.concatenate((_ids(context), _ids(canvas)))
        logits = np.empty((len(rows), self.shape.vocab_size), dtype=np.float32)
        given = (_pointer(rows), start, len(context), len(canvas), decided, _pointer(logits))
        self.library.check(self.raw.mz_forward(self.handle, cache.handle, *given))
        return logits


class NativeCache(Handle):
    """Keys and values of one context and of the canvas behind it."""

    def __init__(self, model: NativeModel, capacity: int) -> None:
        self.capacity = capacity
        super().__init__(model.library, "cache", model.raw.mz_cache_create(model.handle, capacity))


class NativeRun(Handle):
    """One run of a loop, going on in a thread of its own; leaving its `with` block ends it.

    `close` returns how many forward passes ran.
    """

    def __init__(
        self, model: NativeModel, cache: NativeCache, n_context: int, control: Control, flags: np.ndarray
    ) -> None:
        self.ended = False  # no further draft will come
        kinds = np.ascontiguousarray(flags, dtype=np.uint8)
        if kinds.shape != (model.shape.vocab_size,):
            raise ValueError(f"flags of {kinds.size} tokens, not {model.shape.vocab_size}")
        given = (n_context, ctypes.byref(control), _pointer(kinds))
        super().__init__(model.library, "run", model.raw.mz_run_start(model.handle, cache.handle, *given))

    def next(self, timeout_us: int) -> DraftSlot | None:
        """The next draft; None if none came in time, or if the run has `ended`."""
        slot = DraftSlot()
        found = self.library.check(self.raw.mz_run_next(self.handle, ctypes.byref(slot), timeout_us))
        self.ended = found == 2
        return slot if found == 1 else None

    @property
    def steps(self) -> int:
        """Forward passes that ran so far, read or not."""
        return int(self.raw.mz_run_steps(self.handle))

    def cancel(self) -> None:
        """Stop before the next forward pass; from any thread."""
        if self.close.alive:
            self.raw.mz_run_cancel(self.handle)

    def finish(self) -> None:
        """Cancel, and wait for the loop to end: what is left unread is thrown away."""
        self.cancel()
        with contextlib.suppress(ValueError):  # a loop that failed has ended
            while not self.ended:
                self.next(FOREVER_US)

    def __iter__(self) -> Iterator[DraftSlot]:
        """All drafts, as they come."""
        while not self.ended:
            slot = self.next(FOREVER_US)
            if slot is not None:
                yield slot

    def __enter__(self) -> NativeRun:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
