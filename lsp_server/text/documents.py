"""Open documents: incremental text, and positions in the client's encoding.

Rule: only open, change and close mutate; all other code gets a frozen Snapshot, which costs nothing to take and is
parsed where its tree is first looked at. Offsets are code points of the text, columns are in the units negotiated with
the client. Any spelling of a document's URI finds it.

    documents = Documents("utf-16"); documents.open("file:///a.py", 1, "python", "x = 1"); documents.get("file:///a.py")
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import logging
import re
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from lsp_server.text import languages, magics, syntax
from lsp_server.text.languages import language_of
from lsp_server.text.lines import Edit, Lines, Point, count_chars, count_units, line_end, line_starts, moved_starts
from lsp_server.text.notebooks import Cells, Notebooks
from lsp_server.text.trees import Shelf, TreeEdit, Trees
from lsp_server.text.uris import is_of_notebook, key_of

if TYPE_CHECKING:
    from tree_sitter import Tree

logger = logging.getLogger(__name__)

MAX_CLOSED = 4  # documents remembered after they were closed
MAX_OPEN = 10_000  # documents, cells of notebooks among them; a client that opens more is in error, or means harm
MANY_EDITS = 20  # from here on one parse of all is quicker than an edited tree
MAX_OTHERS, MAX_OTHER_CHARS = 24, 1_000_000  # other documents that one may be completed from, and their size in all


@dataclass(frozen=True)
class Snapshot:
    """One version of one document: version `number` of its `trees`.

    `uri` is the key of an open document, `client_uri` its client's spelling, "" where that is the same. `is_cell`: of a
    notebook, where lines may be magics.
    """

    uri: str
    version: int
    text: str
    language: str
    lines: Sequence[int]
    encoding: str
    trees: Trees
    number: int = 0
    client_uri: str = ""
    is_cell: bool = False

    @cached_property
    def tree(self) -> Tree | None:
        """Return the tree, None where the language has no grammar; the first look parses, so not on the event loop."""
        source = self.text.encode()
        tree = self.trees.tree(self.number, source)
        code = self.code(source) if tree is not None and tree.root_node.has_error else source
        return tree if code is source else syntax.parse(self.language, code)  # anew, for a cell is short

    def code(self, source: bytes) -> bytes:
        """Return what a parser reads for a text of this document."""
        return magics.masked(source) if self.is_cell and languages.of(self.language).has_magics else source

    def without_trees(self) -> Snapshot:
        """Return the same without what was parsed of it, which takes more memory than the text."""
        return dataclasses.replace(self, trees=Trees(self.language), number=0)

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
    return Snapshot(uri, version, text, language, line_starts(text), encoding, Trees(language))


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

    is_cell = False  # of a notebook

    def __init__(self, uri: str, version: int, trees: Trees, text: str, encoding: str, max_bytes: int) -> None:
        """Take the text of `didOpen`; a text over `max_bytes` is not kept at all."""
        self.uri, self.client_uri = key_of(uri), uri
        self.version, self.language, self.max_bytes = version, trees.language, max_bytes
        self.last_use = 0  # the larger the later
        self._encoding = encoding
        self._trees = trees
        self._snapshot: weakref.ref[Snapshot] | None = None  # for as long as somebody has it: it may hold a tree
        self._replace(text)

    def _replace(self, text: str) -> None:
        """Take a whole new text."""
        self._text = without_surrogates(text)
        self._lines = line_starts(self._text)
        self._trees.replaced()
        self._check_size()

    def _check_size(self) -> None:
        """Drop a text that is over the limit: from here on only a whole new text brings the document back."""
        self.too_large = len(self._text) > self.max_bytes or len(self._text.encode()) > self.max_bytes
        if self.too_large:
            logger.info("a file over %d bytes gets no completions", self.max_bytes)
            self._text, self._lines, self._snapshot = "", [0], None
            self._trees.replaced()

    def limit(self, max_bytes: int) -> None:
        """Change the largest size; a text that was dropped stays away until it comes whole."""
        self.max_bytes = max_bytes
        if not self.too_large:
            self._check_size()

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
                text = without_surrogates(edit.text)
                rest.append(edit if text is edit.text else edit._replace(text=text))
        if rest and not self.too_large:
            self._apply(rest)
            self._check_size()

    def _apply(self, edits: list[Edit]) -> None:
        """Apply edits to the text; where they are many, in one go, and the next tree is made anew."""
        if len(edits) <= MANY_EDITS:
            for edit in edits:
                self._splice(edit)
            return
        lines = Lines(self._text, self._encoding)
        for edit in edits:
            lines.replace(edit)
        self._text, self._lines = str(lines), lines.starts
        self._trees.replaced()

    def _splice(self, edit: Edit) -> None:
        """Apply one edit to the text, and note it for the trees."""
        start, end = sorted((self._offset(edit.start), self._offset(edit.end)))
        self._trees.edited(self._tree_edit(start, self._text[start:end].encode(), edit.text.encode()))
        self._text = self._text[:start] + edit.text + self._text[end:]
        self._lines = moved_starts(self._lines, start, end, edit.text, self._text)

    def _tree_edit(self, start: int, old: bytes, new: bytes) -> TreeEdit:
        """Return what a tree of the text as it still is must be told, where `new` will stand there for `old`."""
        row_start = self._text.rfind("\n", 0, start) + 1
        row = self._text.count("\n", 0, start), len(self._text[row_start:start].encode())
        head = start if self._text.isascii() else len(self._text[:start].encode())
        ends = syntax.point(old, row), syntax.point(new, row)
        return TreeEdit(head, head + len(old), head + len(new), row, *ends)

    def _offset(self, point: Point) -> int:
        """Return the offset of a client position; one outside of the text is its beginning or its end."""
        line, column = max(point[0], 0), point[1]
        if line >= len(self._lines):
            return len(self._text)
        start = self._lines[line]
        return start + count_chars(self._text[start : line_end(self._text, start)], column, self._encoding)

    def snapshot(self) -> Snapshot:
        """Return this version; the same one until the next change, as long as somebody has it."""
        found = self._snapshot() if self._snapshot else None
        if found is None:
            where = self._lines, self._encoding, self._trees, self._trees.number, self.client_uri
            found = Snapshot(self.uri, self.version, self._text, self.language, *where, self.is_cell)
            self._snapshot = weakref.ref(found)
        return found


class Documents:
    """All open documents."""

    def __init__(self, encoding: str = "utf-16", max_bytes: int = 1_000_000) -> None:
        """Start with none; positions are in the encoding negotiated at `initialize`."""
        self.encoding, self.max_bytes = encoding, max_bytes
        self.notebooks = Notebooks()
        self._open: dict[str, Document] = {}
        self._closed: list[Snapshot] = []
        self._shelf = Shelf()
        self._uses = itertools.count(1)

    def limit(self, max_bytes: int) -> None:
        """Change the largest size of documents; the text of one that was too large has to be sent again."""
        self.max_bytes = max_bytes
        for document in self._open.values():
            document.limit(max_bytes)

    def open(self, uri: str, version: int, language_id: str, text: str, *, is_cell: bool = False) -> Document | None:
        """Take a document that the editor opened (again); None, and not taken, where MAX_OPEN others are open."""
        if len(self._open) >= MAX_OPEN and key_of(uri) not in self._open:
            return None
        trees = Trees(language_of(language_id, uri), self._shelf)
        document = Document(uri, version, trees, text, self.encoding, self.max_bytes)
        document.is_cell = is_cell or is_of_notebook(uri)
        document.last_use = next(self._uses)
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
            document.last_use = next(self._uses)

    def close(self, uri: str) -> None:
        """Forget a document, but for what the last few closed ones said."""
        document = self._open.pop(key_of(uri), None)
        if document is None:
            logger.warning("didClose for a document that is not open: ignored")
        elif not document.too_large and not document.is_cell:
            earlier = [one for one in self._closed if one.uri != document.uri]
            self._closed = [*earlier, document.snapshot().without_trees()][-MAX_CLOSED:]

    def others(self, uri: str, language: str) -> tuple[Snapshot, ...]:
        """Return other documents of a language, open or closed lately, in the order they were opened.

        Where they are many or large, only those that were opened or changed last. The cells of its own notebook are
        none: the model sees them in their places.
        """
        beside = {key_of(uri), *itertools.chain(*self.notebooks.around(uri, self._open))}
        opened = [one for one in self._open.values() if not one.too_large]
        known = {one.uri for one in opened}
        found = [(0, one) for one in self._closed if one.uri not in known]
        found += [(one.last_use, one.snapshot()) for one in opened]
        found = [(use, one) for use, one in found if one.uri not in beside and one.language == language]
        chosen: set[str] = set()
        n_chars = 0
        for _, one in sorted(found, key=lambda pair: -pair[0])[:MAX_OTHERS]:
            n_chars += len(one.text)
            if n_chars <= MAX_OTHER_CHARS or not chosen:
                chosen.add(one.uri)
        return tuple(one for _, one in found if one.uri in chosen)

    def cells(self, uri: str) -> Cells:
        """Return the other cells of a cell's notebook, those that are open."""
        parts = ([self._open.get(key) for key in keys] for keys in self.notebooks.around(uri, self._open))
        above, below = (tuple(one.snapshot() for one in part if one and not one.too_large) for part in parts)
        return Cells(above, below)

    def all(self) -> tuple[Document, ...]:
        """Return the open documents."""
        return tuple(self._open.values())

    def get(self, uri: str) -> Document | None:
        """Return an open document."""
        return self._open.get(key_of(uri))
