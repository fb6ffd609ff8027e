"""tree-sitter: parsing, and what a language's query says of the place at the cursor.

Rule: positions are UTF-8 bytes here, as in tree-sitter; callers convert. Broken code is normal, nothing here raises.
What differs between languages is in `languages.py` and in `queries/*.scm`, not in code.

    tree = parse("python", b"def f(:")
    spot_at(tree, "python", 6, 0).captures   # {"block": [<Node module>]}
"""

from __future__ import annotations

import functools
import importlib
import itertools
import logging
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lsp_server.text import languages

if TYPE_CHECKING:
    from tree_sitter import Node, Parser, Query, Tree

logger = logging.getLogger(__name__)

PIECE_BYTES = 4096  # of source, read by the parser at once
_WINDOWS: dict[tuple[int, int], bytearray] = {}  # by thread and size
AS_LETTERS = bytes(range(128)) + b"x" * 128  # a table for `bytes.translate`
MAX_DEPTH = 5_000  # no code that people write is so deep; some milliseconds


@functools.cache
def _grammar(language: str) -> tuple[Parser, Query] | None:
    """Return the parser and the query of a language, or None (said once in the log) where line rules must do."""
    row = languages.of(language)
    if not row.grammar:
        logger.info("no grammar for language %r: line rules are used", language)
        return None
    try:
        from tree_sitter import Language, Parser, Query

        grammar = Language(getattr(importlib.import_module(row.grammar), row.entry)())
        source = (Path(__file__).parent / "queries" / f"{row.query}.scm").read_text(encoding="utf-8")
        return Parser(grammar), Query(grammar, source)
    except Exception as error:  # a wheel that is missing, too new, or whose nodes have other names than the query
        logger.warning("grammar %s cannot be used (%s): line rules are used", row.grammar, error)
        return None


def parser_for(language: str) -> Parser | None:
    """Return the parser of a language, or None where line rules must do."""
    found = _grammar(language)
    return None if found is None else found[0]


def query_for(language: str) -> Query:
    """Return the query of a language that has a grammar."""
    found = _grammar(language)
    assert found is not None
    return found[1]


def new_parser(language: str) -> Parser:
    """Return a parser of one's own, for another thread; the language must have a grammar."""
    from tree_sitter import Parser

    shared = parser_for(language)
    assert shared is not None and shared.language is not None
    return Parser(shared.language)


def point(text: bytes, start: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """Return the tree-sitter point (row, byte column) of the end of a text that begins at `start`."""
    n_rows = text.count(b"\n")
    return start[0] + n_rows, len(text) - (text.rfind(b"\n") + 1) + (0 if n_rows else start[1])


def parse(language: str, source: bytes, old: Tree | None = None) -> Tree | None:
    """Parse UTF-8 source; `old` is the edited tree of the text before, which makes it incremental.

    tree-sitter holds the interpreter's lock and lets go of it only where it calls Python: it is given the source in
    pieces and reports its progress, so that other threads wait for some milliseconds and not for all of a long file.
    """
    if parser_for(language) is None:
        return None
    parser = new_parser(language)
    if languages.of(language).ascii_only:
        source = source.translate(AS_LETTERS)

    def read(byte: int, _: object) -> bytearray:
        return _window(source[byte : byte + _piece_bytes(len(source) - byte)])

    def is_enough(_: int, __: bool) -> bool:
        return False

    if old is None:
        return parser.parse(read, progress_callback=is_enough)
    return parser.parse(read, old, progress_callback=is_enough)


def _piece_bytes(rest: int) -> int:
    """Return how much of the rest of a source is read at once: one of a few sizes, and no part of a character alone."""
    return max(0, rest) if rest < 4 else min(PIECE_BYTES, 1 << (rest.bit_length() - 1))


def _window(piece: bytes) -> bytearray:
    """Return a piece in memory that is used again and again, by each thread its own.

    tree-sitter 0.26.1 never lets go of a piece: pieces of their own would be all of a file for every parse. It reads
    one at a time, and no node is asked for its text.
    """
    window = _WINDOWS.setdefault((threading.get_ident(), len(piece)), bytearray(len(piece)))
    window[:] = piece
    return window


class Spot(NamedTuple):
    """What a tree says of the cursor: the nodes that hold the byte before it, outermost first, and those captured."""

    path: list[Node]
    captures: dict[str, list[Node]]

    @property
    def is_cut(self) -> bool:
        """Whether the path may be deeper than it is followed."""
        return len(self.path) > MAX_DEPTH


def spot_at(tree: Tree, language: str, byte: int, word: int) -> Spot:
    """Look at the cursor at `byte`; the first word of its line begins at `word`."""
    path = path_to(tree, byte - 1) if byte > 0 else []
    found = captures([*path, *_beginning_at(tree, byte)], language)
    for name, words in captures(_beginning_at(tree, word), language).items():
        if name.endswith(".word"):
            found.setdefault(name.removesuffix(".word"), []).extend(words)
    return Spot(path, found)


def path_to(tree: Tree, byte: int) -> list[Node]:
    """Return the nodes that hold a byte, the root first, MAX_DEPTH levels below it at most.

    One walk down: `Node.parent` is a walk from the root too, so that climbing by it is quadratic in depth.
    """
    cursor, path = tree.walk(), [tree.root_node]
    while len(path) <= MAX_DEPTH and cursor.goto_first_child_for_byte(byte) is not None:
        node = cursor.node
        if node is None or node.start_byte > byte:
            break
        path.append(node)
    return path


def _beginning_at(tree: Tree, byte: int) -> list[Node]:
    """Return the nodes that begin at a byte, the outermost first."""
    return [node for node in path_to(tree, byte) if node.start_byte == byte]


def captures(nodes: Iterable[Node], language: str) -> dict[str, list[Node]]:
    """Return those of the nodes that a language's query captures, by capture name."""
    from tree_sitter import QueryCursor

    cursor = QueryCursor(query_for(language))
    cursor.set_max_start_depth(0)  # the node, nothing in it: a query of a whole tree is quadratic in its width
    found: dict[str, list[Node]] = {}
    for node in nodes:
        for name, captured in cursor.captures(node).items():
            found.setdefault(name, []).extend(captured)
    return found


def statement_start(spot: Spot) -> int | None:
    """Return the byte where the statement at the cursor begins; None where a new one begins."""
    blocks = {block.id for block in spot.captures.get("block", ())}
    if spot.path and spot.path[-1].id in blocks:
        return None
    for block, statement in reversed(list(itertools.pairwise(spot.path))):
        if block.id in blocks:
            is_opener = statement.start_byte == block.start_byte and not statement.is_named
            return None if is_opener else statement.start_byte
    return None
