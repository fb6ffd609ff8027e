"""cuda_ext/reference.py: the rules of one denoising step."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cuda_ext.reference import RowStats, choose, first_ends, looked_up, revise, row_stats

MASK, END = 0, 1


def stats(probability: list[float], end: list[float], own: list[float] | None = None) -> RowStats:
    """Row i's best text token is 100 + i."""
    n = len(probability)
    return RowStats(
        best=torch.arange(100, 100 + n),
        probability=torch.tensor(probability),
        end=torch.tensor(end),
        entropy=torch.zeros(n),
        own=torch.tensor(own or [1.0] * n),
    )


def step(canvas: list[int], s: RowStats, threshold: float = 0.9, steps_left: int = 9) -> list[int]:
    ids = torch.tensor(canvas)
    return choose(s, ids, ids == MASK, [(0, len(canvas))], END, threshold, steps_left).tolist()


def test_row_stats_agree_with_a_softmax_by_hand() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    ends = torch.tensor([[False, True, False, False]])
    p = logits.softmax(-1)[0]
    found = row_stats(logits, torch.tensor([2]), ends)
    assert int(found.best[0]) == 3
    torch.testing.assert_close(found.probability[0], p[3])
    torch.testing.assert_close(found.end[0], p[1])
    torch.testing.assert_close(found.own[0], p[2])
    torch.testing.assert_close(found.entropy[0], -(p * p.log()).sum())


def test_a_forbidden_token_is_never_best_and_ties_go_to_the_lowest_id() -> None:
    logits = torch.tensor([[5.0, 5.0, -torch.inf, 5.0]])
    found = row_stats(logits, torch.tensor([2]), torch.tensor([[True, False, False, False]]))
    assert int(found.best[0]) == 1
    assert float(found.own[0]) == 0.0
    assert not bool(found.entropy.isnan().any())


def test_rows_over_the_threshold_are_revealed_together() -> None:
    assert step([MASK] * 3, stats([0.95, 0.5, 0.97], [0.0] * 3)) == [100, MASK, 102]


def test_the_first_row_is_revealed_when_none_reaches_the_threshold() -> None:
    assert step([MASK] * 3, stats([0.2, 0.5, 0.3], [0.0] * 3)) == [100, MASK, MASK]


def test_more_rows_are_revealed_when_the_steps_run_short() -> None:
    assert step([MASK] * 4, stats([0.2, 0.5, 0.3, 0.1], [0.0] * 4), steps_left=2) == [100, 101, MASK, MASK]
    assert MASK not in step([MASK] * 4, stats([0.2, 0.5, 0.3, 0.1], [0.0] * 4), steps_left=1)


def test_text_behind_a_likely_end_is_not_revealed() -> None:
    assert step([MASK] * 3, stats([0.95, 0.1, 0.99], [0.0, 0.6, 0.0])) == [100, MASK, MASK]


def test_sure_ends_are_revealed_from_the_right_only() -> None:
    s = stats([0.5, 0.2, 0.1, 0.1], [0.1, 0.6, 0.8, 0.95])
    assert step([MASK] * 4, s) == [100, MASK, MASK, END]


def test_a_hole_with_nothing_open_in_front_of_its_end_is_settled_whole() -> None:
    s = stats([1.0, 0.2, 0.1], [0.0, 0.6, 0.3])
    assert step([7, MASK, MASK], s) == [7, END, END]


def test_no_hole_ends_in_front_of_text_that_is_already_there() -> None:
    s = stats([0.3, 1.0, 0.1], [0.9, 0.0, 0.9])
    ids = torch.tensor([MASK, 7, MASK])
    assert first_ends(s, ids, ids == MASK, 0, 3, END) == 2
    assert step([MASK, 7, MASK], s) == [100, 7, END]


def test_revise_doubts_only_revealed_rows_and_at_most_so_many() -> None:
    s = stats([1.0] * 4, [0.0] * 4, own=[0.01, 0.002, 0.9, 0.003])
    revealed = torch.tensor([True, True, True, False])
    assert revise(s, revealed, 0.05, at_most=4).tolist() == [True, True, False, False]
    assert revise(s, revealed, 0.05, at_most=1).tolist() == [False, True, False, False]
    assert revise(s, revealed, 0.05, at_most=0).tolist() == [False] * 4


rows = st.integers(1, 24)


@given(st.data(), rows, st.integers(1, 20))
def test_every_step_decides_something_and_changes_nothing_decided(data: st.DataObject, n: int, steps_left: int) -> None:
    unit = st.floats(0, 1, width=32)
    canvas = data.draw(st.lists(st.sampled_from([MASK, MASK, END, 7, 8]), min_size=n, max_size=n))
    s = stats(
        data.draw(st.lists(unit, min_size=n, max_size=n)),
        data.draw(st.lists(unit, min_size=n, max_size=n)),
    )
    after = step(canvas, s, threshold=data.draw(unit), steps_left=steps_left)
    assert all(old == new for old, new in zip(canvas, after, strict=True) if old != MASK)
    if MASK in canvas:
        assert after.count(MASK) < canvas.count(MASK)


@pytest.mark.parametrize(
    ("text", "least", "follows"),
    [
        ([1, 2, 3, 9, 2], 1, [3, 9, 2]),
        ([7, 2, 5, 8, 2, 6, 7, 2], 1, [5, 8, 2, 6, 7, 2]),  # the longest match, not the last
        ([2, 5, 2, 6, 2], 1, [6, 2]),  # of equal ones the last
        ([1, 2, 3, 9, 2], 2, []),  # one token is too little
        ([4, 4], 1, [4]),
        ([1], 1, []),
        ([], 1, []),
        ([*range(9), 5, *range(9)], 1, [5, *range(9)]),  # longer than what is compared
    ],
)
def test_what_is_looked_up_followed_the_longest_repetition_of_the_end(
    text: list[int], least: int, follows: list[int]
) -> None:
    assert looked_up(text, least) == follows
