"""Syntax feedback: which parts of a candidate break code that parsed before.

Rule: pure; a Parser of its own for each call, so that the model thread can judge while the event loop parses. A file
that was broken before is not blamed on the candidate: it breaks the file if an error is at a place that had none
(it may mend one and bring another), or if there are more errors than before.

    broken_spans(snapshot, plan, "foo((")  ->  ((0, 5),)
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from diffusion.confidence import TELLING_CHARS, word_ends
from lsp_server.suggest.holes import Plan
from lsp_server.text import syntax
from lsp_server.text.documents import Snapshot

if TYPE_CHECKING:
    from tree_sitter import Node, Tree

MAX_TRIES = 8  # beginnings looked at of a text that breaks the file

Place = tuple[int, int]  # of an error, in bytes of the file
Spans = tuple[tuple[int, int], ...]
Fit = Callable[[str], str]


def broken_spans(snapshot: Snapshot, plan: Plan, text: str) -> Spans:
    """Spans of `text` (code points) under errors that the file does not have without it; () if it breaks nothing."""
    if snapshot.tree is None or not text:
        return ()
    start, stop = snapshot.byte_at(plan.start), snapshot.byte_at(plan.end)
    new = text.encode()
    tree = spliced(snapshot, start, stop, new)
    if tree is None:
        return ()
    before, behind = list(errors_of(snapshot.tree.root_node)), list(errors_of(tree.root_node))
    errors = brought(before, behind, start, stop, len(new)) or (behind if len(behind) > len(before) else [])
    if not errors:
        return ()
    end = start + len(new)
    inside = [(max(a, start) - start, min(b, end) - start) for a, b in errors if a <= end and b >= start]
    spans = [(chars(new, a), chars(new, b)) for a, b in inside if a < b]
    return tuple(sorted(set(spans))) or ((max(0, len(text) - 1), len(text)),)


def brought(old: list[Place], new: list[Place], start: int, stop: int, length: int) -> list[Place]:
    """The `new` errors that are not among the `old` ones, once `length` bytes stand in place of `start` to `stop`.

    An error is an old one if it begins where that did; outside of the insertion also if it touches that, because
    tree-sitter recovers from the same error in another way when something near it changes. What is only missing below
    an unfinished place, as the brace behind `if (a) {`, was to come before too.
    """
    end, shift = start + length, length - (stop - start)

    def moved(byte: int) -> Place:  # an error at the hole itself may now be before or after what fills it
        return (byte, byte) if byte < start else (byte + shift,) * 2 if byte > stop else (start, end)

    places = [(moved(a), moved(b)) for a, b in old]  # in order, and none in another
    begins = {byte for begin, _ in places for byte in begin}
    firsts = [begin[0] for begin, _ in places]
    unfinished = any(a <= stop and b >= start for a, b in old)

    def is_old(a: int, b: int) -> bool:
        if a in begins or (unfinished and a == b >= end):
            return True
        before = bisect_right(firsts, b)
        outside = b <= start or a >= end
        return outside and before > 0 and a <= places[before - 1][1][1]

    return [(a, b) for a, b in new if not is_old(a, b)]


def spliced(snapshot: Snapshot, start: int, stop: int, new: bytes) -> Tree | None:
    """The tree of the file with `new` in place of the bytes from `start` to `stop`."""
    source = snapshot.text.encode()
    changed = snapshot.code(source[:start] + new + source[stop:])
    if snapshot.is_cell:  # what is a magic may have changed anywhere
        return syntax.parse(snapshot.language, changed)
    old = snapshot.tree.copy()  # type: ignore[union-attr]
    old.edit(
        start_byte=start,
        old_end_byte=stop,
        new_end_byte=start + len(new),
        start_point=syntax.point(source[:start]),
        old_end_point=syntax.point(source[:stop]),
        new_end_point=syntax.point(changed[: start + len(new)]),
    )
    return syntax.parse(snapshot.language, changed, old)


def errors_of(root: Node) -> Iterator[Place]:
    """Byte ranges of the ERROR and MISSING nodes, the outermost of nested ones."""
    nodes = [root]
    while nodes:
        node = nodes.pop()
        if node.is_missing or node.type == "ERROR":
            yield node.start_byte, node.end_byte
        elif node.has_error:
            nodes.extend(reversed(node.children))


def chars(text: bytes, byte: int) -> int:
    """Code points in the first `byte` bytes."""
    return len(text[:byte].decode("utf-8", "ignore"))


def sound_part(snapshot: Snapshot, plan: Plan, text: str, fit: Fit, words: bool) -> str:
    """The longest beginning of a draft's `text`, in whole lines or words, that `fit` makes a text that breaks nothing.

    "" if none of the last few is one.
    """
    ends, least = (word_ends(text), TELLING_CHARS) if words else (line_ends(text), 1)
    for end in ends[-2 : -MAX_TRIES - 2 : -1]:
        part = text[:end].rstrip()
        fitted = fit(part) if len(re.findall(r"\w", part)) >= least else ""
        if fitted and not broken_spans(snapshot, plan, fitted):
            return fitted
    return ""


def line_ends(text: str) -> list[int]:
    """Where the lines of a text end; the last is the end of the text."""
    return [match.start() for match in re.finditer("\n", text)] + [len(text)]
