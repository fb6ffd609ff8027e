"""Lines of a text and places in them: where lines begin, columns in the client's units, edits and what they move.

Rule: lines end at LF, CRLF or CR as LSP says. What an edit costs depends on the lines it touches, not on the text: an
editor sends thousands in one message for "replace all".

    lines = Lines("x = 1", "utf-16"); lines.replace(Edit((0, 4), (0, 5), "3")); str(lines)
"""

from __future__ import annotations

import bisect
import io
import itertools
import operator
import re
from collections.abc import Sequence
from typing import NamedTuple

_LINE_END = re.compile(r"\r\n?|\n")
_UNIT_BYTES = {"utf-8": 1, "utf-16": 2, "utf-32": 4}
_CODECS = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}

Point = tuple[int, int]  # (line, column in client units)


class Edit(NamedTuple):
    """One content change of `didChange`: the range it replaces, and with what."""

    start: Point
    end: Point
    text: str


def line_starts(text: str) -> list[int]:
    """Return the offset where every line begins."""
    if "\r" in text:
        return [0, *(match.end() for match in _LINE_END.finditer(text))]
    lengths = itertools.accumulate(map(len, text.split("\n")))  # several times as fast
    return [0, *map(operator.add, lengths, range(1, text.count("\n") + 1))]


def line_end(text: str, offset: int) -> int:
    """Return the offset of the end of the line that holds `offset`, without its line break."""
    match = _LINE_END.search(text, offset)
    return match.start() if match else len(text)


def count_units(text: str, encoding: str) -> int:
    """Return the length of `text` in code units of the encoding."""
    if encoding == "utf-32" or text.isascii():
        return len(text)
    return len(text.encode(_CODECS[encoding])) // _UNIT_BYTES[encoding]


def count_chars(text: str, units: int, encoding: str) -> int:
    """Return how many whole characters of `text` fit into so many code units: none, or all, for numbers outside."""
    text = text[: max(units, 0)]  # a character has one unit at least
    if encoding == "utf-32" or text.isascii():
        return len(text)
    size = _UNIT_BYTES[encoding]
    return len(text.encode(_CODECS[encoding])[: units * size].decode(_CODECS[encoding], "ignore"))


def moved_starts(starts: Sequence[int], start: int, end: int, new: str, text: str) -> list[int]:
    """Return where the lines of `text` begin, of which `starts` was true before `new` replaced what was in a range."""
    first = max(bisect.bisect_right(starts, start) - 2, 0)  # a CR before the range may get its LF now
    new_end = start + len(new)
    found = _LINE_END.finditer(text, starts[first], new_end + 1)
    changed = [match.end() for match in found if match.end() <= new_end]
    shift = new_end - end
    return [*starts[: first + 1], *changed, *(old + shift for old in starts[bisect.bisect_right(starts, end) :])]


class Lines:
    """A text as the list of its lines, for many edits one after the other."""

    def __init__(self, text: str, encoding: str) -> None:
        """Take a text and the encoding of columns."""
        self._lines = _split(text)
        self._encoding = encoding

    def __str__(self) -> str:
        return "".join(self._lines)

    @property
    def starts(self) -> list[int]:
        """Return the offset where every line begins."""
        return [0, *itertools.accumulate(map(len, self._lines[:-1]))]

    def replace(self, edit: Edit) -> None:
        """Apply an edit."""
        (first, head), (last, tail) = sorted((self._place(edit.start), self._place(edit.end)))
        text = self._lines[first][:head] + edit.text + self._lines[last][tail:]
        if first > 0 and text.startswith("\n") and self._lines[first - 1].endswith("\r"):  # one line break now
            first -= 1
            text = self._lines[first] + text
        if first == last and not _LINE_END.search(edit.text):
            self._lines[first] = text
            return
        lines = _split(text)
        if last < len(self._lines) - 1:
            lines.pop()  # the last line alone has no line break
        self._lines[first : last + 1] = lines

    def _place(self, point: Point) -> tuple[int, int]:
        """Return the line and the character of a client position; one outside of the text is its beginning or end."""
        line, column = max(point[0], 0), point[1]
        if line >= len(self._lines):
            return len(self._lines) - 1, len(self._lines[-1])
        return line, count_chars(self._lines[line].rstrip("\r\n"), column, self._encoding)


def _split(text: str) -> list[str]:
    """Return the lines of a text, each with its line break; after the last line break there is one more."""
    lines = list(io.StringIO(text, newline=""))  # ends lines as LSP does, which str.splitlines does not
    return [*lines, ""] if not lines or lines[-1].endswith(("\n", "\r")) else lines
