"""A document as its editor has it: the text, and its edits in the words of LSP.

Rule: pure; positions are UTF-16 as most editors count. What the server must have is `digest()`.

    page = Page("file:///a.py", "python", "x = 1\n"); change = page.edit(4, 5, "2")
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

LINE_END = re.compile(r"\r\n|\n|\r")
Position = dict[str, int]


def units(text: str) -> int:
    """UTF-16 code units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


class Page:
    """One open document."""

    def __init__(self, uri: str, language: str, text: str) -> None:
        self.uri, self.language, self.original, self.text, self.version = uri, language, text, text, 1

    def item(self) -> dict[str, Any]:
        """What `didOpen` says of it."""
        return {"uri": self.uri, "languageId": self.language, "version": self.version, "text": self.text}

    def named(self) -> dict[str, Any]:
        """What `didChange` says of it; the next version."""
        self.version += 1
        return {"uri": self.uri, "version": self.version}

    def position(self, offset: int) -> Position:
        """The position of an offset, which must not be inside of a line end."""
        line, start = 0, 0
        for end in LINE_END.finditer(self.text, 0, offset):
            line, start = line + 1, end.end()
        return {"line": line, "character": units(self.text[start:offset])}

    def offset(self, position: Position) -> int:
        """The offset of a position."""
        ends = [0, *(end.end() for end in LINE_END.finditer(self.text))]
        start, rest = ends[position["line"]], position["character"]
        at = start
        while rest > 0:
            rest -= units(self.text[at])
            at += 1
        return at

    def edit(self, start: int, stop: int, new: str) -> dict[str, Any]:
        """Put a text in place of another; the change to send."""
        span = {"start": self.position(start), "end": self.position(stop)}
        self.text = self.text[:start] + new + self.text[stop:]
        return {"range": span, "text": new}

    def replace(self, text: str) -> dict[str, Any]:
        """Take a whole new text; the change to send."""
        self.text = text
        return {"text": text}

    def line_starts(self) -> list[int]:
        """Offsets at which lines begin."""
        return [0, *(end.end() for end in LINE_END.finditer(self.text))]

    def digest(self) -> str:
        """What the server says of the same text."""
        return hashlib.sha256(self.text.encode()).hexdigest()
