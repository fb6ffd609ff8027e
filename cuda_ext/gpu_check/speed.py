"""Times on a GPU, against what must be read and how fast this one copies."""

from __future__ import annotations

import ctypes
import statistics
import time
from typing import Any

import numpy as np

from cuda_ext import native
from cuda_ext.gpu_check.models import LOOPS, SHAPES, loaded, looping, say, simple_run, verdict_run
from cuda_ext.native import EXTRAS, OWN_HEAD, Control, NativeCache, NativeModel, NativeRun, Shape

JUDGE_ROWS, CANVAS_ROWS = 8, 16  # of a verdict pass


def bandwidth(n_bytes: int = 1 << 30, n_copies: int = 20) -> dict[str, Any]:
    """Copy bandwidth, bytes read and written: the ceiling of every pass."""
    library, reason = native.find("cuda")
    if library is None:
        raise RuntimeError(reason)
    rate = library.raw.mz_cuda_copy_rate
    rate.restype, rate.argtypes = ctypes.c_double, [ctypes.c_int32, ctypes.c_int64, ctypes.c_int32]
    found = float(rate(0, n_bytes, n_copies))
    if found <= 0:
        raise RuntimeError(library.error())
    return {"bytes_per_s": found, "gpu": library.target}


def pass_bytes(shape: Shape, n_context: int) -> int:
    """Bytes that one pass must read: all weights that rows are multiplied with, the context's keys and values."""
    looked_up = {"left", "right"} if shape.flags & EXTRAS else set()
    if shape.flags & OWN_HEAD:
        looked_up.add("embed.weight")  # a few rows of it
    sizes = native.tensor_sizes(shape)
    weights = sum(
        int(np.prod(size)) * (2 if len(size) == 2 else 4) for name, size in sizes.items() if name not in looked_up
    )
    return weights + 4 * n_context * int(shape.n_layers) * int(shape.n_kv_heads) * int(shape.d_head)


def measure(
    name: str,
    repeats: int = 15,
    n_contexts: tuple[int, ...] = (1024, 4096),
    n_rows: int = 64,
    loops: tuple[str, ...] = LOOPS,
) -> list[dict[str, Any]]:
    """Times of passes of both loops, for canvases, contexts and ways of looping."""
    shape, rows = SHAPES[name], list[dict[str, Any]]()
    model = loaded(shape)
    for n_context in n_contexts:
        cache = NativeCache(model, n_context + 160)
        context = np.random.default_rng(0).integers(4, shape.vocab_size, n_context).tolist()
        known = {"model": name, "context": n_context, "bytes": pass_bytes(shape, n_context)}
        known["encode_ms"] = min(timed(lambda c=cache, ids=context: model.encode(c, ids, 0)) for _ in range(3)) * 1e3
        one_by_one, flags = verdict_run(shape, n_rows, 0, 0, context[-1])
        with NativeRun(model, cache, n_context, one_by_one, flags) as run:
            *_, last = run
        accepted, _ = verdict_run(shape, n_rows, JUDGE_ROWS, CANVAS_ROWS, context[-1], list(last.ids[:n_rows]))
        runs = {
            f"threshold, {n_rows // 2} rows": simple_run(shape, n_rows // 2, 16),
            f"threshold, {n_rows} rows": simple_run(shape, n_rows, 16),
            f"verdict, 1 + {JUDGE_ROWS} + {CANVAS_ROWS} rows": (accepted, flags),
            "token by token": (one_by_one, flags),
        }
        for kind, (control, kinds) in runs.items():
            for way in loops:
                with looping(way):
                    times = [one_run(model, cache, n_context, control, kinds) for _ in range(repeats)]
                row = known | {"rows": kind, "loop": way} | summary(times, control.n_rows)
                rows.append(row)
                say(f"  {name} context {n_context} {kind} {way}: {row['pass_us']:.0f} us a pass")
    return rows


def timed(work: Any) -> float:
    """Seconds of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def one_run(
    model: NativeModel, cache: NativeCache, n_context: int, control: Control, flags: np.ndarray
) -> tuple[float, float, int]:
    """Seconds to the first draft, to the last, and forward passes of a run."""
    started = time.perf_counter()
    with NativeRun(model, cache, n_context, control, flags) as run:
        run.next(60_000_000)
        first = time.perf_counter() - started
        list(run)
        last, passes = time.perf_counter() - started, run.steps
    return first, last, passes


def summary(times: list[tuple[float, float, int]], n_rows: int) -> dict[str, Any]:
    """Medians of runs, the first ones, which build graphs, left out."""
    first, last = (statistics.median(part) for part in list(zip(*times[len(times) // 5 :], strict=True))[:2])
    passes = times[-1][2]
    return {
        "passes": passes,
        "first_draft_ms": first * 1e3,
        "total_ms": last * 1e3,
        "pass_us": last / passes * 1e6,
        "tokens_per_s": n_rows / last,
    }
