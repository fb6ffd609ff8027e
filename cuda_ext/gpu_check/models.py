"""What every part of the check starts from: shapes, random weights, simple runs, the library."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cuda_ext import native
from cuda_ext.native import EXTRAS, OWN_HEAD, QK_NORM, QKV_BIAS, SHIFT, Control, NativeModel, NativeRun, Shape

HERE = Path(__file__).parent.parent
LOOPS = ("while", "replay", "step")
EVERYTHING = 2**30
# vocab, d_model, layers, heads, kv heads, d_ff, d_head, flags, context_sees, canvas_sees, rope_base, norm_eps
SHAPES = {
    "tiny": Shape(300, 128, 2, 2, 1, 192, 64, EXTRAS | QK_NORM, 1, EVERYTHING, 1e4, 1e-6),
    "tiny, shifted": Shape(301, 96, 2, 3, 1, 80, 64, QKV_BIAS | OWN_HEAD | SHIFT, 1, EVERYTHING, 1e6, 1e-6),
    "tiny, blocks": Shape(300, 64, 2, 4, 2, 64, 128, QK_NORM | SHIFT, 32, 32, 1e6, 1e-6),
    "embedded": Shape(8192, 256, 6, 4, 2, 704, 64, EXTRAS | QK_NORM, 1, EVERYTHING, 1e4, 1e-6),
    "135M": Shape(49_152, 576, 30, 9, 3, 1536, 64, 0, 1, EVERYTHING, 1e5, 1e-5),  # SmolLM2-135M
    "0.5B": Shape(151_936, 896, 24, 14, 2, 4864, 64, QKV_BIAS, 1, EVERYTHING, 1e6, 1e-6),  # Qwen2.5-Coder-0.5B
    "7B": Shape(152_064, 3584, 28, 28, 4, 18_944, 128, QKV_BIAS | OWN_HEAD, 1, EVERYTHING, 1e6, 1e-6),
}
END, BREAK, CLOSES, SPECIAL = 2, 4, 32, 1  # token flags


def say(text: str) -> None:
    """Progress, at once."""
    print(text, flush=True)


def smaller(name: str, vocab_size: int, n_layers: int) -> Shape:
    """A model's sizes with fewer tokens and layers, so that plain torch runs it quickly too."""
    shape = Shape.from_buffer_copy(SHAPES[name])
    shape.vocab_size, shape.n_layers = vocab_size, n_layers
    return shape


def random_tensors(shape: Shape, seed: int = 0) -> Iterator[tuple[str, np.ndarray]]:
    """Bfloat16 words of every tensor, from one block of normal numbers that is repeated: quick also for 7B."""
    block = torch.randn(1 << 22, generator=torch.Generator().manual_seed(seed))
    for i, (name, size) in enumerate(native.tensor_sizes(shape).items()):
        is_gain = name.endswith("norm.weight")
        scale = 0.3 if len(size) == 1 or name == "embed.weight" else size[1] ** -0.5
        values = (block.roll(i * 7919) * scale + is_gain).bfloat16()
        yield name, np.resize(values.view(torch.uint16).numpy(), size)


def loaded(shape: Shape) -> NativeModel:
    """A model with random weights on the GPU."""
    return NativeModel(shape, random_tensors(shape), "bf16", 1, kind="cuda")


def simple_run(shape: Shape, n_rows: int, n_steps: int, seed: int = 0) -> tuple[Control, np.ndarray]:
    """A masked canvas whose loop takes exactly `n_steps` steps: nothing is ever sure enough to be revealed early."""
    flags = np.zeros(shape.vocab_size, np.uint8)
    flags[:4] = SPECIAL
    flags[1] = SPECIAL | END
    flags[5::31] = BREAK
    control = Control(seed=seed, deadline_us=-1, n_rows=n_rows, n_holes=1, mask_id=0, end_id=1, max_steps=n_steps)
    control.hole_stop[0], control.multiline[0] = n_rows, 1
    control.threshold, control.revise_below = 2.0, 0.0
    control.present = sum(1 << int(kind) for kind in np.unique(flags & 31))
    return control, flags


def verdict_run(
    shape: Shape, n_rows: int, judge_rows: int, canvas_rows: int, last_id: int, drafted: list[int] | None = None
) -> tuple[Control, np.ndarray]:
    """A hole that takes all its rows, for no token ends it; every canvas row drafts."""
    control, flags = simple_run(shape, n_rows, 1)
    control.verdict, control.judge_rows, control.canvas_rows = 1, judge_rows, canvas_rows
    control.draft_above, control.last_id = 0.0, last_id
    for row in range(n_rows):
        control.ids[row], control.probability[row] = 0, 1.0
    control.n_drafted = len(drafted or [])
    control.drafted[: control.n_drafted] = drafted or []
    flags[1] = SPECIAL
    return control, flags


@contextmanager
def looping(way: str) -> Iterator[None]:
    """Runs inside loop this way alone."""
    os.environ["MEZZOTINT_CUDA_LOOP"] = way
    try:
        yield
    finally:
        del os.environ["MEZZOTINT_CUDA_LOOP"]


def way_of(run: NativeRun) -> str:
    """How a run loops."""
    function = run.raw.mz_cuda_loop
    function.restype, function.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    return str(function(run.handle).decode())


def build() -> dict[str, Any]:
    """Find the library, or compile it for this machine's GPU; the parts' processes find it through the environment."""
    if not native.library_path("cuda").exists():
        nvcc = os.environ.get("NVCC") or shutil.which("nvcc")
        if nvcc is None:
            raise RuntimeError("neither libmezzotint_cuda.so nor nvcc")
        folder = Path(tempfile.mkdtemp(prefix="mezzotint"))
        for other in (HERE / "_lib").glob("*mezzotint_cpu*"):  # what it is compared with
            shutil.copy(other, folder)
        started = time.perf_counter()
        sources = sorted(map(str, (HERE / "cuda").glob("*.cu")))
        flags = ["-std=c++17", "-O3", "-shared", "-cudart", "static", "-arch=native", "-Xcompiler", "-fPIC"]
        out = folder / "libmezzotint_cuda.so"
        subprocess.run([nvcc, *flags, f"-I{HERE / 'include'}", f"-I{HERE}", *sources, "-o", str(out)], check=True)
        say(f"  compiled in {time.perf_counter() - started:.0f} s")
        os.environ["MEZZOTINT_NATIVE_LIB"] = str(folder)
    library, reason = native.find("cuda")
    if library is None:
        raise RuntimeError(reason)
    return {"library": library.path.name, "bytes": library.path.stat().st_size, "target": library.target}
