"""The native forward pass against its twin in plain torch, for every instruction set of this machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from cuda_ext import native
from cuda_ext.twin import Twin, from_words

ISAS = ("portable", "avx2", "vnni", "vnni+bf16")
PRECISIONS = ("int8", "bf16")
SMALL = native.Shape(501, 64, 2, 4, 2, 100, 10_000.0)
EMBEDDED = native.Shape(1000, 256, 3, 4, 2, 704, 10_000.0)
WIDE_HEADS = native.Shape(300, 384, 2, 3, 1, 90, 10_000.0)  # heads of 128, three to a key head

pytestmark = pytest.mark.skipif(native.load("cpu") is None, reason=native.why_not("cpu"))


def random_tensors(shape: native.Shape, seed: int = 0) -> dict[str, np.ndarray]:
    """Bfloat16 words of a model with normal weights."""
    random = np.random.default_rng(seed)
    d, ff, d_head = shape.d_model, shape.d_ff, shape.d_model // shape.n_heads
    n_qkv = (shape.n_heads + 2 * shape.n_kv_heads) * d_head
    sizes: dict[str, tuple[int, ...]] = {"embed.weight": (shape.vocab_size, d), "canvas_embed": (d,)}
    sizes |= {"embed_norm.weight": (d,), "norm.weight": (d,)}
    sizes |= {"left": (shape.vocab_size + 1, d), "right": (shape.vocab_size + 1, d)}
    for layer in range(shape.n_layers):
        block = f"blocks.{layer}."
        sizes |= {f"{block}{norm}_norm.weight": (d,) for norm in ("attn", "mlp")}
        sizes |= {f"{block}{norm}_norm.weight": (d_head,) for norm in ("q", "k")}
        sizes |= {block + "qkv.weight": (n_qkv, d), block + "o.weight": (d, d)}
        sizes |= {block + "gate_up.weight": (2 * ff, d), block + "down.weight": (d, ff)}
    tensors = {}
    for name, size in sizes.items():
        centre, spread = (1.0, 0.1) if "norm" in name else (0.0, size[-1] ** -0.5)
        values = random.normal(centre, spread, size).astype(np.float32)
        tensors[name] = (values.view(np.uint32) >> 16).astype(np.uint16)
    return tensors


def close(found: np.ndarray, expected: torch.Tensor) -> None:
    """Sums in another order may move a number over the edge of a rounding step: near on the whole, and never far."""
    error = np.abs(found - expected.numpy()) / float(expected.std())
    assert np.sqrt((error**2).mean()) < 0.03
    assert error.max() < 0.2


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("MEZZOTINT_ISA", request.param)
    library = native.load("cpu")
    assert library is not None
    if library.target != request.param:
        pytest.skip(f"this processor has no {request.param}")
    yield request.param


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [SMALL, EMBEDDED, WIDE_HEADS], ids=["small", "embedded", "wide_heads"])
def test_logits_are_those_of_the_twin(isa: str, shape: native.Shape, precision: str) -> None:
    tensors, ids = random_tensors(shape), np.random.default_rng(1).integers(0, shape.vocab_size, 700)
    model = native.NativeModel(shape, tensors, precision, threads=2)
    cache, twin = native.NativeCache(model, 650), Twin(shape, tensors, precision, 650)
    for n_context in (0, 1, 15, 16, 17, 511):
        if n_context:
            model.encode(cache, ids[:n_context], 0)
            twin.forward(ids[:n_context], 0, causal=True)
        for n, causal in ((1, True), (1, False), (6, False), (32, False), (33, True)):
            rows = ids[n_context : n_context + n]
            close(model.forward(cache, rows, n_context, causal), twin.forward(rows, n_context, causal))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 12, 13, 31, 64, 127, 128])
def test_any_number_of_rows_gives_the_logits_of_the_twin(n: int, precision: str) -> None:
    tensors, ids = random_tensors(SMALL), np.random.default_rng(n).integers(0, SMALL.vocab_size, 300)
    model = native.NativeModel(SMALL, tensors, precision, threads=3)
    cache, twin = native.NativeCache(model, 200), Twin(SMALL, tensors, precision, 200)
    model.encode(cache, ids[:40], 0)
    twin.forward(ids[:40], 0, causal=True)
    for causal in (True, False):
        close(model.forward(cache, ids[40 : 40 + n], 40, causal), twin.forward(ids[40 : 40 + n], 40, causal))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_context_in_pieces_is_the_context_at_once(isa: str, precision: str) -> None:
    """Bit for bit: what a row comes to does not depend on how many rows it is computed with."""
    model = native.NativeModel(SMALL, random_tensors(SMALL), precision, threads=2)
    ids, canvas = np.arange(300) % SMALL.vocab_size, np.zeros(16, dtype=np.int32)
    whole, pieces = native.NativeCache(model, 400), native.NativeCache(model, 400)
    model.encode(whole, ids, 0)
    for start, stop in ((0, 1), (1, 18), (18, 150), (150, 300)):
        model.encode(pieces, ids[start:stop], start)
    np.testing.assert_array_equal(
        model.forward(whole, canvas, 300, causal=False), model.forward(pieces, canvas, 300, causal=False)
    )


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_any_number_of_threads_gives_the_same_logits(threads: int) -> None:
    tensors, ids = random_tensors(SMALL), np.arange(90) % SMALL.vocab_size
    results = []
    for n_threads in (1, threads):
        model = native.NativeModel(SMALL, tensors, "int8", n_threads)
        cache = native.NativeCache(model, 128)
        model.encode(cache, ids, 0)
        results.append(model.forward(cache, ids[:20], 90, causal=False))
    np.testing.assert_array_equal(*results)


def test_a_canvas_leaves_the_context_as_it_was() -> None:
    model = native.NativeModel(SMALL, random_tensors(SMALL), "int8", threads=2)
    cache = native.NativeCache(model, 128)
    ids = np.arange(61) % SMALL.vocab_size
    model.encode(cache, ids[:37], 0)
    before = model.forward(cache, ids[37:50], 37, causal=False)
    model.forward(cache, ids[10:60], 37, causal=False)
    np.testing.assert_array_equal(model.forward(cache, ids[37:50], 37, causal=False), before)


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
        ({"n_heads": 8}, "multiple of 16"),
        ({"vocab_size": -1}, "below 1"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(change: dict[str, int], message: str) -> None:
    shape = native.Shape(501, 64, 2, 4, 2, 100, 10_000.0)
    for name, value in change.items():
        setattr(shape, name, value)
    with pytest.raises(ValueError, match=message):
        native.NativeModel(shape, {}, "int8", threads=1)


def test_unknown_ids_and_rows_beyond_the_capacity_are_refused(model: native.NativeModel) -> None:
    cache = native.NativeCache(model, 20)
    for ids in ([0, 501], [-1], [2**40]):
        with pytest.raises(ValueError, match="not in the vocabulary"):
            model.encode(cache, ids, 0)
    for ids, start in (([1] * 21, 0), ([1], 20), ([1], -1)):
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
