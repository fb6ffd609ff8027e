"""diffusion/backends/together.py: what several threads ask for is done at once, and whose fault it is is told apart."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from diffusion.backends import together
from diffusion.backends.together import Together


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is left behind because the machine is slow."""
    monkeypatch.setattr(together, "GATHER_S", 60.0)


def in_threads(work: Callable[[int], Any], n: int) -> list[Any]:
    """What `work` gives in `n` threads at once; an exception is given as what it is."""
    found: list[Any] = [None] * n

    def keep(number: int) -> None:
        try:
            found[number] = work(number)
        except Exception as error:
            found[number] = error

    threads = [threading.Thread(target=keep, args=(number,)) for number in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return found


class Doubling:
    def __init__(self) -> None:
        self.groups: list[list[int]] = []

    def __call__(self, asked: list[int]) -> list[int]:
        self.groups.append(asked)
        if 3 in asked:
            raise ValueError("three")
        return [2 * each for each in asked]


def all_present(one: Together[int, int], n: int) -> Callable[[int], int]:
    """Ask once every one of `n` threads is a member."""
    here = threading.Barrier(n)

    def ask(number: int) -> int:
        with one.member():
            here.wait(60)
            return one(number)

    return ask


def test_members_that_are_there_are_waited_for_and_done_at_once() -> None:
    double = Doubling()
    assert in_threads(all_present(Together(double), 3), 3) == [0, 2, 4]
    assert [sorted(group) for group in double.groups] == [[0, 1, 2]]


def test_who_asks_alone_waits_for_nobody() -> None:
    double = Doubling()
    one = Together(double)
    with one.member():
        assert [one(1), one(2)] == [2, 4]
    assert (one(5), double.groups) == (10, [[1], [2], [5]])


def test_only_whose_work_is_wrong_sees_the_error() -> None:
    found = in_threads(all_present(Together(Doubling()), 5), 5)
    assert found[:3] + found[4:] == [0, 2, 4, 8]
    assert isinstance(found[3], ValueError) and str(found[3]) == "three"


def test_more_than_may_run_at_once_runs_in_turns_and_what_is_too_large_alone() -> None:
    double = Doubling()
    one = Together(double, size=lambda each: each + 1, most=3)
    assert in_threads(all_present(one, 3), 3) == [0, 2, 4]
    assert all(sum(each + 1 for each in group) <= 3 for group in double.groups)
    assert one(100) == 200


def test_a_member_that_leaves_is_waited_for_no_longer() -> None:
    double = Doubling()
    one = Together(double)
    here = threading.Barrier(2)

    def come(number: int) -> int:
        with one.member():
            here.wait(60)
            if number:
                return -1
        return one(number)

    assert in_threads(come, 2) == [0, -1]
