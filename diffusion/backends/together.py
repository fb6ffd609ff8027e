"""Work that several threads ask for at the same time, done at once by one of them.

Rule: who comes while nothing runs does all that waits, in the order in which it came; it waits a moment for those who
are known to come. What fails together is done one by one, so that only whose work is wrong sees the error.

    doubled = Together(lambda asked: [2 * each for each in asked]); doubled(3)    # 6
    with doubled.member(): ...    # this thread will ask, again and again
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

A = TypeVar("A")
R = TypeVar("R")
GATHER_S = 0.003  # longest wait for a member that is between two passes


class Asked(Generic[A]):
    """What one thread asked for, and what came of it."""

    def __init__(self, asked: A) -> None:
        self.asked = asked
        self.found: Any = None
        self.error: Exception | None = RuntimeError("who did this for several threads broke off")
        self.done = False


class Together(Generic[A, R]):
    """A function of lists that threads call with one item each."""

    def __init__(
        self, do: Callable[[list[A]], Sequence[R]], size: Callable[[A], int] = lambda _: 1, most: int = 64
    ) -> None:
        self._do, self._size, self._most = do, size, most
        self._waiting: list[Asked[A]] = []
        self._members, self._runs = 0, False
        self._changed = threading.Condition()

    @contextmanager
    def member(self) -> Iterator[None]:
        """While it is open, others wait a moment for what this thread asks."""
        with self._changed:
            self._members += 1
        try:
            yield
        finally:
            with self._changed:
                self._members -= 1
                self._changed.notify_all()

    def __call__(self, asked: A) -> R:
        """What comes of one item."""
        mine = Asked(asked)
        with self._changed:
            self._waiting.append(mine)
            self._changed.notify_all()
            while not mine.done:
                if self._runs:
                    self._changed.wait()
                else:
                    self._lead()
        if mine.error is not None:
            raise mine.error
        found: R = mine.found
        return found

    def _lead(self) -> None:
        """Do what waits (called with the lock, which is open meanwhile)."""
        self._runs = True
        self._changed.wait_for(lambda: len(self._waiting) >= self._members, GATHER_S)
        some = self._first()
        self._changed.release()
        try:
            self._run(some)
        finally:
            self._changed.acquire()
            self._runs = False
            for each in some:
                each.done = True
            self._changed.notify_all()

    def _first(self) -> list[Asked[A]]:
        """As many of those that wait as may run at once, one at least."""
        size = 0
        for n, each in enumerate(self._waiting):
            size += self._size(each.asked)
            if n and size > self._most:
                break
        else:
            n = len(self._waiting)
        some, self._waiting = self._waiting[:n], self._waiting[n:]
        return some

    def _run(self, some: list[Asked[A]]) -> None:
        """Do it, one by one where that fails."""
        try:
            found = self._do([each.asked for each in some])
        except Exception as error:
            if len(some) == 1:
                some[0].error = error
                return
            for each in some:
                self._run([each])
            return
        for each, one in zip(some, found, strict=True):
            each.found, each.error = one, None
