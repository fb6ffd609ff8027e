"""The verdict loop on a GPU: every way of looping, the same decisions from outside, the text of token by token."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from cuda_ext import native
from cuda_ext.gpu_check.models import CLOSES, END, LOOPS, SHAPES, SPECIAL, loaded, looping, say, verdict_run
from cuda_ext.native import (
    CanvasState,
    Control,
    DraftSlot,
    NativeCache,
    NativeModel,
    NativeRun,
    Plan,
    Row,
    Shape,
    Stream,
)
from cuda_ext.rules import MAX_ROWS

N_CONTEXT, N_ROWS = 100, 40
MODELS = ("tiny", "tiny, shifted", "embedded", "135M", "0.5B")


def verdict(models: Sequence[str] = MODELS, n_rows: int = N_ROWS) -> dict[str, Any]:
    """All ways must give the same bytes; what is decided elsewhere may differ where two tokens are as likely."""
    out: dict[str, Any] = {}
    for name in models:
        shape = SHAPES[name]
        model = loaded(shape)
        cache = NativeCache(model, N_CONTEXT + 2 * n_rows)
        context = np.random.default_rng(n_rows).integers(4, shape.vocab_size, N_CONTEXT).tolist()
        model.encode(cache, context, 0)
        one_by_one, flags = verdict_run(shape, n_rows, 0, 0, context[-1])
        (plain,) = all_ways(model, cache, one_by_one, flags)[-1:]
        text = list(plain.ids[:n_rows])
        wrong = text[: n_rows // 2] + [5] + text[n_rows // 2 + 1 :]
        control, _ = verdict_run(shape, n_rows, 8, 16, context[-1], wrong)
        drafts = all_ways(model, cache, control, flags)
        outside = host_loop(model, cache, control, flags)
        same = sum(list(a.ids) == list(b.ids) for a, b in zip(drafts, outside, strict=False))
        right = sum(a == b for a, b in zip(text, drafts[-1].ids[:n_rows], strict=True))
        out[name] = (
            f"{drafts[-1].step} passes for {n_rows} tokens; {right} as token by token; "
            f"{same} of {len(drafts)} drafts as decided outside ({len(outside)} there)"
        )
        say(f"  {name}: {out[name]}")
        if drafts[-1].step >= n_rows or not drafts[-1].done:
            raise RuntimeError(f"{name}: nothing was accepted: {out[name]}")
    return out


def all_ways(model: NativeModel, cache: NativeCache, control: Control, flags: np.ndarray) -> list[DraftSlot]:
    """The drafts of a run, which are the same whichever way it loops."""
    found = {}
    for way in LOOPS:
        with looping(way), NativeRun(model, cache, N_CONTEXT, control, flags) as run:
            found[way] = list(run)
    if len({tuple(map(bytes, drafts)) for drafts in found.values()}) != 1:
        raise RuntimeError(f"{' and '.join(found)} differ")
    return found[LOOPS[0]]


def host_loop(model: NativeModel, cache: NativeCache, control: Control, flags: np.ndarray) -> list[DraftSlot]:
    """The library's forward pass, statistics and decisions one by one through its hooks."""
    raw, canvas, stream, drafts = model.raw, CanvasState(), Stream(), list[DraftSlot]()
    state = [ctypes.byref(part) for part in (control, canvas, stream)]
    raw.mz_test_verdict_start(state[0], N_CONTEXT, *state[1:])
    while not drafts or not drafts[-1].done:
        plan, draft, n_flags = Plan(), DraftSlot(), len(flags)
        raw.mz_test_verdict_plan(*state, flags.ctypes.data, ctypes.byref(plan))
        split, stop = plan.n_context, plan.n_context + plan.n_canvas
        logits = model.forward(cache, plan.ids[:split], plan.ids[split:stop], plan.start, plan.decided)
        n = plan.n_wanted
        wanted, own = np.ascontiguousarray(logits[list(plan.wanted[:n])]), np.array(plan.own[:n], np.int32)
        rows = (Row * max(n, 1))()
        given = (flags.ctypes.data, plan.rule, own.ctypes.data, rows)
        raw.mz_test_row_stats(wanted.ctypes.data, n, n_flags, *given)
        raw.mz_test_verdict_commit(*state, flags.ctypes.data, ctypes.byref(plan), rows, ctypes.byref(draft))
        if n:  # else the pass only filled the cache
            drafts.append(draft)
    return drafts


def verdict_rules(n_runs: int = 100) -> dict[str, Any]:
    """Plans and decisions on the device against the CPU library, on random statistics."""
    gpu, cpu = native.load("cuda"), native.load("cpu")
    if gpu is None or cpu is None:
        raise RuntimeError(f"needs both libraries: {native.why_not('cpu')} {native.why_not('cuda')}")
    n_passes = 0
    for seed in range(n_runs):
        rng = np.random.default_rng(seed)
        control, flags = random_verdict(rng)
        sides = [(library.raw, CanvasState(), Stream()) for library in (gpu, cpu)]
        for raw, *state in sides:
            raw.mz_test_verdict_start(ctypes.byref(control), 7, *map(ctypes.byref, state))
        done = 0
        while not done:
            found, rows = [], random_rows(rng, len(flags))
            for raw, *state in sides:
                plan, draft = Plan(), DraftSlot()
                given = [ctypes.byref(control), *map(ctypes.byref, state)]
                raw.mz_test_verdict_plan(*given, flags.ctypes.data, ctypes.byref(plan))
                judged = (flags.ctypes.data, ctypes.byref(plan), rows, ctypes.byref(draft))
                done = raw.mz_test_verdict_commit(*given, *judged)
                found.append([bytes(part) for part in (plan, draft, *state)])
            n_passes += 1
            if found[0] != found[1]:
                raise RuntimeError(f"device and host decide differently in run {seed}")
    return {"runs": n_runs, "passes": n_passes}


def random_verdict(rng: np.random.Generator) -> tuple[Control, np.ndarray]:
    """Two holes around fixed text, and a draft of the first."""
    first, fixed, second = (int(n) for n in rng.integers(1, 40, 3))
    shape, n_rows = Shape(vocab_size=60), first + fixed + second
    judge_rows, canvas_rows = (int(n) for n in rng.integers(0, 60, 2))
    control, flags = verdict_run(shape, n_rows, judge_rows, canvas_rows, 9, rng.integers(6, 9, first).tolist())
    control.n_holes, control.hole_stop[0] = 2, first
    control.hole_start[1], control.hole_stop[1] = first + fixed, n_rows
    for row in range(first, first + fixed):
        control.ids[row], control.fixed[row] = int(rng.integers(4, 60)), 1
    control.draft_above, control.stop_below = 0.3, float(rng.choice([0.0, 1e-3]))
    control.patience, control.rest = (int(n) for n in rng.integers(0, 4, 2))
    control.multiline[0] = int(rng.integers(2))
    flags[1] = SPECIAL | END
    flags[9::7] |= CLOSES
    return control, flags


def random_rows(rng: np.random.Generator, vocab_size: int) -> ctypes.Array[Row]:
    """Statistics of MAX_ROWS rows; often of the same few tokens, so that drafts hold now and then."""
    rows = (Row * MAX_ROWS)()
    for row in rows:
        row.best = int(rng.integers(6, 9) if rng.random() < 0.9 else rng.integers(4, vocab_size))
        row.probability, row.end = rng.random(), rng.random() * 0.3
    return rows
