"""Cores that are shared, and lines in front of what does one thing at a time: what simulate.py is built of.

Rule: events in a heap, no real time. All work that is under way gets the same share of the cores, and none more than
one core: with n pieces of work on c cores each goes on at min(1, c / n).

    clock = Clock(cores=2); Line(clock).do(0.5, then); clock.at(3.0, then); clock.run(60)
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count

Then = Callable[[], None]


class Clock:
    """Time, what happens at a time, and what happens when work is done.

    Work is kept by the work that each piece under way has had since the beginning, the same for all: so nothing is
    to be counted anew when a piece comes or goes.
    """

    def __init__(self, cores: float) -> None:
        self.cores, self.now_s = cores, 0.0
        self._events: list[tuple[float, int, Then]] = []
        self._work: list[tuple[float, int, Then]] = []
        self._had_s = 0.0
        self._numbers = count()

    def at(self, when_s: float, then: Then) -> None:
        """Call `then` at a time."""
        heapq.heappush(self._events, (when_s, next(self._numbers), then))

    def work(self, work_s: float, then: Then) -> None:
        """Call `then` when a core has worked for so long."""
        heapq.heappush(self._work, (self._had_s + work_s, next(self._numbers), then))

    @property
    def _rate(self) -> float:
        """What each piece of work gets of a core."""
        return min(1.0, self.cores / len(self._work))

    def run(self, until_s: float) -> None:
        """Let everything happen up to a time."""
        while self._events or self._work:
            done_s = self.now_s + (self._work[0][0] - self._had_s) / self._rate if self._work else float("inf")
            event_s = self._events[0][0] if self._events else float("inf")
            if min(done_s, event_s) > until_s:
                return
            heap = self._work if done_s <= event_s else self._events
            self._pass(min(done_s, event_s))
            heapq.heappop(heap)[2]()

    def _pass(self, to_s: float) -> None:
        """Let time pass, in which nothing begins or ends."""
        if self._work:
            self._had_s += (to_s - self.now_s) * self._rate
        self.now_s = to_s


class Line:
    """What does one piece of work after the other: a process, a thread."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._waiting: deque[tuple[float, Then]] = deque()
        self._busy = False

    def do(self, work_s: float, then: Then) -> None:
        """Work behind what waits already; `then` is called at the end."""
        self._waiting.append((work_s, then))
        if not self._busy:
            self._next()

    def _next(self) -> None:
        """Begin with the next piece."""
        self._busy = bool(self._waiting)
        if self._waiting:
            work_s, then = self._waiting.popleft()
            self.clock.work(work_s, lambda: self._end(then))

    def _end(self, then: Then) -> None:
        """A piece is done."""
        self._next()
        then()
