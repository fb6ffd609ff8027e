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
from cuda_ext.native import Control, NativeRun, Shape

HERE = Path(__file__).parent.parent
LOOPS = ("while", "replay", "step")
SHAPES = {  # vocab, d_model, layers, heads, kv heads, d_ff
    "tiny": Shape(300, 128, 2, 2, 1, 192, 10_000.0),
    "default": Shape(8192, 256, 6, 4, 2, 704, 10_000.0),
    "0.5B": Shape(151_936, 896, 24, 14, 2, 4864, 1_000_000.0),
    "7B": Shape(152_064, 3584, 28, 28, 4, 18_944, 1_000_000.0),
}
END, BREAK, SPECIAL = 2, 4, 1  # token flags


def say(text: str) -> None:
    """Progress, at once."""
    print(text, flush=True)


def tensor_shapes(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and sizes of all tensors of a model."""
    d, ff = shape.d_model, shape.d_ff
    d_head = d // shape.n_heads
    yield "embed.weight", (shape.vocab_size, d)
    yield "left", (shape.vocab_size + 1, d)
    yield "right", (shape.vocab_size + 1, d)
    for name in ("embed_norm.weight", "canvas_embed", "norm.weight"):
        yield name, (d,)
    for layer in range(shape.n_layers):
        for name, size in {
            "attn_norm.weight": (d,),
            "qkv.weight": ((shape.n_heads + 2 * shape.n_kv_heads) * d_head, d),
            "q_norm.weight": (d_head,),
            "k_norm.weight": (d_head,),
            "o.weight": (d, d),
            "mlp_norm.weight": (d,),
            "gate_up.weight": (2 * ff, d),
            "down.weight": (d, ff),
        }.items():
            yield f"blocks.{layer}.{name}", size


def random_tensors(shape: Shape, seed: int = 0) -> dict[str, np.ndarray]:
    """Bfloat16 words of every tensor, from one block of normal numbers that is repeated: quick also for 7B."""
    block = torch.randn(1 << 22, generator=torch.Generator().manual_seed(seed))
    out = {}
    for i, (name, size) in enumerate(tensor_shapes(shape)):
        n = int(np.prod(size))
        scale = 0.3 if len(size) == 1 or name == "embed.weight" else size[1] ** -0.5
        values = (block.roll(i * 7919) * scale + (len(size) == 1 and name != "canvas_embed")).bfloat16()
        out[name] = np.resize(values.view(torch.uint16).numpy(), n).reshape(size)
    return out


def simple_run(shape: Shape, n_rows: int, n_steps: int, seed: int = 0) -> tuple[Control, np.ndarray]:
    """A masked canvas whose loop takes exactly `n_steps` steps: nothing is ever sure enough to be revealed early."""
    flags = np.zeros(shape.vocab_size, np.uint8)
    flags[:4] = SPECIAL
    flags[1] = SPECIAL | END
    flags[5::31] = BREAK
    control = Control(seed=seed, deadline_us=-1, n_rows=n_rows, n_holes=1, mask_id=0, end_id=1, max_steps=n_steps)
    control.hole_stop[0], control.multiline[0] = n_rows, 1
    control.threshold, control.revise_below = 2.0, 0.0
    control.present = sum(1 << int(kind) for kind in np.unique(flags))
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
