"""include/mezzotint/core.h against its twins in plain torch and numpy: statistics, rules, the step, random numbers."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cuda_ext import native, reference, rules
from cuda_ext.reference import RowStats

MASK, END = 0, 1
ISAS = ("portable", "avx2", "vnni", "vnni+bf16", "dotprod")

pytestmark = pytest.mark.skipif(native.load("cpu") is None, reason=native.why_not("cpu"))


def raw() -> ctypes.CDLL:
    library = native.load("cpu")
    assert library is not None
    return library.raw


def address(array: np.ndarray) -> int:
    return int(array.ctypes.data)


def native_row_stats(
    logits: np.ndarray, flags: np.ndarray, given_rules: list[rules.Rule], own: np.ndarray
) -> list[native.Row]:
    out = (native.Row * len(logits))()
    kinds = (native.Rule * len(logits))(*((r.forbid, r.need, r.also_need, r.ends) for r in given_rules))
    raw().mz_test_row_stats(
        address(logits), *logits.shape, address(flags), ctypes.addressof(kinds), address(own), ctypes.addressof(out)
    )
    return list(out)


def agree(
    rows: list[native.Row], logits: np.ndarray, flags: np.ndarray, given: list[rules.Rule], own: np.ndarray
) -> None:
    forbidden, ends = (torch.from_numpy(mask) for mask in rules.expand(given, flags))
    allowed = torch.from_numpy(logits).double().masked_fill(forbidden, -torch.inf)
    expected = reference.row_stats(allowed, torch.from_numpy(own.astype(np.int64)), ends)
    for i, row in enumerate(rows):
        assert row.best == int(expected.best[i])
        for name in ("probability", "end", "own"):
            # a float32 exponent of -60 is itself only known to 4e-6
            assert getattr(row, name) == pytest.approx(float(getattr(expected, name)[i]), rel=1e-5, abs=1e-30)
        assert row.entropy == pytest.approx(float(expected.entropy[i]), rel=1e-5, abs=2e-6)


logit = st.one_of(st.floats(-30, 30, width=32), st.sampled_from([-np.inf, 0.0, 1.0, 5.0]))
rule = st.builds(
    rules.Rule,
    st.sampled_from([0, 1, 3]),
    st.sampled_from([0, 4, 8]),
    st.sampled_from([0, 18]),
    st.sampled_from([0, 2, 6]),
)


@pytest.mark.parametrize("isa", ISAS)
@settings(deadline=None, max_examples=60)
@given(data=st.data(), vocab=st.integers(1, 70))
def test_row_statistics_are_those_of_the_twin(isa: str, data: st.DataObject, vocab: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_ISA", isa)
        logits = np.array([data.draw(st.lists(logit, min_size=vocab, max_size=vocab))], dtype=np.float32)
        flags = np.array(data.draw(st.lists(st.integers(0, 31), min_size=vocab, max_size=vocab)), dtype=np.uint8)
        own = np.array([data.draw(st.integers(0, vocab - 1))], dtype=np.int32)
        given_rules = [data.draw(rule)]
        agree(native_row_stats(logits, flags, given_rules, own), logits, flags, given_rules, own)


@pytest.mark.parametrize("isa", ISAS)
def test_row_statistics_of_a_whole_vocabulary_are_those_of_the_twin(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEZZOTINT_ISA", isa)
    random = np.random.default_rng(1)
    logits = random.normal(0, 4, (5, 8191)).astype(np.float32)
    logits[3] = -np.inf
    flags = random.integers(0, 32, 8191, dtype=np.uint8)
    own = random.integers(0, 8191, 5, dtype=np.int32)
    given_rules = [rules.Rule(), rules.Rule(ends=6), rules.Rule(0, 8, 0, 0), rules.Rule(), rules.Rule(1, 0, 18, 2)]
    agree(native_row_stats(logits, flags, given_rules, own), logits, flags, given_rules, own)


def test_a_row_without_allowed_tokens_has_no_text_and_no_end() -> None:
    (row,) = native_row_stats(np.zeros((1, 9), np.float32), np.ones(9, np.uint8), [rules.Rule()], np.zeros(1, np.int32))
    assert (row.best, row.probability, row.end, row.entropy, row.own) == (0, 0, 0, 0, 0)


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(1, 4096), st.integers(0, 127), st.integers(1, 50))
def test_gumbel_noise_is_that_of_the_twin(seed: int, step: int, row: int, n: int) -> None:
    out = np.empty(n, dtype=np.float32)
    raw().mz_test_gumbel(seed, step, row, n, address(out))
    np.testing.assert_allclose(out, reference.gumbel(seed, step, np.array([row]), n)[0].numpy(), rtol=2e-5, atol=2e-6)


def test_philox_gives_the_known_answers() -> None:
    """Of Random123, the authors' own code, for a counter and a key of zeros."""
    assert int(reference.philox(0, 0, np.array([0]), np.array([0]))[0]) == 0x6627E8D5


# ---- Rules and steps, on random canvases


@st.composite
def canvases(draw: st.DrawFn) -> tuple[native.Control, native.CanvasState, np.ndarray]:
    """A canvas of one to three holes with fixed text between them, in any state."""
    control, state, row = native.Control(), native.CanvasState(), 0
    control.n_holes = draw(st.integers(1, 3))
    vocab = 12
    flags = np.array(
        [1, 2] + draw(st.lists(st.sampled_from([0, 0, 4, 8, 16, 24, 32, 40, 64, 128, 144]), min_size=10, max_size=10)),
        np.uint8,
    )
    for hole in range(control.n_holes):
        for _ in range(draw(st.integers(0, 2))):
            control.fixed[row], control.ids[row] = 1, draw(st.integers(2, vocab - 1))
            row += 1
        control.hole_start[hole] = row
        for _ in range(draw(st.integers(1, 7))):
            control.ids[row] = draw(st.sampled_from([MASK, MASK, MASK, END, 3, 4, 5, 6]))
            row += 1
        control.hole_stop[hole] = row
        control.multiline[hole] = draw(st.booleans())
    control.n_rows, control.mask_id, control.end_id = row, MASK, END
    control.has_left, control.has_right = draw(st.booleans()), draw(st.booleans())
    control.max_steps, control.max_revisions = draw(st.integers(1, 6)), draw(st.integers(0, 3))
    control.threshold, control.revise_below = draw(st.sampled_from([0.2, 0.6, 0.95])), 0.3
    control.stop_below = draw(st.sampled_from([0.0, 0.2, 0.5]))
    control.present = int(np.bitwise_or.reduce(np.left_shift(np.uint32(1), (flags & 31).astype(np.uint32))))
    state.step = draw(st.integers(0, control.max_steps - 1))
    state.revisions_left = control.max_revisions
    for i in range(row):
        state.ids[i], state.probability[i] = control.ids[i], draw(st.sampled_from([0.3, 0.7, 1.0]))
        state.doubted[i] = draw(st.sampled_from([0, 0, 1]))
    return control, state, flags


def arrays(control: native.Control, state: native.CanvasState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = control.n_rows
    ids = np.array(state.ids[:n], dtype=np.int64)
    fixed = np.array(control.fixed[:n], dtype=bool)
    return ids, fixed, (ids == MASK) & ~fixed


def holes_of(control: native.Control) -> list[tuple[int, int]]:
    return [(control.hole_start[h], control.hole_stop[h]) for h in range(control.n_holes)]


@settings(deadline=None, max_examples=300)
@given(canvases())
def test_the_rule_of_every_row_is_that_of_the_twin(
    canvas: tuple[native.Control, native.CanvasState, np.ndarray],
) -> None:
    control, state, flags = canvas
    ids, _, masked = arrays(control, state)
    multiline = [bool(control.multiline[h]) for h in range(control.n_holes)]
    expected = rules.row_rules(
        ids, masked, flags, holes_of(control), multiline, bool(control.has_left), bool(control.has_right)
    )
    out = (native.Rule * control.n_rows)()
    raw().mz_test_rules(ctypes.addressof(control), ctypes.addressof(state), address(flags), ctypes.addressof(out))
    found = [rules.Rule(r.forbid, r.need, r.also_need, r.ends) for r in out]
    for row in range(control.n_rows):  # a settled row's rule only matters for what it held, and may be stricter
        assert found[row].allowed(flags).tolist() == expected[row].allowed(flags).tolist()
        assert found[row].ends == expected[row].ends


def guess(ids: np.ndarray, masked: np.ndarray, stats: RowStats, holes: list[tuple[int, int]]) -> np.ndarray:
    out = np.where(masked, stats.best.numpy(), ids)
    for start, stop in holes:
        end = reference.first_ends(stats, torch.from_numpy(ids), torch.from_numpy(masked), start, stop, END)
        out[end:stop] = np.where(masked[end:stop], END, out[end:stop])
    return out


def end_to_take_back(control: native.Control, ids: np.ndarray, flags: np.ndarray) -> int | None:
    start, stop = holes_of(control)[-1]
    ended = next((row for row in range(start, stop) if ids[row] == END), stop)
    if not control.has_right or ended in (start, stop) or ids[ended - 1] == MASK:
        return None
    return None if flags[ids[ended - 1]] & rules.RIGHT else ended


def closed_lines(control: native.Control, ids: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """Ends behind the first token of a one-line hole that holds a line break behind visible text."""
    out = ids.copy()
    for (start, stop), multiline in zip(holes_of(control), control.multiline, strict=False):
        closing = [row for row in range(start, stop) if flags[ids[row]] & rules.CLOSES and not multiline]
        out[closing[0] + 1 if closing else stop : stop] = END
    return out


@settings(deadline=None, max_examples=400)
@given(canvases(), st.data(), st.booleans())
def test_a_step_is_that_of_the_plain_loop(
    canvas: tuple[native.Control, native.CanvasState, np.ndarray], data: st.DataObject, late: bool
) -> None:
    """The body of diffusion/denoise.py behind the forward pass; few distinct numbers, so that many are equal."""
    control, state, flags = canvas
    n, holes = control.n_rows, holes_of(control)
    unit = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 1.0]), min_size=n, max_size=n)
    stats = RowStats(
        torch.tensor(data.draw(st.lists(st.integers(2, 11), min_size=n, max_size=n))),
        torch.tensor(data.draw(unit), dtype=torch.float32),
        torch.tensor(data.draw(unit), dtype=torch.float32),
        torch.zeros(n),
        torch.tensor(data.draw(unit), dtype=torch.float32),
    )
    rows = (native.Row * n)()
    for i in range(n):
        best, probability = int(stats.best[i]), float(stats.probability[i])
        rows[i] = native.Row(best, probability, float(stats.end[i]), 0, float(stats.own[i]))
    ids, fixed, masked = arrays(control, state)
    doubted_before = np.array(state.doubted[:n], dtype=bool)
    probability = np.array(state.probability[:n], dtype=np.float32)
    step, last = state.step + 1, late or state.step + 1 >= control.max_steps
    revisions_left = state.revisions_left
    doubted = np.zeros(n, dtype=bool)
    if last:
        written = guess(ids, masked, stats, holes)
    else:
        left = control.max_steps - step + 1
        torch_ids, torch_masked = torch.from_numpy(ids), torch.from_numpy(masked)
        written = reference.choose(stats, torch_ids, torch_masked, holes, END, control.threshold, left).numpy()
        revisable = torch.from_numpy(~masked & ~fixed & (ids != END) & ~doubted_before)
        doubted = reference.revise(stats, revisable, control.revise_below, revisions_left).numpy()
        doubted_before = doubted_before | doubted
        revisions_left -= int(doubted.sum())
    closed = closed_lines(control, written, flags)
    changed = (closed != ids) & ~fixed
    ids = np.where(fixed, ids, closed)
    sure = np.where(written == END, stats.end.numpy(), stats.probability.numpy())
    probability = np.where(changed, sure, probability)
    if not last:
        taken_back = end_to_take_back(control, ids, flags)
        if taken_back is not None:
            doubted[taken_back] = True
        ids = np.where(doubted & ~fixed, MASK, ids)
    masked = (ids == MASK) & ~fixed

    out = native.DraftSlot()
    done = raw().mz_test_commit(
        ctypes.addressof(control), ctypes.addressof(state), address(flags), ctypes.addressof(rows), int(late),
        ctypes.addressof(out),
    )  # fmt: skip
    hole = slice(*holes[0])
    unsure = rules.unsure(fixed[hole], probability[hole], (~masked & (ids != END))[hole], control.stop_below)
    assert (out.step, out.late, bool(out.done)) == (step, late, last or not masked.any() or unsure)
    assert done == out.done
    assert out.ids[:n] == ids.tolist() == state.ids[:n]
    assert out.guess[:n] == guess(ids, masked, stats, holes).tolist()
    assert np.array(out.probability[:n], dtype=np.float32).tolist() == probability.tolist()
    assert state.revisions_left == revisions_left
    assert [bool(x) for x in state.doubted[:n]] == doubted_before.tolist()
