"""Control blocks that are wrong in random places are run, or refused with a reason (many more: `make sanitize`)."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuda_ext import native
from tests.fuzzing import count, fuzz
from tests.native_shapes import SHAPES, random_tensors

pytestmark = pytest.mark.skipif(native.load("cpu") is None, reason=native.why_not("cpu"))

SHAPE, CAPACITY, N_CONTEXT = SHAPES["no block, odd sizes"], 300, 20
N_WORDS = ctypes.sizeof(native.Control) // 4
ODD = [0, 1, -1, 7, 8, 9, 127, 128, 129, 298, 299, 300, 4097, 2**31 - 1, -(2**31), 0x7F800000, 0x7FC00000, 0x3F800000]
words = st.tuples(
    st.integers(0, 40) | st.integers(0, N_WORDS - 1) | st.integers(N_WORDS - 140, N_WORDS - 1), st.sampled_from(ODD)
)


@pytest.fixture(scope="module")
def model() -> native.NativeModel:
    return native.NativeModel(SHAPE, random_tensors(SHAPE), "bf16", 1)


def control(n_rows: int, verdict: bool) -> native.Control:
    """One that may be run."""
    block = native.Control(deadline_us=-1, n_rows=n_rows, n_holes=1, mask_id=0, end_id=1, max_steps=8, threshold=0.5)
    block.hole_stop[0], block.present, block.last_id, block.verdict = n_rows, 2**32 - 1, 3, verdict
    block.judge_rows, block.canvas_rows, block.n_drafted, block.head = 4, 8, 0, 5
    return block


@fuzz(200)
@given(
    n_rows=st.integers(1, 40),
    verdict=st.booleans(),
    wrong=st.lists(words, max_size=4),
    n_context=st.just(N_CONTEXT) | st.sampled_from(ODD),
    flag=st.integers(0, 255),
)
def test_a_control_block_is_run_or_refused(
    model: native.NativeModel, n_rows: int, verdict: bool, wrong: list[tuple[int, int]], n_context: int, flag: int
) -> None:
    count("control blocks of the library as built")
    cache = native.NativeCache(model, CAPACITY)
    model.encode(cache, [3] * N_CONTEXT, 0)
    block = control(n_rows, verdict)
    raw = (ctypes.c_int32 * N_WORDS).from_buffer(block)
    for at, word in wrong:
        raw[at] = ctypes.c_int32(word).value
    flags = np.zeros(SHAPE.vocab_size, np.uint8)
    flags[5::7] = flag
    n_context = min(max(n_context, -(2**31)), 2**31 - 1)
    try:
        run = native.NativeRun(model, cache, n_context, block, flags)
    except ValueError as error:
        assert str(error)
        return
    with run:
        for _ in range(5):
            if (slot := run.next(1_000_000)) is None:
                break
            assert 0 <= slot.cached <= CAPACITY
            assert all(0 <= token < SHAPE.vocab_size for token in slot.guess[: block.n_rows])
