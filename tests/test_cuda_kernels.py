"""cuda_ext/kernels on the CPU, by emulation: every kernel against float64, the decisions against core.h on the host."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from cuda_ext.native import DraftSlot, Plan, Row, Rule
from tests.emulated import (
    bf16,
    call,
    canvas_of,
    error,
    needs_compiler,
    random_control,
    random_flags,
    wide,
)
from tests.native_shapes import EVERYTHING

STORE, RESIDUAL, GATED = 0, 1, 2

pytestmark = needs_compiler


@pytest.mark.parametrize("rows, n, k, bucket, tiles, splits", [
    (1, 32, 64, 16, 1, 1),
    (5, 64, 192, 16, 2, 1),
    (32, 48, 704, 32, 1, 3),
    (20, 32, 320, 32, 2, 1),
    (61, 64, 64, 64, 2, 1),
    (61, 16, 128, 64, 1, 2),
    (100, 32, 128, 128, 1, 1),
])  # fmt: skip
@pytest.mark.parametrize("epilogue", [STORE, RESIDUAL, GATED])
def test_products_and_what_follows_them(
    emulated: Any, rows: int, n: int, k: int, bucket: int, tiles: int, splits: int, epilogue: int
) -> None:
    if epilogue == GATED and n % 32:
        n += 16
    rng = np.random.default_rng(rows * n + k)
    x, w = bf16(rng.standard_normal((rows, k))), bf16(rng.standard_normal((n, k)) / np.sqrt(k))
    sums = np.ascontiguousarray(rng.random((3, 128)), np.float32) if epilogue != RESIDUAL else None
    gain, before = rng.random(n, np.float32), rng.standard_normal((rows, n)).astype(np.float32)
    y = wide(x) @ wide(w).T
    if sums is not None:
        y /= np.sqrt(sums[:, :rows].astype(np.float64).sum(0) / k + 1e-6)[:, None]
    out = before.copy() if epilogue == RESIDUAL else np.full((rows, n), np.nan, np.float32)
    packed = np.zeros((rows, n // 2 if epilogue == GATED else n), np.uint16)
    out_sums = np.full((n // 16 // tiles, 128), np.nan, np.float32)
    call(emulated.emu_gemm, x, w, rows, n, k, bucket, tiles, splits, epilogue, sums, 3, gain, out, packed, out_sums)
    if epilogue == STORE:
        assert error(out, y) < 1e-5
    elif epilogue == RESIDUAL:
        assert error(out, before + y) < 1e-5
        assert error(wide(packed), (before + y) * gain) < 4e-3
        assert error(out_sums[:, :rows].sum(0), ((before + y) ** 2).sum(1)) < 1e-5
    else:
        gate, up = y[:, : n // 2], y[:, n // 2 :]
        assert error(wide(packed), gate / (1 + np.exp(-gate)) * up) < 4e-3


# Rows of a pass: context rows, canvas rows, how many of the first the canvas follows.
@pytest.mark.parametrize("kinds", [(0, 1, 0), (7, 0, 0), (4, 5, 2)])
@pytest.mark.parametrize("d_head, start", [(64, 500), (128, 33)])
@pytest.mark.parametrize("bias, norm, shift", [(False, True, 0), (True, False, 1), (True, True, 1), (False, False, 0)])
def test_queries_keys_and_values(
    emulated: Any, d_head: int, start: int, kinds: tuple[int, ...], bias: bool, norm: bool, shift: int
) -> None:
    n_heads, n_kv, rows = 6, 2, sum(kinds[:2])
    capacity = start + rows + 3
    rng = np.random.default_rng(start + rows)
    qkv = rng.standard_normal((rows, n_heads + 2 * n_kv, d_head)).astype(np.float32)
    added = rng.standard_normal((n_heads + 2 * n_kv, d_head)).astype(np.float32) if bias else None
    gains = rng.random((2, d_head), np.float32) if norm else (None, None)
    frequency = (10_000.0 ** (-np.arange(0, d_head, 2) / d_head)).astype(np.float32)
    q = np.zeros((rows, n_heads, d_head), np.uint16)
    k, v = np.zeros((2, n_kv, capacity, d_head), np.uint16)
    sizes = (n_heads, n_kv, d_head, capacity, shift, start, np.array(kinds, np.int32))
    call(emulated.emu_rope, qkv, added, *gains, frequency, *sizes, q, k, v)
    x = qkv.astype(np.float64) + (0 if added is None else added)
    at_canvas = start + kinds[2] + np.arange(kinds[1]) - shift
    positions = np.concatenate((start + np.arange(kinds[0]), at_canvas))
    angle = positions[:, None, None] * frequency.astype(np.float64)

    def rotated(part: np.ndarray, gain: np.ndarray | None) -> np.ndarray:
        if gain is not None:
            part = part / np.sqrt((part**2).mean(-1, keepdims=True) + 1e-6) * gain
        low, high = np.split(part, 2, axis=-1)
        return np.concatenate(
            (low * np.cos(angle) - high * np.sin(angle), high * np.cos(angle) + low * np.sin(angle)), -1
        )

    inside = slice(start, start + rows)
    assert error(wide(q), rotated(x[:, :n_heads], gains[0])) < 4e-3
    assert error(wide(k[:, inside]), rotated(x[:, n_heads : n_heads + n_kv], gains[1]).swapaxes(0, 1)) < 4e-3
    assert error(wide(v[:, inside]), x[:, n_heads + n_kv :].swapaxes(0, 1)) < 4e-3
    assert not k[:, :start].any() and not v[:, start + rows :].any()


def sees(row: int, slot: int, start: int, kinds: tuple[int, ...], blocks: tuple[int, int]) -> bool:
    """Whether a row sees a slot: said one by one."""
    first = start + kinds[0]
    if row < kinds[0]:
        return slot < min(first, ((start + row) // blocks[0] + 1) * blocks[0])
    at = row - kinds[0]
    return slot < start + kinds[2] or 0 <= slot - first < min(kinds[1], (at // blocks[1] + 1) * blocks[1])


@pytest.mark.parametrize("kinds, blocks", [
    ((0, 33, 0), (1, EVERYTHING)), ((33, 0, 0), (1, EVERYTHING)), ((9, 16, 1), (1, EVERYTHING)),
    ((9, 16, 9), (4, 4)), ((40, 0, 0), (32, 32)), ((3, 33, 2), (1, 32)), ((5, 6, 0), (1, 1)),
])  # fmt: skip
@pytest.mark.parametrize("d_head, heads, start, splits", [
    (64, (4, 2), 0, 1), (64, (9, 3), 17, 2), (64, (3, 1), 130, 4), (128, (6, 2), 45, 3),
])  # fmt: skip
def test_attention(
    emulated: Any,
    d_head: int,
    heads: tuple[int, int],
    start: int,
    splits: int,
    kinds: tuple[int, ...],
    blocks: tuple[int, int],
) -> None:
    (n_heads, n_kv), rows = heads, sum(kinds[:2])
    capacity, n_keys = start + rows + 5, start + rows
    rng = np.random.default_rng(start + rows)
    q = bf16(2 * rng.standard_normal((rows, n_heads, d_head)))
    k, v = bf16(rng.standard_normal((2, n_kv, capacity, d_head)))
    out = np.zeros((rows, n_heads, d_head), np.uint16)
    pass_ = (start, np.array(kinds, np.int32), np.array(blocks, np.int32))
    call(emulated.emu_attention, q, k, v, n_heads, n_kv, d_head, capacity, *pass_, splits, out)
    keys, values = (np.repeat(wide(part[:, :n_keys]), n_heads // n_kv, axis=0) for part in (k, v))
    scores = np.einsum("rhd,hkd->hrk", wide(q), keys) / np.sqrt(d_head)
    hidden = [[not sees(row, slot, start, kinds, blocks) for slot in range(n_keys)] for row in range(rows)]
    scores[:, np.array(hidden)] = -np.inf
    p = np.exp(scores - scores.max(-1, keepdims=True))
    wanted = np.einsum("hrk,hkd->rhd", p / p.sum(-1, keepdims=True), values)
    assert error(wide(out), wanted) < 6e-3


@pytest.mark.parametrize("vocab, rows, bucket, blocks, temperature", [
    (257, 5, 16, 2, 0.0), (300, 20, 32, 3, 0.7), (384, 61, 64, 20, 0.0), (384, 100, 128, 5, 0.0),
])  # fmt: skip
@pytest.mark.parametrize("masked", [1.0, 0.5, 0.0])
def test_statistics_of_the_head(
    emulated: Any, vocab: int, rows: int, bucket: int, blocks: int, temperature: float, masked: float
) -> None:
    d, rng = 64, np.random.default_rng(vocab + rows)
    flags = random_flags(rng, vocab)
    c = random_control(rng, rows, flags, masked)
    c.temperature = temperature
    s = canvas_of(c)
    x, gain = rng.standard_normal((rows, d)).astype(np.float32), rng.random(d, np.float32)
    embedding = rng.standard_normal((vocab, d))
    embedding[vocab // 2 + 1] = embedding[vocab // 2]  # equals: the lowest id wins
    words = bf16(embedding)
    out, untouched = (Row * rows)(), -7.0
    for row in out:
        row.entropy = untouched
    call(emulated.emu_head, x, gain, words, vocab, d, c, s, flags, bucket, blocks, out)
    hidden = wide(bf16(x / np.sqrt((x.astype(np.float64) ** 2).mean(1, keepdims=True) + 1e-6) * gain))
    logits = np.ascontiguousarray(hidden @ wide(words).T, np.float32)
    if temperature > 0:
        noise = np.zeros((rows, vocab), np.float32)
        for row in range(rows):
            call(emulated.mz_test_gumbel, c.seed, 1, row, vocab, noise[row])
        logits = np.ascontiguousarray(logits / np.float32(temperature) + noise)
    rules, wanted = (Rule * rows)(), (Row * rows)()
    call(emulated.mz_test_rules, c, s, flags, rules)
    own = np.array(c.ids[:rows], np.int32)
    call(emulated.mz_test_row_stats, logits, rows, vocab, flags, rules, own, wanted)
    seen = [row for row in range(rows) if out[row].entropy != untouched]
    if masked > 0.4:
        assert seen
    for row in seen:
        assert out[row].best == wanted[row].best
        for field in ("probability", "end", "entropy", "own"):
            assert getattr(out[row], field) == pytest.approx(getattr(wanted[row], field), rel=2e-3, abs=1e-5)


def same_plan(a: Plan, b: Plan) -> bool:
    """Whether two passes are the same, whatever lies behind their rows."""
    n, wanted = a.n_context + a.n_canvas, a.n_wanted
    if (a.start, a.n_context, a.n_canvas, a.decided, wanted) != (
        b.start,
        b.n_context,
        b.n_canvas,
        b.decided,
        b.n_wanted,
    ):
        return False
    if list(a.ids[:n]) != list(b.ids[:n]) or bytes(a.rule)[: 16 * wanted] != bytes(b.rule)[: 16 * wanted]:
        return False
    return all(list(x[:wanted]) == list(y[:wanted]) for x, y in ((a.wanted, b.wanted), (a.at, b.at), (a.own, b.own)))


def test_commit_decides_and_plans_as_the_host_does(emulated: Any) -> None:
    rng = np.random.default_rng(3)
    flags = random_flags(rng, 40)
    for case in range(300):
        n = int(rng.integers(1, 129)) if case % 4 == 0 else int(rng.integers(1, 33))
        c = random_control(rng, n, flags)
        c.deadline_us = int(rng.choice([-1, 0, 100]))
        elapsed_us, cancel = int(rng.choice([0, 99, 100])), int(rng.random() < 0.1)
        rows = (Row * n)()
        for row in rows:
            row.best, row.own = int(rng.integers(4, 40)), rng.random()
            row.probability, row.end = rng.choice([0.1, 0.5, 0.7, rng.random()]), rng.choice([0.0, 0.3, 0.5, 0.9])
        mine, theirs = canvas_of(c), canvas_of(c)
        mine.step = theirs.step = int(rng.integers(0, c.max_steps))
        words, draft, wanted = np.array([cancel, 0, 0, 0, 0], np.int32), DraftSlot(), DraftSlot()
        plan, planned = Plan(), Plan()
        late = 0 <= c.deadline_us <= elapsed_us
        done = call(emulated.emu_host_commit, c, theirs, flags, rows, 7, int(late), wanted, planned)
        call(emulated.emu_commit, c, mine, flags, rows, 7, ctypes.c_int64(elapsed_us), words, draft, plan)
        assert bytes(mine) == bytes(theirs) and bytes(draft) == bytes(wanted)
        goes_on = not done and not cancel
        assert words.tolist() == [1, mine.step, not goes_on, goes_on, not goes_on]
        if goes_on:
            assert same_plan(plan, planned)
