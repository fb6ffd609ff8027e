"""The hole at the cursor: what to fill, what it replaces to the right, one line or several, how large a canvas.

Rule: for a language with a grammar the tree decides; for others line rules do. None means: offer nothing here.

    plan = plan_at(snapshot, offset)   # Plan(start, end, hole=Hole(max_tokens=32), statement=...)
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from diffusion.request import Hole
from lsp_server import syntax
from lsp_server.brackets import CLOSERS, in_string, still_open
from lsp_server.documents import Snapshot

if TYPE_CHECKING:
    from tree_sitter import Node

logger = logging.getLogger(__name__)

WITHIN_LINE_TOKENS, LINE_TOKENS, BLOCK_TOKENS = 16, 32, 64
_STATEMENT_CHARS = 4000  # how far back an unfinished statement is read


class Plan(NamedTuple):
    """A hole at `start`; the item replaces text[start:end], which never leaves the line.

    `statement` is where the statement around the hole begins.
    """

    start: int
    end: int
    hole: Hole
    statement: int


def plan_at(snapshot: Snapshot, offset: int, *, multiline: bool = True, max_tokens: int = 64) -> Plan | None:
    """Return the plan for a cursor, or None where nothing should be offered."""
    if not snapshot.text.strip():
        return None  # an empty file: nothing to go by
    if snapshot.tree is not None and in_string_or_comment(snapshot, offset):
        return None
    statement = statement_start(snapshot, offset)
    open_brackets = still_open(snapshot.text[statement:offset])
    end = replaced_end(snapshot, offset, len(open_brackets))
    left = snapshot.text[snapshot.line_start(offset) : offset]
    right = snapshot.text[end : snapshot.line_end(offset)]
    blank = not left.strip() and not right.strip()
    if blank and multiline and snapshot.tree is not None and not open_brackets:
        return Plan(offset, end, Hole(min(BLOCK_TOKENS, max_tokens), multiline=True), statement)
    tokens = WITHIN_LINE_TOKENS if right.strip() else LINE_TOKENS
    return Plan(offset, end, Hole(min(tokens, max_tokens)), statement)


def in_string_or_comment(snapshot: Snapshot, offset: int) -> bool:
    """Tell whether the cursor is inside a string (not in an f-string's braces) or a comment."""
    assert snapshot.tree is not None
    byte = snapshot.byte_at(offset)
    node = syntax.ancestor(syntax.leaf_before(snapshot.tree, byte), "comment", "interpolation", "string")
    if node is not None and node.type == "comment":
        return True
    if node is not None and node.type == "string":
        closed = any(child.type == "string_end" and not child.is_missing for child in node.children)
        return byte < node.end_byte or not closed
    if node is not None:
        return False
    return in_string(snapshot.text[snapshot.line_start(offset) : offset]) and not _quote_is_elsewhere(snapshot, byte)


def _quote_is_elsewhere(snapshot: Snapshot, byte: int) -> bool:
    """Tell whether the tree is sure that the code before the cursor is sound, whatever its line's quotes look like."""
    assert snapshot.tree is not None
    leaf = syntax.leaf_before(snapshot.tree, byte)
    return leaf is not None and syntax.ancestor(leaf, "ERROR") is None and not _near_error(leaf)


def _near_error(node: Node) -> bool:
    """Tell whether the statement around `node` holds an error."""
    while node.parent is not None and node.parent.type not in ("module", "block"):
        node = node.parent
    return bool(node.has_error)


def statement_start(snapshot: Snapshot, offset: int) -> int:
    """Return where the statement around the cursor begins: by the tree, else its line."""
    line = snapshot.line_start(offset)
    if snapshot.tree is None:
        return line
    leaf = syntax.leaf_before(snapshot.tree, snapshot.byte_at(offset))
    if leaf is None or (leaf.type in ("module", "block") and not leaf.has_error):
        return line
    byte = syntax.statement_start(leaf)
    if byte is None:
        return line
    start = len(snapshot.text.encode()[:byte].decode())
    return max(min(start, line), offset - _STATEMENT_CHARS)


def replaced_end(snapshot: Snapshot, offset: int, n_open: int) -> int:
    """Return the end of what an item replaces: the rest of an identifier, then closers that end the line."""
    end = identifier_end(snapshot, offset)
    rest = snapshot.text[end : snapshot.line_end(offset)].rstrip()
    if rest and len(rest) <= n_open and all(char in CLOSERS for char in rest):
        return end + len(rest)
    return end


def identifier_end(snapshot: Snapshot, offset: int) -> int:
    """Return the end of the identifier that the cursor stands inside, or the cursor."""
    text = snapshot.text
    if snapshot.tree is not None:
        leaf = syntax.leaf_after(snapshot.tree, byte := snapshot.byte_at(offset))
        inside = leaf is not None and not leaf.children and leaf.start_byte < byte < leaf.end_byte
        if leaf is None or not inside or not (text[offset].isalnum() or text[offset] == "_"):
            return offset
        return offset + len(text.encode()[byte : leaf.end_byte].decode())
    end = offset
    if offset and (text[offset - 1].isalnum() or text[offset - 1] == "_"):
        while end < len(text) and (text[end].isalnum() or text[end] == "_"):
            end += 1
    return end
