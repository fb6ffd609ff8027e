"""The contexts whose keys and values are kept, and which of them a request can go on from.

Rule: found by content, never across owners: how long an answer takes would tell one user what another has open. What
was used last stays; how many stay is `most`, which a memory budget may set. Any thread may borrow; a context has one
borrower at a time.

    contexts = Contexts(lambda: backend.new_cache(1280))
    with contexts.borrowed((5, 7, 9), owner="ada") as cache: ...
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

MOST = 4  # contexts kept, so that changing between a few files costs nothing
ENOUGH = 4  # a context is gone on from if at least this part of the tokens is in it
LOOK_S = 0.01  # between two looks at whether somebody still waits for a context


class Cache(Protocol):
    """Keys and values of a context, and the ids they belong to, `behind` of them behind the canvas."""

    ids: list[int]
    behind: int

    def keep(self, n_tokens: int) -> None: ...  # noqa: D102


class Kept(NamedTuple):
    """A context and whose it is."""

    owner: str
    cache: Cache


class Contexts:
    """Caches, the one used last at the end."""

    def __init__(self, new: Callable[[], Cache], most: int = MOST) -> None:
        self.new, self.most = new, most
        self.kept: list[Kept] = []
        self._lent: list[Cache] = []
        self._changed = threading.Condition()

    @contextmanager
    def borrowed(
        self, ids: Sequence[int], owner: str = "", stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[Cache | None]:
        """The best cache, given back at the end; who comes second waits, and has None where `stopped` by then."""
        cache = self._borrow(ids, owner, stopped)
        try:
            yield cache
        finally:
            with self._changed:
                self._lent = [lent for lent in self._lent if lent is not cache]
                self._changed.notify_all()

    def _borrow(self, ids: Sequence[int], owner: str, stopped: Callable[[], bool]) -> Cache | None:
        """A cache that nobody has, None if `stopped`."""
        with self._changed:
            while (cache := self.best(ids, owner)) in self._lent:
                if stopped():
                    return None
                self._changed.wait(LOOK_S)
            self._lent.append(cache)
            return cache

    def best(self, ids: Sequence[int], owner: str = "") -> Cache:
        """The owner's cache that shares most with `ids`; if none shares much, a new one or the one unused longest.

        All that a cache has is much, too: its request was cancelled while it was encoded, and the next goes on there.
        """
        own = [kept for kept in self.kept if kept.owner == owner]
        best = max(own, key=lambda kept: common_prefix(kept.cache.ids, ids), default=None)
        shared = common_prefix(best.cache.ids, ids) if best is not None else 0
        if best is None or (shared < max(1, len(ids) // ENOUGH) and shared < len(best.cache.ids)):
            best = Kept(owner, self._free())
        self.kept = [kept for kept in self.kept if kept.cache is not best.cache] + [best]
        return best.cache

    def _free(self) -> Cache:
        """A cache for something else."""
        free = [kept.cache for kept in self.kept if kept.cache not in self._lent]
        if len(self.kept) < self.most or not free:
            return self.new()
        free[0].keep(0)
        return free[0]


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
