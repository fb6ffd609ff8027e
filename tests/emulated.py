"""The CUDA library compiled for the emulator, for the test_cuda_* modules: built once, called with arrays.

The emulator runs the threads of a block in ascending and in descending order; both must give the same. The fixtures
`emulated` and `emulated_folder` are every test's: tests/conftest.py has them.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuda_ext import native
from cuda_ext.native import EXTRAS, OWN_HEAD, QK_NORM, QKV_BIAS, SHIFT, CanvasState, Control, Library, Shape
from cuda_ext.rules import BREAK, CLOSES, END, LEFT, RIGHT, SPECIAL
from tests.native_shapes import EVERYTHING

ROOT = Path(__file__).parent.parent
COMPILER = os.environ.get("CXX") or shutil.which("g++")
CPU_LIBRARY = native.library_path("cpu")  # before a fixture says where libraries are

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no g++: the CUDA kernels were NOT checked by emulation")


@pytest.fixture(scope="session")
def emulated_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the emulated library is, built once."""
    folder = tmp_path_factory.mktemp("emulated")
    include = [f"-I{ROOT / 'cuda_ext' / part}" for part in ("emu", "include", "")]
    source, library = ROOT / "tests/cuda/emulated.cpp", folder / "libmezzotint_cuda.so"
    flags = ["-std=c++17", "-O1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
    subprocess.run([str(COMPILER), *flags, "-DMZ_EMULATED", *include, source, "-o", library], check=True)
    return folder


@pytest.fixture(scope="module", params=[0, 1], ids=["ascending", "descending"])
def emulated(emulated_folder: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The library with the fibers of a block run in one order or the other; also what `native` finds as "cuda"."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_NATIVE_LIB", str(emulated_folder))
        patch.delenv("MEZZOTINT_CUDA_LOOP", raising=False)
        raw = Library(emulated_folder / "libmezzotint_cuda.so", "cuda").raw
        raw.emu_descending(request.param)
        yield raw


def at(array: np.ndarray | None) -> ctypes.c_void_p | None:
    return None if array is None else ctypes.c_void_p(array.ctypes.data)


def call(function: Any, *arguments: Any) -> Any:
    """Call a function of the library: arrays go as pointers, structures by reference."""
    by_reference = [ctypes.byref(a) if isinstance(a, ctypes.Structure) else a for a in arguments]
    return function(*[at(a) if isinstance(a, np.ndarray) else a for a in by_reference])


def bf16(values: np.ndarray) -> np.ndarray:
    """Nearest bfloat16 words of float32 values."""
    import torch  # here, so that tests can run where there is none

    return torch.from_numpy(np.ascontiguousarray(values, np.float32)).bfloat16().view(torch.uint16).numpy()


def wide(words: np.ndarray) -> np.ndarray:
    return (words.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def error(got: np.ndarray, wanted: np.ndarray) -> float:
    """Relative error of the whole; NaN stays NaN, which is below no bound."""
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


def random_flags(rng: np.random.Generator, vocab: int) -> np.ndarray:
    """Flags of a vocabulary whose first tokens are special: 0 is the mask, 1 the end."""
    flags = rng.choice([0, BREAK, LEFT, RIGHT, RIGHT | BREAK, CLOSES], vocab).astype(np.uint8)
    flags[:4] = SPECIAL
    flags[1] = SPECIAL | END
    flags[0] = SPECIAL
    return flags


def present(flags: np.ndarray) -> int:
    return sum(1 << int(kind) for kind in np.unique(flags & ~np.uint8(CLOSES)))


def random_control(rng: np.random.Generator, n_rows: int, flags: np.ndarray, masked: float = 0.6) -> Control:
    """A threshold run of one or two holes, somewhere on its way."""
    c = Control(seed=int(rng.integers(2**63)), deadline_us=-1, n_rows=n_rows, n_holes=1, mask_id=0, end_id=1)
    split = int(rng.integers(1, n_rows)) if n_rows > 2 and rng.random() < 0.5 else 0
    if split:
        c.n_holes, c.hole_start[1], c.hole_stop[1] = 2, split, n_rows
        c.multiline[1] = int(rng.random() < 0.5)
    c.hole_stop[0], c.multiline[0] = split or n_rows, int(rng.random() < 0.5)
    for row in range(n_rows):
        c.ids[row] = 0 if rng.random() < masked else int(rng.integers(4, len(flags)))
        c.probability[row] = rng.choice([0.3, 0.8, 1.0])
        if c.ids[row] and rng.random() < 0.2:
            c.fixed[row] = 1
    if rng.random() < 0.3:
        for row in range(int(rng.integers(n_rows)), n_rows):
            c.ids[row], c.fixed[row] = 1, 0
    c.has_left, c.has_right = int(rng.random() < 0.4), int(rng.random() < 0.4)
    c.max_steps, c.max_revisions = int(rng.integers(1, 9)), int(rng.integers(0, 4))
    c.threshold, c.revise_below, c.stop_below = 0.6, 0.1, rng.choice([0.0, 0.3])
    c.present = present(flags)
    return c


def canvas_of(c: Control) -> CanvasState:
    s = CanvasState(step=0, revisions_left=c.max_revisions)
    s.ids[:], s.probability[:] = c.ids[:], c.probability[:]
    return s


# vocab, d_model, layers, heads, kv heads, d_ff, d_head, flags, context_sees, canvas_sees, rope_base, norm_eps
SHAPES = {
    "ours": Shape(300, 128, 2, 2, 1, 192, 64, EXTRAS | QK_NORM, 1, EVERYTHING, 1e4, 1e-6),
    "llama": Shape(300, 144, 1, 9, 3, 80, 64, 0, 1, EVERYTHING, 1e4, 1e-5),
    "qwen2": Shape(301, 112, 2, 6, 2, 96, 64, QKV_BIAS, 1, EVERYTHING, 1e6, 1e-6),
    "qwen3": Shape(300, 64, 2, 2, 1, 64, 128, QK_NORM | OWN_HEAD, 1, EVERYTHING, 1e6, 1e-6),
    "blocks of 4, shifted": Shape(300, 64, 2, 2, 1, 64, 64, QK_NORM | SHIFT, 4, 4, 1e6, 1e-6),
    "blocks of 32": Shape(299, 64, 2, 2, 2, 64, 64, QK_NORM, 32, 32, 1e6, 1e-6),
    "no blocks": Shape(300, 64, 2, 2, 1, 64, 64, SHIFT, 1, 1, 1e4, 1e-4),
    "all at once": Shape(300, 64, 2, 4, 2, 64, 128, 31, 1, EVERYTHING, 1e4, 1e-4),
}
