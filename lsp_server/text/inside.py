"""What kind of text the cursor is in: code, a comment or a string.

Rule: the tree decides where it is sound around the cursor; where it is not, and a comment or string is not closed yet,
the characters before the cursor do. Code in a string (an f-string's `{...}`) is code, a docstring is a comment.

    where_is(snapshot, offset)   # "code", "comment" or "string"
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from lsp_server.text import languages, syntax
from lsp_server.text.brackets import Open, still_open, unclosed
from lsp_server.text.documents import Snapshot
from lsp_server.text.syntax import Spot

if TYPE_CHECKING:
    from tree_sitter import Node

SCAN_CHARS = 50_000  # before the cursor, read where the tree is not sound: some milliseconds
_STATEMENT_CHARS = 4000
_ALONE = re.compile(r"[ \t]*[bBfFrRuU]{0,2}")  # before the quote of a string that begins its line
_QUOTES = "\"'`"
_PREFIX, _PREFIX_CHARS = re.compile(r"[\w@$]*"), 4  # of a string, before its quote


class Inside(NamedTuple):
    """What the cursor is in: "comment", "string", "text" (between the tags of markup) or "", and a string's quote."""

    kind: str = ""
    quote: str = ""
    is_docstring: bool = False


def where_is(snapshot: Snapshot, offset: int) -> str:
    """Return what the text at the cursor is: "code", "comment" (a docstring too) or "string"."""
    found = inside_at(snapshot, offset)
    if found.is_docstring:
        return "comment"
    return found.kind if found.kind in ("comment", "string") else "code"


def inside_at(snapshot: Snapshot, offset: int, spot: Spot | None = None) -> Inside:
    """Return what the cursor is in; `spot` is what the tree says there, where that is known already."""
    if snapshot.tree is None:
        left = snapshot.text[snapshot.line_start(offset) : offset]
        is_known = snapshot.language in languages.BY_ID
        return Inside("comment" if is_known and unclosed(left, snapshot.language).kind == "comment" else "")
    byte = snapshot.byte_at(offset)
    spot = spot or syntax.spot_at(snapshot.tree, snapshot.language, byte, byte)
    cursor = _Cursor(snapshot, offset, byte, spot)
    return _in_broken_code(cursor) if cursor.is_broken else _in_sound_code(cursor)


class _Cursor(NamedTuple):
    """The cursor, and what the tree says there."""

    snapshot: Snapshot
    offset: int
    byte: int
    spot: Spot

    @property
    def is_broken(self) -> bool:
        """Whether there is an error anywhere, or text that the grammar does not look into.

        A quote that is not closed is an error somewhere above, and what follows it may be sound to the tree.
        """
        has_error = any(node.has_error for node in self.spot.path[:1])
        return has_error or self.spot.is_cut or "opaque" in self.spot.captures

    @property
    def code(self) -> int:
        """Where the innermost code in a string begins that the cursor is in, -1 if there is none."""
        found = self.spot.captures
        around = [node for node in found.get("code", ()) if node.end_byte > self.byte]
        around += [node for node in found.get("code.bare", ()) if node.end_byte >= self.byte]  # nothing closes it
        around += [node for node in found.get("code.whole", ()) if node.end_byte > self.byte and not node.has_error]
        return max((node.start_byte for node in around if node.start_byte < self.byte), default=-1)

    def nodes(self) -> Iterator[tuple[str, Node, Open]]:
        """Yield the comments, strings and texts that begin before the cursor and behind the code it is in.

        With each comes what its text ends in at the cursor.
        """
        code, text = self.code, self.snapshot.code(self.snapshot.text.encode())
        for kind in ("comment", "string", "text"):
            for node in self.spot.captures.get(kind, ()):
                if code < node.start_byte < self.byte <= node.end_byte:
                    head = text[node.start_byte : min(self.byte, node.start_byte + SCAN_CHARS)]
                    yield kind, node, _ends_in(head.decode("utf-8", "replace"), self.snapshot.language)


def _ends_in(head: str, language: str) -> Open:
    """Return what the beginning of a comment or string ends in; a quote must be the one that it begins with."""
    found, prefix = unclosed(head, language), _PREFIX.match(head)
    assert prefix is not None
    if found.kind == "string" and (found.start <= prefix.end() or head.startswith(found.quote, prefix.end())):
        return found
    first = head[prefix.end() : prefix.end() + 1]
    return found._replace(quote=first if first in _QUOTES else "")


def _in_sound_code(cursor: _Cursor) -> Inside:
    """Return what the cursor is in where the tree is right; a line comment goes on at its end."""
    for kind, node, found in cursor.nodes():
        if cursor.byte < node.end_byte or kind == "text" or (kind == "comment" and found.kind == "comment"):
            docstrings = [one.start_byte for one in cursor.spot.captures.get("docstring", ())]
            return Inside(kind, found.quote, node.start_byte in docstrings)
    return Inside()


def _in_broken_code(cursor: _Cursor) -> Inside:
    """Return what the cursor is in where code is unfinished: a node of the tree, or what is not closed before it.

    What is not closed is an error, and no string or comment, to the tree; and what is in it may be anything to it.
    """
    for kind, node, found in cursor.nodes():
        start, is_at_end = _start(cursor.snapshot, node), cursor.byte == node.end_byte
        outer = _scanned(cursor) if kind != "text" else Open()
        if outer.kind in ("comment", "string") and outer.start < start:
            return _described(cursor, outer)
        if kind == "string" and (found.kind == "code" or (is_at_end and not (node.has_error and found.kind))):
            return Inside()
        if kind == "text" or not is_at_end or found.kind == kind:
            return _described(cursor, Open(kind, found.quote, start))
    return _described(cursor, _scanned(cursor)) if cursor.code < 0 else Inside()


def _scanned(cursor: _Cursor) -> Open:
    """Return what the characters before the cursor end in: those of the file or, where that misleads, of the line.

    Where the tree sees sound code, a regular expression say, nothing was opened.
    """
    text, line = cursor.snapshot.text, cursor.snapshot.line_start(cursor.offset)
    for begin in (0 if cursor.offset <= SCAN_CHARS else line, line):
        found = unclosed(text[begin : cursor.offset], cursor.snapshot.language)
        found = found._replace(start=begin + found.start)
        if not found.kind or not _is_no_opener(cursor, found.start):
            return found
    return Open()


def _is_no_opener(cursor: _Cursor, offset: int) -> bool:
    """Tell whether a character opens nothing, to the tree: it is amid a token, or in sound code before the cursor.

    A string's prefix may stand before it; a token that the grammar does not look into does not count.
    """
    snapshot, byte = cursor.snapshot, cursor.snapshot.byte_at(offset)
    assert snapshot.tree is not None
    path = syntax.path_to(snapshot.tree, byte)
    before = [node for node in path if not _is_prefix(snapshot.text, node.start_byte - byte, offset)]
    opaque = {node.id for node in cursor.spot.captures.get("opaque", ())}
    if not opaque and any(node.end_byte <= cursor.byte and not node.has_error for node in before):
        return True
    token = path[-1]
    return token in before and not token.child_count and token.type != "ERROR" and token.id not in opaque


def _is_prefix(text: str, start: int, offset: int) -> bool:
    """Tell whether the bytes from `start`, counted from an offset, to the offset are a string's prefix, or none."""
    return -_PREFIX_CHARS <= start and bool(_PREFIX.fullmatch(text[offset + start : offset]))


def _start(snapshot: Snapshot, node: Node) -> int:
    """Return the offset where a node begins."""
    return snapshot.offset_of_byte(node.start_byte)


def _described(cursor: _Cursor, found: Open) -> Inside:
    """Return what was found in broken code; a string is a docstring if it looks like one."""
    kind = "" if found.kind == "code" else found.kind
    if kind != "string" or not languages.of(cursor.snapshot.language).has_docstrings:
        return Inside(kind, found.quote)
    before = cursor.snapshot.text[max(0, found.start - _STATEMENT_CHARS) : found.start]
    above, _, left = before.rpartition("\n")
    above = above.rstrip()
    if not _ALONE.fullmatch(left):
        return Inside(kind, found.quote)
    is_statement = len(found.quote) == 3 and not still_open(above, cursor.snapshot.language)
    return Inside(kind, found.quote, is_statement or not above or above.endswith(":"))
