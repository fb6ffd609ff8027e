"""The trees of one document's versions: parsed when first asked for, in whatever thread asks, from the newest before.

Rule: the event loop tells of edits and parses nothing; a tree is never edited once it was given out, only a copy of it.
A tree takes many times the memory of its text: those of the documents asked for last stay, the others are made anew.

    trees = Trees("python", Shelf()); trees.edited(edit); trees.tree(trees.number, source)
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, NamedTuple

from lsp_server.text import syntax

if TYPE_CHECKING:
    from tree_sitter import Tree

MAX_PARSED_BYTES = 2_000_000  # a tree takes 70 bytes for each, and a large one seconds to make
MAX_EDITS = 1_000  # kept for a tree that may come; from then on a parse of all is as good
MAX_KEPT = 8  # documents whose trees stay


class TreeEdit(NamedTuple):
    """One edit as tree-sitter wants it: bytes, and (row, byte column)."""

    start_byte: int
    old_end_byte: int
    new_end_byte: int
    start_point: tuple[int, int]
    old_end_point: tuple[int, int]
    new_end_point: tuple[int, int]


class Shelf:
    """The documents whose trees stay, the one asked for last at the end."""

    def __init__(self) -> None:
        """Start with none."""
        self._kept: list[weakref.ref[Trees]] = []
        self._lock = threading.Lock()

    def put(self, trees: Trees) -> None:
        """Put a document at the end; the tree of the one that falls off is forgotten."""
        with self._lock:
            kept = [one for one in self._kept if one() not in (None, trees)]
            self._kept = [*kept, weakref.ref(trees)][-MAX_KEPT:]
            fallen = [one() for one in kept if one not in self._kept]
        for one in fallen:
            if one is not None:
                one.forget()


class Trees:
    """What is parsed of a document, and the edits since; `shelf`: beside which others its tree stays."""

    def __init__(self, language: str, shelf: Shelf | None = None) -> None:
        """Start with nothing parsed."""
        self.number = 0  # of edits so far: the version that a tree is for
        self.language, self._shelf = language, shelf
        self._latest: tuple[int, Tree] | None = None
        self._edits: list[TreeEdit] = []  # the last ones
        self._lock = threading.Lock()

    def edited(self, edit: TreeEdit) -> None:
        """Note an edit."""
        with self._lock:
            self.number += 1
            self._edits.append(edit)
            if len(self._edits) > MAX_EDITS:
                self._edits.clear()

    def replaced(self) -> None:
        """Note that the next tree has nothing to do with those before."""
        with self._lock:
            self.number += 1
            self._edits.clear()

    def forget(self) -> None:
        """Let go of the tree; the next one is made anew."""
        with self._lock:
            self._latest = None
            self._edits.clear()

    def tree(self, number: int, source: bytes) -> Tree | None:
        """Return the tree of the version that `source` is; None if it is too large or the language has no grammar."""
        if len(source) > MAX_PARSED_BYTES:
            return None
        if self._shelf is not None:
            self._shelf.put(self)
        latest, edits = self._since(number)
        if latest is not None and not edits:
            return latest
        if latest is not None:
            latest = latest.copy()
            for edit in edits:
                latest.edit(*edit)
        parsed = syntax.parse(self.language, source, latest)
        if parsed is not None:
            self._keep(number, parsed)
        return parsed

    def _since(self, number: int) -> tuple[Tree | None, list[TreeEdit]]:
        """Return a tree of this version or one before, and the edits between; None where they are not known."""
        with self._lock:
            first = self.number - len(self._edits)
            if self._latest is None or not first <= self._latest[0] <= number:
                return None, []
            return self._latest[1], self._edits[self._latest[0] - first : number - first]

    def _keep(self, number: int, tree: Tree) -> None:
        """Keep the tree of a version if it is the newest, and forget the edits before it."""
        with self._lock:
            if self._latest is None or self._latest[0] < number:
                self._latest = number, tree
                first = self.number - len(self._edits)
                del self._edits[: max(0, number - first)]
