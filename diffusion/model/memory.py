"""Whether a model fits: what it needs, and what is free on the machine or the GPU, before any of it is loaded.

Rule: an estimate from the shape alone, no weight is read. What cannot be found out is no reason to refuse.

    refuse_if_too_large(folder, "int8", "cpu")    # ValueError in one sentence
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion.device import parse_device
from diffusion.model.config import ModelConfig
from diffusion.model.tensors import expected

if TYPE_CHECKING:
    from diffusion.model.card import ModelFolder

ITEM_BYTES = {"int8": 1, "bf16": 2, "bfloat16": 2, "float32": 4}
SCALE_BYTES = 8  # of a row of an int8 matrix: its scale and its sum
CACHES, CACHE_ROWS = 4, 256  # contexts that are kept (`diffusion.engine`), and rows behind each
WORK_ROWS = 128  # rows of one pass
BATCH_ROWS = 4096  # of a model that fills in place: several canvases at once, while they are no more together
CGROUPS = (  # limit and use of a container's memory, version 2 and version 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes",
     "/sys/fs/cgroup/memory/memory.stat"),
)  # fmt: skip
ANSWER_TIMEOUT_S = 10


def parameters(config: ModelConfig) -> int:
    """Numbers in all weights."""
    return sum(math.prod(shape) for shape in expected(config).values())


def needed(config: ModelConfig, precision: str, rest: str = "bf16") -> int:
    """Bytes of the weights as `precision`, of the contexts that are kept, and of one pass, about.

    `rest`: in what int8 weights are multiplied and contexts kept. A canvas in its place needs passes over all rows.
    """
    item, shapes = ITEM_BYTES[precision], expected(config).values()
    matrices = [shape for shape in shapes if len(shape) == 2]
    weights = sum(math.prod(shape) * item + (SCALE_BYTES * shape[0] if item == 1 else 0) for shape in matrices)
    caches = CACHES * context_bytes(config, ITEM_BYTES[rest] if item == 1 else item)
    rows = max(BATCH_ROWS, config.max_context + WORK_ROWS) if config.in_place else WORK_ROWS
    work = 4 * (WORK_ROWS * config.vocab_size + 4 * rows * max(config.d_model, config.d_ff))
    largest = max(map(math.prod, matrices)) * 2  # on its way from the file
    return weights + caches + work + largest


def context_bytes(config: ModelConfig, item: int = 2) -> int:
    """Bytes of the keys and values of one context, about."""
    row = 2 * config.n_layers * config.n_kv_heads * config.d_head * max(2, item)
    return (config.max_context + CACHE_ROWS) * row


def available(device: str) -> int | None:
    """Bytes that are free where the model would run; None if that cannot be found out."""
    kind, index = parse_device(device)
    if kind == "cuda":
        return free_on_gpu(index)
    found = [free for free in (free_in_machine(), *map(free_in_group, CGROUPS)) if free is not None]
    return min(found, default=None)


def free_in_machine() -> int | None:
    """What Linux says is available without swapping; elsewhere the free pages."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def free_in_group(files: tuple[str, str, str]) -> int | None:
    """What a container's limit leaves; file pages that the kernel can drop count as free."""
    try:
        limit, used = (int(Path(name).read_text(encoding="ascii")) for name in files[:2])
        stat = dict(line.split() for line in Path(files[2]).read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):  # no such group, or "max": no limit
        return None
    files_bytes = int(stat.get("inactive_file", 0)) + int(stat.get("active_file", 0))
    return max(0, limit - used + files_bytes)


def free_on_gpu(index: int) -> int | None:
    """Free bytes of a GPU: torch says it where torch is loaded, else the driver's own tool."""
    torch = sys.modules.get("torch")
    if torch is not None and index < torch.cuda.device_count():
        return int(torch.cuda.mem_get_info(index)[0])
    tool = shutil.which("nvidia-smi")
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    device = visible[index] if index < len(visible) else str(index)
    if tool is None:
        return None
    query = [tool, f"--id={device}", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False)
        return int(done.stdout.split()[0]) << 20
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError):
        return None


def fitting(folder: ModelFolder, precisions: tuple[str, ...], device: str) -> str:
    """The first of `precisions` in which the model fits, else the first; the others multiply as the first does."""
    free = available(device)
    fits = (kind for kind in precisions if free is None or needed(folder.config, kind, precisions[0]) <= free)
    return next(fits, precisions[0])


def refuse_if_too_large(folder: ModelFolder, precision: str, device: str, rest: str = "bf16") -> None:
    """ValueError in one sentence if the model does not fit; nothing has been loaded or freed by then."""
    wanted, free = needed(folder.config, precision, rest), available(device)
    if free is None or wanted <= free:
        return
    where = "this machine" if device == "cpu" else device
    smaller = "" if precision == "int8" else f" (as int8 {in_gb(needed(folder.config, 'int8'))})"
    raise ValueError(
        f"{folder.path} needs about {in_gb(wanted)} as {precision}{smaller}, and {where} has {in_gb(free)} free"
    )


def in_gb(n_bytes: int) -> str:
    """Bytes for people: 10^9 of them are a GB."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.0f} MB"
