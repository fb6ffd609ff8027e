"""tree-sitter: the table of grammars, parsing, and the node at the cursor.

Rule: positions are UTF-8 bytes here, as in tree-sitter; callers convert. Broken code is normal, nothing here raises.

    tree = parse("python", b"def f(:")
    leaf = leaf_before(tree, 6)
"""

from __future__ import annotations

import functools
import importlib
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node, Parser, Tree

logger = logging.getLogger(__name__)

# LSP language id -> (grammar module, the function in it that returns the language)
GRAMMARS = {"python": ("tree_sitter_python", "language")}

EXTENSIONS = {".py": "python", ".pyi": "python", ".pyw": "python"}


def language_of(language_id: str, uri: str) -> str:
    """Return the language id, from the file name where the editor gave none."""
    if language_id and language_id != "plaintext":
        return language_id
    name = uri.rsplit("/", 1)[-1]
    return EXTENSIONS.get("." + name.rsplit(".", 1)[-1].lower(), language_id) if "." in name else language_id


@functools.cache
def parser_for(language: str) -> Parser | None:
    """Return the parser of a language, or None (said once in the log) where line rules must do."""
    if language not in GRAMMARS:
        logger.info("no grammar for language %r: line rules are used", language)
        return None
    module, function = GRAMMARS[language]
    try:
        from tree_sitter import Language, Parser

        return Parser(Language(getattr(importlib.import_module(module), function)()))
    except Exception as error:  # a missing or too new grammar wheel must not stop the server
        logger.warning("grammar %s cannot be used (%s): line rules are used", module, error)
        return None


def new_parser(language: str) -> Parser:
    """Return a parser of one's own, for another thread; the language must have a grammar."""
    from tree_sitter import Parser

    shared = parser_for(language)
    assert shared is not None and shared.language is not None
    return Parser(shared.language)


def point(head: bytes) -> tuple[int, int]:
    """Return the tree-sitter point (row, byte column) of the end of `head`."""
    return head.count(b"\n"), len(head) - (head.rfind(b"\n") + 1)


def parse(language: str, source: bytes, old: Tree | None = None) -> Tree | None:
    """Parse UTF-8 source; `old` is the edited tree of the text before, which makes it incremental."""
    parser = parser_for(language)
    if parser is None:
        return None
    return parser.parse(source, old) if old is not None else parser.parse(source)


def leaf_before(tree: Tree, byte: int) -> Node | None:
    """Return the smallest node that holds the byte just before the cursor."""
    return tree.root_node.descendant_for_byte_range(byte - 1, byte) if byte > 0 else None


def leaf_after(tree: Tree, byte: int) -> Node | None:
    """Return the smallest node that holds the byte just after the cursor."""
    return tree.root_node.descendant_for_byte_range(byte, byte + 1)


def ancestor(node: Node | None, *kinds: str) -> Node | None:
    """Return the nearest of `node` and its ancestors that is of one of these kinds."""
    while node is not None and node.type not in kinds:
        node = node.parent
    return node


def statement_start(node: Node | None) -> int | None:
    """Return the byte where the statement around `node` begins, or None at the top of the file."""
    while node is not None and node.parent is not None:
        if node.parent.type in ("module", "block"):
            return int(node.start_byte)
        node = node.parent
    return None
