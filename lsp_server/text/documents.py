"""Open documents: incremental text, incremental tree-sitter trees, and positions in the client's encoding.

Rule: only open, change and close mutate; all other code gets a frozen Snapshot. Offsets are code points of the text,
columns are in the units negotiated with the client. Any spelling of a document's URI finds it.

    documents = Documents("utf-16"); documents.open("file:///a.py", 1, "python", "x = 1"); documents.get("file:///a.py")
"""

from __future__ import annotations

import bisect
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lsp_server.text import syntax
from lsp_server.text.languages import language_of
from lsp_server.text.lines import Edit, Lines, Point, count_chars, count_units, line_end, line_starts, moved_starts
from lsp_server.text.uris import key_of

if TYPE_CHECKING:
    from tree_sitter import Tree

logger = logging.getLogger(__name__)

MAX_CLOSED = 4  # documents remembered after they were closed
MANY_EDITS = 20  # from here on one parse of all is quicker than an edited tree


@dataclass(frozen=True)
class Snapshot:
    """One version of one document. `tree` is None where the language has no grammar.

    `uri` is the key of an open document, `client_uri` its client's spelling, "" where that is the same.
    """

    uri: str
    version: int
    text: str
    language: str
    tree: Tree | None
    lines: Sequence[int]
    encoding: str = "utf-16"
    client_uri: str = ""

    def offset_at(self, line: int, column: int) -> int | None:
        """Return the offset of a client position; None below the last line; past a line's end is its end."""
        if not 0 <= line < len(self.lines):
            return None
        start = self.lines[line]
        return start + count_chars(self.text[start : self.line_end(start)], column, self.encoding)

    def point_at(self, offset: int) -> Point:
        """Return the client position of an offset."""
        line = bisect.bisect_right(self.lines, offset) - 1
        return line, count_units(self.text[self.lines[line] : offset], self.encoding)

    def line_start(self, offset: int) -> int:
        """Return the offset where the line that holds `offset` begins."""
        return self.lines[bisect.bisect_right(self.lines, offset) - 1]

    def line_end(self, offset: int) -> int:
        """Return the offset of the end of the line that holds `offset`, without its line break."""
        return line_end(self.text, offset)

    def byte_at(self, offset: int) -> int:
        """Return the UTF-8 byte of an offset, as tree-sitter counts."""
        return offset if self.text.isascii() else len(self.text[:offset].encode())

    def offset_of_byte(self, byte: int) -> int:
        """Return the offset of a UTF-8 byte."""
        return byte if self.text.isascii() else len(self.text.encode()[:byte].decode("utf-8", "ignore"))


def snapshot(uri: str, text: str, language: str, version: int = 0, encoding: str = "utf-16") -> Snapshot:
    """Return the Snapshot of a text that is not open in an editor (a file on disk, a test)."""
    text = without_surrogates(text)
    return Snapshot(uri, version, text, language, syntax.parse(language, text.encode()), line_starts(text), encoding)


def without_surrogates(text: str) -> str:
    """Replace lone surrogates, which JSON can carry but UTF-8 cannot, by U+FFFD (as long in every encoding)."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        return re.sub("[\ud800-\udfff]", "\ufffd", joined)


class Document:
    """The newest version of one open document."""

    def __init__(self, uri: str, version: int, language: str, text: str, encoding: str, max_bytes: int) -> None:
        """Take the text of `didOpen`; a text over `max_bytes` is not kept at all."""
        self.uri, self.client_uri = key_of(uri), uri
        self.version = version
        self.language = language
        self.max_bytes = max_bytes
        self._encoding = encoding
        self._snapshot: Snapshot | None = None
        self._replace(text)

    def _replace(self, text: str) -> None:
        """Take a whole new text."""
        self._text = without_surrogates(text)
        self._lines = line_starts(self._text)
        self._tree: Tree | None = None
        self._check_size()

    def _check_size(self) -> None:
        """Drop a text that is over the limit: from here on only a whole new text brings the document back."""
        self.too_large = len(self._text) > self.max_bytes or len(self._text.encode()) > self.max_bytes
        if self.too_large:
            logger.info("a file over %d bytes gets no completions", self.max_bytes)
            self._text, self._lines, self._tree, self._snapshot = "", [0], None, None

    def change(self, version: int, edits: Sequence[Edit | str]) -> None:
        """Apply the content changes of one `didChange`, in order; a plain string replaces everything."""
        self.version = version
        self._snapshot = None
        rest: list[Edit] = []
        for edit in edits:
            if isinstance(edit, str):  # what was before it is gone
                self._replace(edit)
                rest.clear()
            else:
                rest.append(edit._replace(text=without_surrogates(edit.text)))
        if rest and not self.too_large:
            self._apply(rest)
            self._check_size()

    def _apply(self, edits: list[Edit]) -> None:
        """Apply edits to the text; where they are many, in one go, and the tree is made anew."""
        if len(edits) <= MANY_EDITS:
            for edit in edits:
                self._splice(edit)
            return
        lines = Lines(self._text, self._encoding)
        for edit in edits:
            lines.replace(edit)
        self._text = str(lines)
        self._lines, self._tree = line_starts(self._text), None

    def _splice(self, edit: Edit) -> None:
        """Apply one edit to the text and tell the old tree where it was."""
        start, end = sorted((self._offset(edit.start), self._offset(edit.end)))
        if self._tree is not None:
            self._edit_tree(self._tree, start, self._text[start:end].encode(), edit.text.encode())
        self._text = self._text[:start] + edit.text + self._text[end:]
        self._lines = moved_starts(self._lines, start, end, edit.text, self._text)

    def _edit_tree(self, tree: Tree, start: int, old: bytes, new: bytes) -> None:
        """Tell the tree of the text as it still is that `new` will stand there for `old`."""
        row_start = self._text.rfind("\n", 0, start) + 1
        row = self._text.count("\n", 0, start), len(self._text[row_start:start].encode())
        head = start if self._text.isascii() else len(self._text[:start].encode())
        tree.edit(
            start_byte=head,
            old_end_byte=head + len(old),
            new_end_byte=head + len(new),
            start_point=row,
            old_end_point=syntax.point(old, row),
            new_end_point=syntax.point(new, row),
        )

    def _offset(self, point: Point) -> int:
        """Return the offset of a client position; one outside of the text is its beginning or its end."""
        line, column = max(point[0], 0), point[1]
        if line >= len(self._lines):
            return len(self._text)
        start = self._lines[line]
        return start + count_chars(self._text[start : line_end(self._text, start)], column, self._encoding)

    def unparsed(self) -> Snapshot:
        """Return this version without its tree: parsing a long file takes longer than a draft may wait."""
        lines = tuple(self._lines)
        return Snapshot(self.uri, self.version, self._text, self.language, None, lines, self._encoding, self.client_uri)

    def snapshot(self) -> Snapshot:
        """Return this version, parsed; parsing happens here, once per version that anyone asks for."""
        if self._snapshot is None:
            if not self.too_large:
                self._tree = syntax.parse(self.language, self._text.encode(), self._tree)
            self._snapshot = Snapshot(
                self.uri,
                self.version,
                self._text,
                self.language,
                self._tree.copy() if self._tree is not None else None,  # `edit` must not reach a snapshot's tree
                tuple(self._lines),
                self._encoding,
                self.client_uri,
            )
        return self._snapshot


class Documents:
    """All open documents."""

    def __init__(self, encoding: str = "utf-16", max_bytes: int = 1_000_000) -> None:
        """Start with none; positions are in the encoding negotiated at `initialize`."""
        self.encoding = encoding
        self.max_bytes = max_bytes
        self._open: dict[str, Document] = {}
        self._closed: list[Snapshot] = []

    def open(self, uri: str, version: int, language_id: str, text: str) -> Document:
        """Take a document that the editor opened (again)."""
        language = language_of(language_id, uri)
        document = Document(uri, version, language, text, self.encoding, self.max_bytes)
        self._open[document.uri] = document
        return document

    def change(self, uri: str, version: int, edits: Sequence[Edit | str]) -> None:
        """Apply a `didChange`; one for an unknown document or an older version is logged and ignored."""
        document = self.get(uri)
        if document is None:
            logger.warning("didChange for a document that is not open: ignored")
        elif version < document.version:
            logger.warning("didChange for version %d, but version %d is known: ignored", version, document.version)
        else:
            document.change(version, edits)

    def close(self, uri: str) -> None:
        """Forget a document, but for what the last few closed ones said."""
        document = self._open.pop(key_of(uri), None)
        if document is None:
            logger.warning("didClose for a document that is not open: ignored")
        elif not document.too_large:
            earlier = [one for one in self._closed if one.uri != document.uri]
            self._closed = [*earlier, document.unparsed()][-MAX_CLOSED:]

    def others(self, uri: str, language: str) -> list[Snapshot]:
        """Return the other documents of a language, open or closed lately, without their trees."""
        key = key_of(uri)
        now = [one.unparsed() for one in self._open.values() if not one.too_large]
        known = {one.uri for one in now}
        every = [*(one for one in self._closed if one.uri not in known), *now]
        return [one for one in every if one.uri != key and one.language == language]

    def get(self, uri: str) -> Document | None:
        """Return an open document."""
        return self._open.get(key_of(uri))
