"""The native forward pass against its twin in plain torch, for every instruction set of this machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from cuda_ext import native
from cuda_ext.twin import Twin, from_words
from tests.native_shapes import SHAPES, in_int8, random_tensors

ISAS = ("portable", "avx2", "vnni", "vnni+bf16", "dotprod")
PRECISIONS = ("int8", "bf16")
SMALL = SHAPES["ours"]
NOTHING: list[int] = []

pytestmark = pytest.mark.skipif(native.load("cpu") is None, reason=native.why_not("cpu"))


def close(found: np.ndarray, expected: torch.Tensor) -> None:
    """Sums in another order may move a number over the edge of a rounding step: near on the whole, and never far."""
    error = np.abs(found - expected.numpy()) / float(expected.std())
    assert np.sqrt((error**2).mean()) < 0.05
    assert error.max() < 0.3


def pair(
    shape: native.Shape, precision: str, tensors: dict[str, native.Tensor] | None = None, threads: int = 2
) -> tuple[native.NativeModel, native.NativeCache, Twin]:
    """A model with random weights, a cache for it, and its twin."""
    given = tensors or random_tensors(shape)
    model = native.NativeModel(shape, given, precision, threads)
    return model, native.NativeCache(model, 650), Twin(shape, given, precision, 650)


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("MEZZOTINT_ISA", request.param)
    library = native.load("cpu")
    assert library is not None
    if library.target != request.param:
        pytest.skip(f"this processor has no {request.param}")
    yield request.param


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", ["ours", "embedded", "llama", "qwen3"])
def test_logits_are_those_of_the_twin(isa: str, shape: str, precision: str) -> None:
    ids = np.random.default_rng(1).integers(0, SHAPES[shape].vocab_size, 700)
    model, cache, twin = pair(SHAPES[shape], precision)
    for n_context in (0, 1, 15, 16, 17, 511):
        if n_context:
            model.encode(cache, ids[:n_context], 0)
            twin.forward(ids[:n_context], NOTHING, 0)
        for n, causal in ((1, True), (1, False), (6, False), (32, False), (33, True)):
            rows = ids[n_context : n_context + n]
            kinds = (rows, NOTHING) if causal else (NOTHING, rows)
            close(model.forward(cache, *kinds, n_context), twin.forward(*kinds, n_context))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_two_kinds_of_rows_in_one_pass_have_the_logits_of_the_twin(shape: str, precision: str) -> None:
    ids = np.random.default_rng(2).integers(0, SHAPES[shape].vocab_size, 300)
    model, cache, twin = pair(SHAPES[shape], precision)
    for n_cached in (1, 33, 64):
        model.encode(cache, ids[:n_cached], 0)
        twin.forward(ids[:n_cached], NOTHING, 0)
        for n_context, n_canvas, decided in ((1, 16, 1), (9, 16, 1), (6, 37, 4), (3, 5, 0), (64, 8, 64), (1, 127, 1)):
            rows = ids[100 : 100 + n_context], ids[170 : 170 + n_canvas]
            found = model.forward(cache, *rows, n_cached, decided)
            close(found, twin.forward(*rows, n_cached, decided))


@pytest.mark.parametrize("shape", ["ours", "llama", "qwen2", "qwen3", "blocks of 4, shifted", "all at once"])
def test_weights_given_in_int8_are_used_as_they_are(isa: str, shape: str) -> None:
    stored = in_int8(SHAPES[shape], random_tensors(SHAPES[shape]))
    model, cache, twin = pair(SHAPES[shape], "int8", stored)
    ids = np.arange(60) * 7 % SHAPES[shape].vocab_size
    model.encode(cache, ids[:30], 0)
    twin.forward(ids[:30], NOTHING, 0)
    close(model.forward(cache, ids[30:35], ids[35:], 30, 2), twin.forward(ids[30:35], ids[35:], 30, 2))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", ["ours", "llama", "qwen2", "qwen3", "all at once"])
def test_one_pass_of_two_kinds_is_two_passes(shape: str, precision: str) -> None:
    """Context rows bit for bit. A canvas row's sums lie in other slots: within rounding."""
    model, cache, _ = pair(SHAPES[shape], precision)
    ids = np.arange(90) * 5 % SHAPES[shape].vocab_size
    context, canvas, decided = ids[40:49], ids[60:76], 3
    model.encode(cache, ids[:40], 0)
    both = model.forward(cache, context, canvas, 40, decided)
    np.testing.assert_array_equal(both[:9], model.forward(cache, context, NOTHING, 40))
    model.encode(cache, context[:decided], 40)
    close(both[9:], torch.from_numpy(model.forward(cache, NOTHING, canvas, 40 + decided)))


def test_a_context_row_does_not_depend_on_the_canvas_behind_it() -> None:
    model, cache, _ = pair(SHAPES["llama"], "int8")
    model.encode(cache, np.arange(50), 0)
    one = model.forward(cache, [7, 8, 9], [1] * 8, 50, 1)[:3]
    np.testing.assert_array_equal(one, model.forward(cache, [7, 8, 9], [2] * 30, 50, 2)[:3])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 12, 13, 31, 64, 127, 128])
def test_any_number_of_rows_gives_the_logits_of_the_twin(n: int, precision: str) -> None:
    ids = np.random.default_rng(n).integers(0, SMALL.vocab_size, 300)
    model, cache, twin = pair(SMALL, precision, threads=3)
    model.encode(cache, ids[:40], 0)
    twin.forward(ids[:40], NOTHING, 0)
    for kinds in ((ids[40 : 40 + n], NOTHING), (NOTHING, ids[40 : 40 + n])):
        close(model.forward(cache, *kinds, 40), twin.forward(*kinds, 40))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", ["ours", "blocks of 4, shifted", "blocks of 32"])
def test_a_context_in_pieces_is_the_context_at_once(isa: str, shape: str, precision: str) -> None:
    """Bit for bit: what a row comes to does not depend on how many rows it is computed with."""
    model, whole, _ = pair(SHAPES[shape], precision)
    pieces, canvas = native.NativeCache(model, 400), np.zeros(16, dtype=np.int32)
    ids = np.arange(300) % SHAPES[shape].vocab_size
    model.encode(whole, ids, 0)
    for start, stop in ((0, 32), (32, 64), (64, 160), (160, 300)):
        model.encode(pieces, ids[start:stop], start)
    np.testing.assert_array_equal(
        model.forward(whole, NOTHING, canvas, 300), model.forward(pieces, NOTHING, canvas, 300)
    )


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("shape", ["ours", "llama"])
def test_any_number_of_threads_gives_the_same_logits(shape: str, threads: int) -> None:
    results = []
    for n_threads in (1, threads):
        model, cache, _ = pair(SHAPES[shape], "int8", threads=n_threads)
        model.encode(cache, np.arange(90), 0)
        results.append(model.forward(cache, np.arange(5), np.arange(20), 90, 2))
    np.testing.assert_array_equal(*results)


def test_a_canvas_leaves_the_context_as_it_was() -> None:
    model, cache, _ = pair(SMALL, "int8")
    ids = np.arange(61) % SMALL.vocab_size
    model.encode(cache, ids[:37], 0)
    before = model.forward(cache, NOTHING, ids[37:50], 37)
    model.forward(cache, NOTHING, ids[10:60], 37)
    np.testing.assert_array_equal(model.forward(cache, NOTHING, ids[37:50], 37), before)


def test_a_large_vocabulary_is_in_memory_once() -> None:
    shape = native.Shape(20_000, 64, 1, 4, 2, 64, 16, 0, 1, 1, 1e4, 1e-6)
    model = native.NativeModel(shape, random_tensors(shape), "int8", threads=1)
    assert model.n_bytes < 1.35 * 20_000 * 64


def test_words_are_bfloat16() -> None:
    words = np.array([0x3F80, 0xC000, 0x0000], dtype=np.uint16)
    assert from_words(words).tolist() == [1.0, -2.0, 0.0]


# ---- What the library refuses


@pytest.fixture(scope="module")
def model() -> native.NativeModel:
    return native.NativeModel(SMALL, random_tensors(SMALL), "int8", threads=1)


def test_a_missing_tensor_is_named() -> None:
    tensors = random_tensors(SMALL)
    del tensors["blocks.1.o.weight"]
    with pytest.raises(ValueError, match=r"blocks\.1\.o\.weight is missing"):
        native.NativeModel(SMALL, tensors, "int8", threads=1)


def test_an_unknown_tensor_and_a_wrong_size_are_named() -> None:
    with pytest.raises(ValueError, match="no tensor is called head.weight"):
        native.NativeModel(SMALL, {"head.weight": np.zeros(3, np.uint16)}, "int8", threads=1)
    with pytest.raises(ValueError, match="norm.weight has 3 numbers, not 64"):
        native.NativeModel(SMALL, {"norm.weight": np.zeros(3, np.uint16)}, "int8", threads=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_model": 0}, "below 1"),
        ({"n_heads": 3}, "do not divide"),
        ({"d_head": 15}, "must be even"),
        ({"vocab_size": -1}, "below 1"),
        ({"d_ff": 1 << 17}, "too large"),
        ({"vocab_size": (1 << 20) + 1}, "too large"),
        ({"norm_eps": float("nan")}, "norm_eps"),
        ({"canvas_sees": 0}, "see themselves"),
        ({"flags": 32}, "not known"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(change: dict[str, int], message: str) -> None:
    shape = native.Shape.from_buffer_copy(SMALL)
    for name, value in change.items():
        setattr(shape, name, value)
    with pytest.raises(ValueError, match=message):
        native.NativeModel(shape, {}, "int8", threads=1)


def test_weights_that_are_no_numbers_are_named() -> None:
    tensors = random_tensors(SMALL)
    tensors["norm.weight"] = np.full(64, 0x7FC0, np.uint16)
    with pytest.raises(ValueError, match=r"norm\.weight holds numbers that are not finite"):
        native.NativeModel(SMALL, tensors, "int8", threads=1)


def test_int8_weights_are_refused_where_they_do_not_fit() -> None:
    rows = np.zeros((64, 64), np.int8), np.ones(64, np.float32)
    with pytest.raises(ValueError, match="for the precision int8"):
        native.NativeModel(SMALL, {"blocks.0.o.weight": rows}, "bf16", threads=1)
    for name, message in (("blocks.0.down.weight", "another shape"), ("embed.weight", "not stored in int8")):
        with pytest.raises(ValueError, match=message):
            native.NativeModel(SMALL, {name: rows}, "int8", threads=1)


def test_the_cpu_is_one_device() -> None:
    with pytest.raises(ValueError, match="one device"):
        native.NativeModel(SMALL, {}, "int8", threads=1, device=1)


def test_rows_of_two_kinds_that_cannot_be_are_refused(model: native.NativeModel) -> None:
    cache = native.NativeCache(model, 300)
    for rows, decided, message in (
        (([1] * 100, [1] * 29), 100, "1 to 128 rows"),
        (([1] * 2, [1] * 2), 3, "decided rows"),
        (([1] * 2, [1] * 2), -1, "decided rows"),
    ):
        with pytest.raises(ValueError, match=message):
            model.forward(cache, *rows, 0, decided)
    shifted = native.NativeModel(SHAPES["all at once"], random_tensors(SHAPES["all at once"]), "int8", threads=1)
    with pytest.raises(ValueError, match="a token in front"):
        shifted.forward(native.NativeCache(shifted, 20), [], [1, 2], 0)


def test_unknown_ids_and_rows_beyond_the_capacity_are_refused(model: native.NativeModel) -> None:
    cache = native.NativeCache(model, 20)
    for ids in ([0, 501], [-1], [2**40]):
        with pytest.raises(ValueError, match="not in the vocabulary"):
            model.encode(cache, ids, 0)
    for ids, start in (([1] * 21, 0), ([1], 20), ([1], -1), ([1], 2**31 - 1)):
        with pytest.raises(ValueError, match="do not fit the cache"):
            model.encode(cache, ids, start)
    with pytest.raises(ValueError, match="1 to 65536 rows"):
        native.NativeCache(model, 0)


def test_a_cache_of_another_model_is_refused(model: native.NativeModel) -> None:
    other = native.NativeModel(SMALL, random_tensors(SMALL), "int8", threads=1)
    with pytest.raises(ValueError, match="another model"):
        model.encode(native.NativeCache(other, 20), [1], 0)


def test_handles_may_go_in_any_order(model: native.NativeModel) -> None:
    mine = native.NativeModel(SMALL, random_tensors(SMALL), "int8", threads=2)
    cache = native.NativeCache(mine, 20)
    mine.close()
    cache.close()
    cache.close()


def test_a_missing_library_is_a_reason_and_not_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("MEZZOTINT_NATIVE_LIB", str(tmp_path))
    assert native.load("cpu") is None
    assert "was not built" in native.why_not("cpu")
    monkeypatch.setenv("MEZZOTINT_NATIVE", "0")
    assert "MEZZOTINT_NATIVE=0" in native.why_not("cpu")
    with pytest.raises(ValueError, match="switched off"):
        native.NativeModel(SMALL, {}, "int8", threads=1)
