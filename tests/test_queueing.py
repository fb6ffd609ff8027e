"""diffusion/serve/queueing.py: cores that are shared, and lines."""

from __future__ import annotations

import pytest

from diffusion.serve.queueing import Clock, Line


def ends(cores: float, works: list[float]) -> list[float]:
    """When pieces of work end that begin together."""
    clock, found = Clock(cores), list[float]()
    for work_s in works:
        clock.work(work_s, lambda: found.append(clock.now_s))
    clock.run(100)
    return found


def test_on_one_core_two_pieces_of_work_take_twice_as_long_and_on_two_cores_as_long_as_alone() -> None:
    assert ends(1, [3]) == ends(2, [3]) == [3]
    assert ends(1, [3, 3]) == [6, 6]
    assert ends(2, [3, 3]) == [3, 3]
    assert ends(2, [3, 3, 3]) == pytest.approx([4.5] * 3)


def test_what_ends_leaves_its_share_to_the_others() -> None:
    assert ends(1, [1, 3]) == [2, 4]


def test_what_comes_later_slows_down_what_runs_from_then_on() -> None:
    clock, found = Clock(1), list[tuple[str, float]]()
    clock.work(2, lambda: found.append(("first", clock.now_s)))
    clock.at(1, lambda: clock.work(0.5, lambda: found.append(("second", clock.now_s))))
    clock.run(100)
    assert found == [("second", 2.0), ("first", 2.5)]


def test_a_line_does_one_thing_at_a_time_in_order() -> None:
    clock, found = Clock(2), list[tuple[int, float]]()
    line = Line(clock)
    for n in range(3):
        line.do(1, lambda n=n: found.append((n, clock.now_s)))  # type: ignore[misc]
    clock.run(100)
    assert found == [(0, 1), (1, 2), (2, 3)]


def test_nothing_happens_after_the_end() -> None:
    clock, found = Clock(1), list[int]()
    clock.at(5, lambda: found.append(1))
    clock.run(4.9)
    assert not found
    clock.run(5)
    assert found == [1]
