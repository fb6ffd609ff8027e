"""The contexts whose keys and values are kept, and which of them a request can go on from.

Rule: found by content, never across owners: how long an answer takes would tell one user what another has open. What
was used last stays; how many stay is `most`, which a memory budget may set.

    contexts = Contexts(lambda: backend.new_cache(1280)); cache = contexts.best((5, 7, 9), owner="ada")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

MOST = 4  # contexts kept, so that changing between a few files costs nothing
ENOUGH = 4  # a context is gone on from if at least this part of the tokens is in it


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

    def best(self, ids: Sequence[int], owner: str = "") -> Cache:
        """The owner's cache that shares most with `ids`; if none shares much, a new one or the one unused longest."""
        own = [kept for kept in self.kept if kept.owner == owner]
        best = max(own, key=lambda kept: common_prefix(kept.cache.ids, ids), default=None)
        if best is None or common_prefix(best.cache.ids, ids) < len(ids) // ENOUGH:
            best = Kept(owner, self._free())
        self.kept = [kept for kept in self.kept if kept.cache is not best.cache] + [best]
        return best.cache

    def _free(self) -> Cache:
        """A cache for something else."""
        if len(self.kept) < self.most:
            return self.new()
        cache = self.kept[0].cache
        cache.keep(0)
        return cache


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
