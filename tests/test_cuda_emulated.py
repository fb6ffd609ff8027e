"""cuda_ext/cuda on the CPU, by emulation: forward passes against the twin, the threshold loop, handles, refusals."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

import numpy as np
import pytest

from cuda_ext import native
from cuda_ext.native import EXTRAS, Control, DraftSlot, NativeCache, NativeModel, NativeRun, Row, Rule, Shape
from cuda_ext.twin import Twin
from tests.emulated import (
    SHAPES,
    at,
    bf16,
    call,
    canvas_of,
    error,
    needs_compiler,
    present,
    random_control,
    random_flags,
)
from tests.native_shapes import in_int8, random_tensors

NOTHING: list[int] = []

pytestmark = needs_compiler


@pytest.fixture(scope="module")
def model(emulated: Any) -> NativeModel:
    return loaded(SHAPES["ours"])


def loaded(shape: Shape, device: int = 0) -> NativeModel:
    return NativeModel(shape, random_tensors(shape), "bf16", 1, kind="cuda", device=device)


# ---- Forward passes


@pytest.mark.parametrize("name", SHAPES)
def test_rows_of_two_kinds_are_those_of_the_twin(emulated: Any, name: str) -> None:
    shape, tensors = SHAPES[name], random_tensors(SHAPES[name])
    model, twin = NativeModel(shape, tensors, "bf16", 1, kind="cuda"), Twin(shape, tensors, "bf16", 200)
    cache, ids = NativeCache(model, 200), np.random.default_rng(1).integers(0, 299, 200)
    for n_cached, kinds in ((1, [(1, 16, 1), (0, 12, 0)]), (40, [(9, 21, 9), (3, 5, 0), (7, 0, 0)])):
        model.encode(cache, ids[:n_cached], 0)
        twin.forward(ids[:n_cached], NOTHING, 0)
        for n_context, n_canvas, decided in kinds:
            rows = ids[50 : 50 + n_context], ids[100 : 100 + n_canvas]
            found, wanted = model.forward(cache, *rows, n_cached, decided), twin.forward(*rows, n_cached, decided)
            assert error(found, wanted.numpy()) < 2e-2


@pytest.mark.parametrize("name", ["ours", "blocks of 32"])
def test_long_contexts_are_encoded_in_pieces_that_keep_blocks_whole(emulated: Any, name: str) -> None:
    shape, tensors = SHAPES[name], random_tensors(SHAPES[name])
    model, twin = NativeModel(shape, tensors, "bf16", 1, kind="cuda"), Twin(shape, tensors, "bf16", 300)
    cache, ids = NativeCache(model, 300), np.random.default_rng(2).integers(0, 299, 200)
    model.encode(cache, ids[:10], 0)
    model.encode(cache, ids[10:], 10)
    twin.forward(ids[:10], NOTHING, 0)
    twin.forward(ids[10:], NOTHING, 10)
    canvas = ids[40:52]
    assert error(model.forward(cache, NOTHING, canvas, 200), twin.forward(NOTHING, canvas, 200).numpy()) < 2e-2


def test_a_canvas_without_a_context(model: NativeModel) -> None:
    twin, ids = Twin(SHAPES["ours"], random_tensors(SHAPES["ours"]), "bf16", 64), np.arange(20, 40)
    assert error(model.forward(NativeCache(model, 64), NOTHING, ids, 0), twin.forward(NOTHING, ids, 0).numpy()) < 2e-2


def test_weights_given_in_int8_are_those_numbers_in_bfloat16(emulated: Any) -> None:
    shape, words = SHAPES["qwen3"], random_tensors(SHAPES["qwen3"])
    stored, widened = in_int8(shape, words), dict(words)
    for name, tensor in stored.items():
        if isinstance(tensor, tuple):
            widened[name] = bf16(tensor[0] * tensor[1][:, None])
    logits = []
    for tensors, precision in ((stored, "int8"), (widened, "bf16")):
        model = NativeModel(shape, tensors, precision, 1, kind="cuda")
        logits.append(model.forward(NativeCache(model, 32), [5, 6, 7], [8, 9], 0, 3))
    np.testing.assert_array_equal(logits[0], logits[1])
    with pytest.raises(ValueError, match="for the precision int8"):
        NativeModel(shape, stored, "bf16", 1, kind="cuda")


# ---- The threshold loop


def host_drafts(
    model: NativeModel, cache: NativeCache, n_context: int, c: Control, flags: np.ndarray
) -> list[DraftSlot]:
    """The loop with the forward pass of the library and every decision on the host."""
    raw, s, drafts = model.raw, canvas_of(c), list[DraftSlot]()
    n, vocab = c.n_rows, model.shape.vocab_size
    while not drafts or not drafts[-1].done:
        n_active = next((r for r in range(n, 0, -1) if s.ids[r - 1] != 1), 0)
        n_active = min(n_active + 1, n) or 1
        logits = model.forward(cache, NOTHING, s.ids[:n_active], n_context)
        rules, rows, draft, plan = (Rule * n)(), (Row * n)(), DraftSlot(), native.Plan()
        call(raw.mz_test_rules, c, s, flags, rules)
        own = np.array(s.ids[:n_active], np.int32)
        call(raw.mz_test_row_stats, logits, n_active, vocab, flags, rules, own, rows)
        call(raw.emu_host_commit, c, s, flags, rows, n_context, 0, draft, plan)
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
    found = {}
    for loop in ("while", "replay", "step"):
        monkeypatch.setenv("MEZZOTINT_CUDA_LOOP", loop)
        with NativeRun(model, cache, 20, c, flags) as run:
            assert way_of(run) == loop
            found[loop] = [bytes(draft) for draft in run]
            assert run.steps == len(found[loop])
            assert run.close() == len(found[loop])
    assert found["while"] == found["replay"] == found["step"]
    for mine, theirs in zip(found["while"], wanted, strict=True):
        draft = DraftSlot.from_buffer_copy(mine)
        assert (draft.step, draft.done, draft.cached) == (theirs.step, theirs.done, 20)
        assert (list(draft.ids), list(draft.guess)) == (list(theirs.ids), list(theirs.guess))
        np.testing.assert_allclose(draft.probability, theirs.probability, rtol=1e-3, atol=1e-6)


def way_of(run: NativeRun) -> str:
    name = run.raw.mz_cuda_loop
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    return str(name(run.handle).decode())


def slow_control(n_rows: int, n_steps: int) -> Control:
    """A run that takes all its steps: nothing is ever sure enough."""
    c = Control(deadline_us=-1, n_rows=n_rows, n_holes=1, max_steps=n_steps, threshold=2.0, end_id=1, present=2)
    c.hole_stop[0] = n_rows
    return c


def test_a_run_may_take_as_many_steps_as_on_the_cpu(model: NativeModel) -> None:
    flags, cache = random_flags(np.random.default_rng(0), 300), NativeCache(model, 64)
    for n_steps in (2, 4096, 3):
        c = slow_control(2, n_steps)
        c.threshold = 0.0
        with NativeRun(model, cache, 0, c, flags) as run:
            assert list(run)[-1].done
    with pytest.raises(ValueError, match="max_steps must be 1 to 4096"):
        NativeRun(model, cache, 0, slow_control(2, 4097), flags)


def test_a_cancelled_run_ends(model: NativeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEZZOTINT_CUDA_LOOP", "step")
    flags, cache = random_flags(np.random.default_rng(0), 300), NativeCache(model, 64)
    with NativeRun(model, cache, 0, slow_control(20, 20), flags) as run:
        assert run.next(1_000_000) is not None
        run.cancel()
        assert len(list(run)) <= 1 and run.ended
        assert run.steps <= 2


# ---- Handles and refusals


def test_handles_may_be_destroyed_in_any_order(emulated: Any) -> None:
    shape, flags, c = SHAPES["qwen2"], random_flags(np.random.default_rng(0), 301), slow_control(3, 3)
    model = loaded(shape)
    cache = NativeCache(model, 40)
    model.encode(cache, [5, 6, 7], 0)
    with NativeRun(model, cache, 3, c, flags) as run:
        wanted = [bytes(draft) for draft in run]
    run = NativeRun(model, cache, 3, c, flags)
    model.close()
    cache.close()
    gc.collect()
    assert [bytes(draft) for draft in run] == wanted
    run.close()


def test_every_device_is_reached_by_its_number(emulated: Any) -> None:
    shape, c, flags = SHAPES["llama"], slow_control(2, 2), random_flags(np.random.default_rng(0), 300)
    first, second = loaded(shape), loaded(shape, device=1)
    caches = [NativeCache(model, 20) for model in (first, second)]
    for device, model, cache in ((0, first, caches[0]), (1, second, caches[1])):
        model.encode(cache, [5], 0)
        assert emulated.emu_device() == device
        with NativeRun(model, cache, 1, c, flags) as run:
            list(run)
        assert emulated.emu_device() == device
    with pytest.raises(ValueError, match="no CUDA device 2: there are 2"):
        loaded(shape, device=2)


def test_a_cache_belongs_to_its_model(model: NativeModel) -> None:
    other, flags = loaded(SHAPES["ours"]), random_flags(np.random.default_rng(0), 300)
    cache = NativeCache(other, 32)
    for refused in (
        lambda: model.encode(cache, [5], 0),
        lambda: model.forward(cache, [5], NOTHING, 0),
        lambda: NativeRun(model, cache, 0, slow_control(2, 2), flags),
    ):
        with pytest.raises(ValueError, match="a cache of another model"):
            refused()


def test_null_pointers_are_refused(model: NativeModel) -> None:
    raw, cache, ids = model.raw, NativeCache(model, 32), np.zeros(2, np.int32)
    control = slow_control(2, 2)
    pair = (model.handle, cache.handle)
    results = [
        raw.mz_model_create(None, 0, 0, 1),
        raw.mz_model_set(model.handle, b"norm.weight", None, 128),
        raw.mz_model_set_int8(None, b"norm.weight", None, None, 1, 1),
        raw.mz_model_ready(None),
        raw.mz_cache_create(None, 4),
        raw.mz_encode(None, cache.handle, at(ids), 0, 2),
        raw.mz_forward(model.handle, None, at(ids), 0, 2, 0, 0, None),
        raw.mz_forward(*pair, None, 0, 2, 0, 0, None),
        raw.mz_run_start(*pair, 0, None, at(np.zeros(300, np.uint8))),
        raw.mz_run_start(*pair, 0, ctypes.byref(control), None),
        raw.mz_run_next(None, None, 0),
    ]
    assert all(result in (None, -1) for result in results)
    assert "null" in model.library.error()
    assert (raw.mz_run_destroy(None), raw.mz_run_steps(None), raw.mz_model_bytes(None)) == (0, 0, 0)
    raw.mz_run_cancel(None)


def test_rows_that_cannot_be_are_refused(model: NativeModel) -> None:
    cache, shifting = NativeCache(model, 200), loaded(SHAPES["no blocks"])
    blocks = Shape(*[getattr(SHAPES["blocks of 32"], name) for name, _ in Shape._fields_])
    blocks.context_sees = 129
    whole = loaded(blocks)
    for refused, why in (
        (lambda: model.encode(cache, [1] * 201, 0), "do not fit the cache"),
        (lambda: model.encode(cache, [1], -1), "do not fit the cache"),
        (lambda: model.encode(cache, [1], 2**31 - 1), "do not fit the cache"),
        (lambda: model.encode(cache, [300], 0), "not in the vocabulary"),
        (lambda: model.forward(cache, [5], [6], 0, 2), "decided rows are context rows"),
        (lambda: model.forward(cache, [5], [6] * 128, 0), "1 to 128 rows"),
        (lambda: shifting.forward(NativeCache(shifting, 9), NOTHING, [6], 0), "a token in front of the canvas"),
        (lambda: whole.encode(NativeCache(whole, 200), [5] * 130, 0), "is encoded whole"),
        (lambda: NativeCache(model, 0), "a cache holds"),
    ):
        with pytest.raises(ValueError, match=why):
            refused()


def test_models_that_cannot_be_are_refused(emulated: Any) -> None:
    good = SHAPES["ours"]
    wrong: tuple[tuple[str, float, str], ...] = (
        ("d_head", 32, "64 or 128 wide"),
        ("d_model", 100, "multiples of 16"),
        ("n_kv_heads", 3, "do not divide"),
        ("norm_eps", 0.0, "norm_eps"),
        ("rope_base", float("nan"), "rope_base"),
        ("flags", 64, "flags"),
        ("context_sees", 0, "see themselves"),
        ("vocab_size", 1 << 30, "too large"),
    )
    for field, value, message in wrong:
        shape = Shape(*[getattr(good, name) for name, _ in Shape._fields_])
        setattr(shape, field, value)
        with pytest.raises(ValueError, match=message):
            NativeModel(shape, {}, "bf16", 1, kind="cuda")
    words = random_tensors(good)
    for tensors, why in (
        ({**words, "norm.weight": np.full(128, 0x7F80, np.uint16)}, "not finite"),
        ({**words, "what": words["norm.weight"]}, "no tensor is called what"),
        ({**words, "norm.weight": np.zeros(5, np.uint16)}, "has 5 numbers, not 128"),
        ({name: words[name] for name in words if name != "blocks.1.o.weight"}, "blocks.1.o.weight is missing"),
    ):
        with pytest.raises(ValueError, match=why):
            NativeModel(good, tensors, "bf16", 1, kind="cuda")
    with pytest.raises(ValueError, match="the precisions bf16 and int8"):
        NativeModel(good, words, "fp8", 1, kind="cuda")
    assert good.flags & EXTRAS and present(random_flags(np.random.default_rng(0), 9)) > 0


def test_a_cache_has_one_run_at_a_time(model: NativeModel) -> None:
    cache, flags = NativeCache(model, 32), random_flags(np.random.default_rng(0), 300)
    with NativeRun(model, cache, 0, slow_control(2, 2), flags):
        with pytest.raises(ValueError, match="another run is using this cache"):
            NativeRun(model, cache, 0, slow_control(2, 2), flags)
        with pytest.raises(ValueError, match="a run is using this cache"):
            model.encode(cache, [5], 0)
    model.encode(cache, [5], 0)
