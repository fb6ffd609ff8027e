"""cuda_ext/kernels and cuda_ext/cuda on the CPU: every kernel against float64, the whole library against torch.

The emulator runs the threads of a block in ascending and in descending order; both must give the same.
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
import torch

from cuda_ext import native
from cuda_ext.native import (
    CanvasState,
    Control,
    DraftSlot,
    Library,
    NativeCache,
    NativeModel,
    NativeRun,
    Row,
    Rule,
    Shape,
)
from cuda_ext.rules import BREAK, END, LEFT, RIGHT, SPECIAL
from diffusion.model.config import ModelConfig
from diffusion.model.transformer import ContextCache, Transformer
from diffusion.native_backend import with_neighbour_tables

ROOT = Path(__file__).parent.parent
COMPILER = os.environ.get("CXX") or shutil.which("g++")
STORE, RESIDUAL, GATED = 0, 1, 2

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++: the CUDA kernels were NOT checked by emulation")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the emulated library is, built once."""
    folder = tmp_path_factory.mktemp("emulated")
    include = [f"-I{ROOT / 'cuda_ext' / part}" for part in ("emu", "include", "")]
    source, library = ROOT / "tests/cuda/emulated.cpp", folder / "libmezzotint_cuda.so"
    flags = ["-std=c++17", "-O1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
    subprocess.run([COMPILER, *flags, "-DMZ_EMULATED", *include, source, "-o", library], check=True)
    return folder


@pytest.fixture(scope="module", params=[0, 1], ids=["ascending", "descending"])
def emulated(folder: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The library with the fibers of a block run in one order or the other; also what `native` finds as "cuda"."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_NATIVE_LIB", str(folder))
        patch.delenv("MEZZOTINT_CUDA_LOOP", raising=False)
        raw = Library(folder / "libmezzotint_cuda.so", "cuda").raw
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
    return torch.from_numpy(np.ascontiguousarray(values, np.float32)).bfloat16().view(torch.uint16).numpy()


def wide(words: np.ndarray) -> np.ndarray:
    return (words.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def error(got: np.ndarray, wanted: np.ndarray) -> float:
    """Relative error of the whole; NaN stays NaN, which is below no bound."""
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


# ---- Kernels


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


@pytest.mark.parametrize("d_head, start, rows", [(64, 0, 1), (64, 500, 7), (128, 33, 5)])
def test_queries_keys_and_values(emulated: Any, d_head: int, start: int, rows: int) -> None:
    n_heads, n_kv, capacity = 4, 2, start + rows + 3
    rng = np.random.default_rng(start)
    qkv = rng.standard_normal((rows, n_heads + 2 * n_kv, d_head)).astype(np.float32)
    gains = rng.random((2, d_head), np.float32)
    frequency = (10_000.0 ** (-np.arange(0, d_head, 2) / d_head)).astype(np.float32)
    q = np.zeros((rows, n_heads, d_head), np.uint16)
    k, v = np.zeros((2, n_kv, capacity, d_head), np.uint16)
    call(emulated.emu_rope, qkv, gains[0], gains[1], frequency, n_heads, n_kv, d_head, capacity, start, rows, q, k, v)
    x = qkv.astype(np.float64)
    x /= np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
    angle = (start + np.arange(rows))[:, None, None] * frequency.astype(np.float64)

    def rotated(part: np.ndarray, gain: np.ndarray) -> np.ndarray:
        low, high = np.split(part * gain, 2, axis=-1)
        return np.concatenate(
            (low * np.cos(angle) - high * np.sin(angle), high * np.cos(angle) + low * np.sin(angle)), -1
        )

    inside = slice(start, start + rows)
    assert error(wide(q), rotated(x[:, :n_heads], gains[0])) < 4e-3
    assert error(wide(k[:, inside]), rotated(x[:, n_heads : n_heads + n_kv], gains[1]).swapaxes(0, 1)) < 4e-3
    assert error(wide(v[:, inside]), qkv[:, n_heads + n_kv :].swapaxes(0, 1)) < 4e-3
    assert not k[:, :start].any() and not v[:, start + rows :].any()


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("d_head, start, rows, splits", [
    (64, 0, 1, 1), (64, 0, 33, 2), (64, 17, 40, 1), (64, 130, 32, 4), (128, 17, 5, 3), (128, 130, 20, 1),
])  # fmt: skip
def test_attention(emulated: Any, d_head: int, start: int, rows: int, splits: int, causal: int) -> None:
    n_heads, n_kv, capacity = 4, 2, start + rows + 5
    rng = np.random.default_rng(start + rows)
    q = bf16(2 * rng.standard_normal((rows, n_heads, d_head)))
    k, v = bf16(rng.standard_normal((2, n_kv, capacity, d_head)))
    out = np.zeros((rows, n_heads, d_head), np.uint16)
    call(emulated.emu_attention, q, k, v, n_heads, n_kv, d_head, capacity, start, rows, causal, splits, out)
    n_keys = start + rows
    keys, values = (np.repeat(wide(part[:, :n_keys]), 2, axis=0) for part in (k, v))
    scores = np.einsum("rhd,hkd->hrk", wide(q), keys) / np.sqrt(d_head)
    if causal:
        scores[:, np.arange(n_keys)[None] > start + np.arange(rows)[:, None]] = -np.inf
    p = np.exp(scores - scores.max(-1, keepdims=True))
    wanted = np.einsum("hrk,hkd->rhd", p / p.sum(-1, keepdims=True), values)
    assert error(wide(out), wanted) < 6e-3


def random_flags(rng: np.random.Generator, vocab: int) -> np.ndarray:
    """Flags of a vocabulary whose first tokens are special: 0 is the mask, 1 the end."""
    flags = rng.choice([0, BREAK, LEFT, RIGHT, RIGHT | BREAK], vocab).astype(np.uint8)
    flags[:4] = SPECIAL
    flags[1] = SPECIAL | END
    flags[0] = SPECIAL
    return flags


def random_control(rng: np.random.Generator, n_rows: int, flags: np.ndarray, masked: float = 0.6) -> Control:
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
    c.present = sum(1 << int(f) for f in np.unique(flags))
    return c


def canvas_of(c: Control) -> CanvasState:
    s = CanvasState(step=0, revisions_left=c.max_revisions)
    for row in range(c.n_rows):
        s.ids[row], s.probability[row] = c.ids[row], c.probability[row]
    return s


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


def test_commit_decides_as_the_host_does(emulated: Any) -> None:
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
        late = 0 <= c.deadline_us <= elapsed_us
        done = call(emulated.emu_host_commit, c, theirs, flags, rows, int(late), wanted)
        call(emulated.emu_commit, c, mine, flags, rows, ctypes.c_int64(elapsed_us), words, draft)
        assert bytes(mine) == bytes(theirs) and bytes(draft) == bytes(wanted)
        written, ended, condition, stop, n_rows = words
        goes_on = not done and not cancel
        assert (written, ended, condition, stop) == (mine.step, int(not goes_on), int(goes_on), int(not goes_on))
        assert 1 <= n_rows <= n


# ---- The library

TINY = ModelConfig(vocab_size=300, d_model=128, n_layers=2, n_heads=2, n_kv_heads=1, d_ff=192, max_context=256)


@pytest.fixture(scope="module")
def transformer() -> Transformer:
    """A small model in float32 whose weights are bfloat16 numbers."""
    model = Transformer(TINY)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        scale = parameter.shape[1] ** -0.5 if parameter.dim() == 2 else 0.3
        if name == "embed.weight":
            scale = 0.3
        values = scale * noise + (1 if parameter.dim() == 1 and name != "canvas_embed" else 0)
        parameter.data = values.bfloat16().float()
    return model


@pytest.fixture(scope="module")
def model(emulated: Any, transformer: Transformer) -> NativeModel:
    tensors = {name: bf16(p.detach().numpy()) for name, p in transformer.named_parameters()}
    fields = [name for name, _ in Shape._fields_]
    tensors = with_neighbour_tables(tensors, TINY)
    return NativeModel(Shape(**{name: getattr(TINY, name) for name in fields}), tensors, "bf16", 1, kind="cuda")


@pytest.mark.parametrize("n_context, rows", [(0, 1), (17, 5), (130, 40)])
def test_forward_pass_is_that_of_torch(model: NativeModel, transformer: Transformer, n_context: int, rows: int) -> None:
    rng = np.random.default_rng(n_context)
    context, canvas = rng.integers(0, 300, n_context).tolist(), rng.integers(0, 300, rows).tolist()
    cache, theirs = NativeCache(model, 200), ContextCache(TINY, 200, torch.float32)
    model.encode(cache, context, 0)
    with torch.no_grad():
        if context:
            transformer.encode(context, theirs)
        wanted = transformer.logits(transformer.denoise(torch.tensor([canvas]), theirs)[0]).numpy()
        assert error(model.forward(cache, canvas, n_context, causal=False), wanted) < 2e-2
        if n_context == 17:
            wanted = transformer.logits(transformer.encode(canvas, theirs)).numpy()
            assert error(model.forward(cache, canvas, n_context, causal=True), wanted) < 2e-2


def host_drafts(model: NativeModel, cache: NativeCache, n_context: int, c: Control, flags: np.ndarray) -> list[bytes]:
    """The loop with the forward pass of the library and every decision on the host."""
    raw, s, drafts = model.raw, canvas_of(c), []
    n, vocab = c.n_rows, model.shape.vocab_size
    while not drafts or not drafts[-1].done:
        n_active = next((r for r in range(n, 0, -1) if s.ids[r - 1] != 1), 0)
        n_active = min(n_active + 1, n) or 1
        logits = model.forward(cache, s.ids[:n_active], n_context, causal=False)
        rules, rows, draft = (Rule * n)(), (Row * n)(), DraftSlot()
        call(raw.mz_test_rules, c, s, flags, rules)
        own = np.array(s.ids[:n_active], np.int32)
        call(raw.mz_test_row_stats, logits, n_active, vocab, flags, rules, own, rows)
        call(raw.emu_host_commit, c, s, flags, rows, 0, draft)
        drafts.append(draft)
    return drafts


@pytest.mark.parametrize("n_rows", [8, 24])
def test_every_way_of_looping_gives_the_same_drafts(
    model: NativeModel, monkeypatch: pytest.MonkeyPatch, n_rows: int
) -> None:
    rng = np.random.default_rng(n_rows)
    flags = random_flags(rng, 300)
    c = random_control(rng, n_rows, flags, masked=1.0)
    c.max_steps, c.threshold, c.max_revisions, c.multiline = 5, 0.95, 2, (ctypes.c_int32 * 8)(1, 1)
    c.ids[n_rows - 1], c.stop_below = c.mask_id, 0
    context = rng.integers(4, 300, 20).tolist()
    cache = NativeCache(model, 64)
    model.encode(cache, context, 0)
    wanted = host_drafts(model, cache, 20, c, flags)
    assert len(wanted) > 1
    name = model.raw.mz_cuda_loop
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    found = {}
    for loop in ("while", "replay", "step"):
        monkeypatch.setenv("MEZZOTINT_CUDA_LOOP", loop)
        with NativeRun(model, cache, 20, c, flags) as run:
            assert name(run.handle).decode() == loop
            found[loop] = [bytes(draft) for draft in run]
            assert run.steps == len(found[loop])
    assert found["while"] == found["replay"] == found["step"]
    for mine, theirs in zip(found["while"], wanted, strict=True):
        draft = DraftSlot.from_buffer_copy(mine)
        assert (draft.step, draft.done, list(draft.ids), list(draft.guess)) == (
            theirs.step, theirs.done, list(theirs.ids), list(theirs.guess),
        )  # fmt: skip
        np.testing.assert_allclose(draft.probability, theirs.probability, rtol=1e-3, atol=1e-6)


def test_decoding_token_by_token_keeps_the_cache(model: NativeModel) -> None:
    rng = np.random.default_rng(5)
    flags = random_flags(rng, 300)
    c = Control(deadline_us=-1, n_rows=6, n_holes=1, mask_id=0, end_id=1, max_steps=16, threshold=0.6)
    c.hole_stop[0], c.multiline[0], c.present = 6, 1, sum(1 << int(f) for f in np.unique(flags))
    context = rng.integers(4, 300, 11).tolist()
    cache, canvas = NativeCache(model, 64), [0] * 6
    model.encode(cache, context, 0)
    before = model.forward(cache, canvas, 11, causal=False)
    with NativeRun(model, cache, 11, c, flags, autoregressive_from=context[-1]) as run:
        drafts = list(run)
    assert np.array_equal(model.forward(cache, canvas, 11, causal=False), before)
    assert drafts[-1].done and not any(draft.done for draft in drafts[:-1])
    ids, allowed = list(drafts[-1].ids[:6]), (flags & SPECIAL) == 0
    for row, draft in enumerate(drafts):
        so_far = context[-1:] + ids[:row]
        logits = model.forward(cache, so_far, 10, causal=True)[-1]
        best = int(np.where(allowed, logits, -np.inf).argmax())
        assert draft.step == row + 1 and ids[row] == best


def test_a_cancelled_run_ends(model: NativeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEZZOTINT_CUDA_LOOP", "step")
    flags = random_flags(np.random.default_rng(0), 300)
    c = Control(deadline_us=-1, n_rows=20, n_holes=1, max_steps=20, threshold=2.0, end_id=1, present=2)
    c.hole_stop[0] = 20
    cache = NativeCache(model, 64)
    with NativeRun(model, cache, 0, c, flags) as run:
        assert run.next(1_000_000) is not None
        run.cancel()
        drafts = list(run)
        assert run.ended and len(drafts) <= 1


def test_refusals_have_reasons(model: NativeModel) -> None:
    flags = random_flags(np.random.default_rng(0), 300)
    cache = NativeCache(model, 32)
    with pytest.raises(ValueError, match="do not fit the cache"):
        model.encode(cache, [1] * 33, 0)
    with pytest.raises(ValueError, match="outside of the vocabulary"):
        model.encode(cache, [300], 0)
    with pytest.raises(ValueError, match="256 steps"):
        NativeRun(model, cache, 0, Control(n_rows=1, n_holes=1, hole_stop=(ctypes.c_int32 * 8)(1)), flags)
    with pytest.raises(ValueError, match="8-bit"):
        NativeModel(model.shape, {}, "int8", 1, kind="cuda")
    assert native.load("cuda") is not None
