"""Checks on a GPU: each returns what goes into the report, and fails by an exception."""

from __future__ import annotations

import ctypes
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cuda_ext import native
from cuda_ext.gpu_check.models import (
    LOOPS,
    SHAPES,
    loaded,
    looping,
    random_tensors,
    say,
    simple_run,
    smaller,
    verdict_run,
    way_of,
)
from cuda_ext.native import CanvasState, Control, DraftSlot, NativeCache, NativeModel, NativeRun, Row, Rule, Shape
from cuda_ext.twin import Twin

# Model; tokens in the cache; context rows, canvas rows and how many of the first it follows.
PASSES = (
    ("tiny", 0, (0, 1, 0)),
    ("tiny", 17, (5, 0, 0)),
    ("tiny", 130, (0, 64, 0)),
    ("tiny, shifted", 40, (9, 16, 3)),
    ("tiny, blocks", 70, (0, 40, 0)),
    ("tiny, blocks", 64, (40, 32, 40)),
    ("embedded", 400, (0, 32, 0)),
    ("embedded", 300, (128, 0, 0)),
    ("135M", 1000, (9, 16, 1)),
    ("135M", 200, (1, 64, 1)),
    ("0.5B", 1000, (9, 16, 1)),
    ("0.5B", 100, (0, 33, 0)),
    ("7B", 257, (9, 55, 9)),
)


def forward(passes: Sequence[tuple[str, int, tuple[int, int, int]]] = PASSES) -> dict[str, Any]:
    """Logits against the plain-torch twin; what differs is where bfloat16 is rounded to."""
    errors = {}
    for name, n_cached, (n_context, n_canvas, decided) in passes:
        shape = smaller(name, 1000, 2) if name in ("135M", "0.5B", "7B") else SHAPES[name]
        words, capacity = dict(random_tensors(shape)), n_cached + n_context + n_canvas + 3
        model, twin = NativeModel(shape, words, "bf16", 1, kind="cuda"), Twin(shape, words, "bf16", capacity)
        ids = np.random.default_rng(n_cached).integers(4, shape.vocab_size, capacity)
        cache, rows = NativeCache(model, capacity), ids[n_cached:]
        if n_cached:
            model.encode(cache, ids[:n_cached], 0)
            twin.forward(ids[:n_cached], [], 0)
        given = (rows[:n_context], rows[n_context : n_context + n_canvas], n_cached, decided)
        got, wanted = model.forward(cache, *given), twin.forward(*given).numpy()
        error = float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))
        errors[f"{name}: {n_context} + {n_canvas} rows behind {n_cached}"] = error
        say(f"  {name} {n_context}+{n_canvas} behind {n_cached}: {error:.2e}")
    worst = max(errors.values())
    if not worst < 2e-2:
        raise RuntimeError(f"relative error {worst}: {errors}")
    return errors


def rules() -> dict[str, Any]:
    """Statistics, decisions and random numbers on the device against the CPU library."""
    gpu, cpu = native.load("cuda"), native.load("cpu")
    if gpu is None or cpu is None:
        raise RuntimeError(f"needs both libraries: {native.why_not('cpu')} {native.why_not('cuda')}")
    rng, vocab, worst = np.random.default_rng(0), 500, 0.0
    for _ in range(200):
        control, flags = simple_run(Shape(vocab_size=vocab), int(rng.integers(1, 129)), 8, int(rng.integers(1 << 60)))
        control.threshold, control.max_revisions = 0.6, 3
        for row in range(control.n_rows):
            control.ids[row] = int(rng.integers(4, vocab)) * int(rng.random() < 0.4) or int(rng.random() < 0.2)
        n = control.n_rows
        results: list[tuple[Any, ...]] = []
        logits = rng.standard_normal((n, vocab)).astype(np.float32) * 5
        for library in (gpu, cpu):
            canvas = CanvasState(revisions_left=3)
            canvas.ids[:] = control.ids[:]
            allowed, rows, draft, noise = (Rule * n)(), (Row * n)(), DraftSlot(), np.zeros(vocab, np.float32)
            own, raw = np.array(control.ids[:n], np.int32), library.raw
            places = [ctypes.byref(control), ctypes.byref(canvas), flags.ctypes.data]
            raw.mz_test_rules(*places, allowed)
            raw.mz_test_row_stats(logits.ctypes.data, n, vocab, flags.ctypes.data, allowed, own.ctypes.data, rows)
            raw.mz_test_gumbel(control.seed, 3, 5, vocab, noise.ctypes.data)
            statistics_ = np.array([(r.best, r.probability, r.end, r.entropy, r.own) for r in rows])
            if results:  # the same rows for both, so that a rounding cannot change a decision
                rows = results[0][4]
            raw.mz_test_commit(*places, rows, 0, ctypes.byref(draft))
            results.append((bytes(allowed), statistics_, bytes(draft), noise, rows))
        (rules_a, stats_a, draft_a, noise_a, _), (rules_b, stats_b, draft_b, noise_b, _) = results
        if rules_a != rules_b or draft_a != draft_b or (stats_a[:, 0] != stats_b[:, 0]).any():
            raise RuntimeError("device and host decide differently")
        worst = max(worst, float(np.abs(stats_a - stats_b).max()), float(np.abs(noise_a - noise_b).max()))
    if not worst < 1e-3:
        raise RuntimeError(f"statistics differ by {worst}")
    return {"cases": 200, "largest difference": worst}


def host_loop(model: NativeModel, cache: NativeCache, n_context: int, c: Control, flags: np.ndarray) -> list[DraftSlot]:
    """The threshold loop with the library's forward pass, statistics and decisions one by one through its hooks."""
    raw, canvas, n = model.raw, CanvasState(revisions_left=c.max_revisions), c.n_rows
    drafts: list[DraftSlot] = []
    canvas.ids[:], canvas.probability[:n] = c.ids[:], c.probability[:n]
    while not drafts or not drafts[-1].done:
        logits = model.forward(cache, [], canvas.ids[:n], n_context)
        allowed, rows, draft = (Rule * n)(), (Row * n)(), DraftSlot()
        places = [ctypes.byref(c), ctypes.byref(canvas), flags.ctypes.data]
        own = np.array(canvas.ids[:n], np.int32)
        raw.mz_test_rules(*places, allowed)
        raw.mz_test_row_stats(logits.ctypes.data, n, len(flags), flags.ctypes.data, allowed, own.ctypes.data, rows)
        raw.mz_test_commit(*places, rows, 0, ctypes.byref(draft))
        drafts.append(draft)
    return drafts


THRESHOLD_RUNS = (("tiny", 8), ("tiny", 100), ("embedded", 24), ("embedded", 64), ("135M", 24))


def loops(cases: Sequence[tuple[str, int]] = THRESHOLD_RUNS) -> dict[str, Any]:
    """WHILE, replay and plain steps: the same bytes, in order; the same tokens as a loop decided from outside."""
    out: dict[str, Any] = {}
    for name, n_rows in cases:
        shape = SHAPES[name]
        model = loaded(shape)
        cache = NativeCache(model, 300)
        context = np.random.default_rng(n_rows).integers(4, shape.vocab_size, 100).tolist()
        model.encode(cache, context, 0)
        control, flags = simple_run(shape, n_rows, 7)
        found = {}
        for way in LOOPS:
            try:
                with looping(way), NativeRun(model, cache, 100, control, flags) as run:
                    drafts = list(run)
            except ValueError as error:
                out[f"{way} is refused"] = str(error)
                continue
            found[way] = [bytes(draft) for draft in drafts]
            if [draft.step for draft in drafts] != list(range(1, 8)) or not drafts[-1].done:
                raise RuntimeError(f"{way}: drafts out of order: {[draft.step for draft in drafts]}")
        if len(set(map(tuple, found.values()))) != 1:
            raise RuntimeError(f"{name} {n_rows}: {list(found)} differ")
        wanted = host_loop(model, cache, 100, control, flags)
        mine = [DraftSlot.from_buffer_copy(draft) for draft in next(iter(found.values()))]
        same = [list(a.guess) == list(b.guess) for a, b in zip(mine, wanted, strict=True)]
        out[f"{name} {n_rows} rows"] = f"{'/'.join(found)} equal; {sum(same)} of {len(same)} drafts as decided outside"
        with NativeRun(model, cache, 100, control, flags) as run:
            out["chosen"] = way_of(run)
        say(f"  {name} {n_rows}: {out[f'{name} {n_rows} rows']}")
    return out


def cancel() -> dict[str, Any]:
    """Microseconds from cancelling to the end of a run, and the steps that still ran."""
    shape = SHAPES["embedded"]
    model = loaded(shape)
    cache, out = NativeCache(model, 300), {}
    control, flags = simple_run(shape, 128, 128)
    for way in LOOPS:
        waits, extra = [], []
        for _ in range(20):
            with looping(way), NativeRun(model, cache, 0, control, flags) as run:
                first = run.next(10_000_000)
                started = time.perf_counter()
                run.cancel()
                n_more = len(list(run))
                waits.append((time.perf_counter() - started) * 1e6)
                extra.append(n_more)
                if first is None or n_more > 100:
                    raise RuntimeError(f"{way}: not cancelled")
        out[way] = {"median_us": statistics.median(waits), "most_us": max(waits), "drafts_after": max(extra)}
        say(f"  {way}: {out[way]}")
    return out


def memory_free() -> int:
    """Free device memory in bytes."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]) << 20


def leaks(n_runs: int = 10_000) -> dict[str, Any]:
    """Device memory before and after many runs, and after a hundred models and caches."""
    shape = SHAPES["tiny"]
    model = loaded(shape)
    cache = NativeCache(model, 64)
    control, flags = simple_run(shape, 16, 2)

    def complete(cache: NativeCache, model: NativeModel) -> None:
        with NativeRun(model, cache, 0, control, flags) as run:
            list(run)

    complete(cache, model)
    before = memory_free()
    for _ in range(n_runs):
        complete(cache, model)
    after_runs = memory_free()
    for _ in range(100):
        other = loaded(shape)
        behind = NativeCache(other, 64)
        complete(behind, other)
        behind.close()
        other.close()
    out = {"runs": n_runs, "bytes by runs": before - after_runs, "bytes by 100 models": after_runs - memory_free()}
    if out["bytes by runs"] > 1 << 20 or out["bytes by 100 models"] > 64 << 20:
        raise RuntimeError(f"memory is lost: {out}")
    return out


def sanitize() -> dict[str, Any]:
    """compute-sanitizer over one tiny run of every loop."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        raise RuntimeError("no compute-sanitizer")
    out = {}
    for check in ("memcheck", "racecheck", "initcheck", "synccheck"):
        command = [tool, "--tool", check, "--error-exitcode", "9", sys.executable, "-m", "cuda_ext.gpu_check"]
        out_file = str(Path(tempfile.mkdtemp()) / "part.json")
        done = subprocess.run([*command, "--part", "smoke", out_file], capture_output=True, text=True)
        out[check] = f"exit {done.returncode}: {' '.join(done.stdout.split()[-12:])}"
        say(f"  {check}: {out[check]}")
    if any(not result.startswith("exit 0") for result in out.values()):
        raise RuntimeError(str(out))
    return out


def smoke() -> dict[str, Any]:
    """One tiny run of each loop: what the sanitizer looks at."""
    out = {}
    for name in ("tiny", "tiny, shifted"):
        shape = SHAPES[name]
        model = loaded(shape)
        cache, context = NativeCache(model, 100), list(range(4, 44))
        model.encode(cache, context, 0)
        runs = {"threshold": simple_run(shape, 20, 2), "verdict": verdict_run(shape, 6, 4, 8, context[-1], [9, 9])}
        for loop, (control, flags) in runs.items():
            for way in ("step", "replay"):
                with looping(way), NativeRun(model, cache, 40, control, flags) as run:
                    out[f"{name}, {loop}, {way}"] = len(list(run))
    return out
