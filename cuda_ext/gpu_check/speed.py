"""Times on a GPU, against what must be read and how fast this one reads."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch

from cuda_ext.gpu_check.models import LOOPS, SHAPES, looping, random_tensors, say, simple_run, tensor_shapes
from cuda_ext.native import NativeCache, NativeModel, NativeRun, Shape


def bandwidth() -> dict[str, Any]:
    """Copy bandwidth, bytes read and written: the ceiling of every step."""
    if not torch.cuda.is_available():
        raise RuntimeError("torch has no CUDA: bandwidth not measured")
    source = torch.empty(1 << 32, dtype=torch.uint8, device="cuda").random_()
    target, times = torch.empty_like(source), []
    for _ in range(12):
        torch.cuda.synchronize()
        started = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return {"bytes_per_s": 2 * source.numel() / statistics.median(times), "gpu": torch.cuda.get_device_name()}


def step_bytes(shape: Shape, n_context: int) -> int:
    """Bytes that one step must read: all weights and the context's keys and values."""
    weights = sum(int(np.prod(size)) * (2 if len(size) == 2 else 4) for _, size in tensor_shapes(shape))
    d_head: int = shape.d_model // shape.n_heads
    return weights + 4 * n_context * int(shape.n_layers) * int(shape.n_kv_heads) * d_head


def measure(name: str, n_steps: int = 16, repeats: int = 15) -> list[dict[str, Any]]:
    """Milliseconds of completions with `n_steps` steps, for canvases, contexts and ways of looping."""
    shape, rows = SHAPES[name], []
    model = NativeModel(shape, random_tensors(shape), "bf16", 1, kind="cuda")
    for n_context in (1024, 4096):
        cache = NativeCache(model, n_context + 64)
        context = np.random.default_rng(0).integers(4, shape.vocab_size, n_context).tolist()
        encoded = []
        for _ in range(3):
            started = time.perf_counter()
            model.encode(cache, context, 0)
            model.forward(cache, context[:1], n_context, causal=True)  # waits for it
            encoded.append((time.perf_counter() - started) * 1e3)
        for n_rows in (32, 64):
            for way in LOOPS:
                firsts, totals = [], []
                control, flags = simple_run(shape, n_rows, n_steps)
                for _ in range(repeats):
                    with looping(way):
                        started = time.perf_counter()
                        with NativeRun(model, cache, n_context, control, flags) as run:
                            run.next(60_000_000)
                            firsts.append((time.perf_counter() - started) * 1e3)
                            list(run)
                            totals.append((time.perf_counter() - started) * 1e3)
                total = statistics.median(totals[2:])
                row: dict[str, Any] = {
                    "model": name,
                    "context": n_context,
                    "rows": n_rows,
                    "loop": way,
                    "steps": n_steps,
                }
                row |= {"encode_ms": min(encoded), "first_draft_ms": statistics.median(firsts[2:])}
                row |= {"total_ms": total, "step_us": total / n_steps * 1e3, "bytes": step_bytes(shape, n_context)}
                rows.append(row)
                say(f"  {name} context {n_context} rows {n_rows} {way}: {row['step_us']:.0f} us a step")
    return rows
