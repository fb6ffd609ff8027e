"""tree-sitter: the table of grammars, parsing, and what a language's query says of the place at the cursor.

Rule: positions are UTF-8 bytes here, as in tree-sitter; callers convert. Broken code is normal, nothing here raises.
What differs between languages is in `queries/*.scm`, not in code.

    tree = parse("python", b"def f(:")
    captures(tree, "python", 6, 0)   # {"block": [<Node module>]}
"""

from __future__ import annotations

import functools
import importlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node, Parser, Query, Tree

logger = logging.getLogger(__name__)

# LSP language id -> (grammar module, the function in it that returns the language, the query's name)
GRAMMARS = {
    "python": ("tree_sitter_python", "language", "python"),
    "javascript": ("tree_sitter_javascript", "language", "javascript"),
    "javascriptreact": ("tree_sitter_javascript", "language", "javascript"),
    "typescript": ("tree_sitter_typescript", "language_typescript", "typescript"),
    "typescriptreact": ("tree_sitter_typescript", "language_tsx", "typescript"),
    "go": ("tree_sitter_go", "language", "go"),
    "rust": ("tree_sitter_rust", "language", "rust"),
    "c": ("tree_sitter_c", "language", "c"),
    "cpp": ("tree_sitter_cpp", "language", "cpp"),
    "java": ("tree_sitter_java", "language", "java"),
    "csharp": ("tree_sitter_c_sharp", "language", "csharp"),
    "ruby": ("tree_sitter_ruby", "language", "ruby"),
    "php": ("tree_sitter_php", "language_php", "php"),
    "shellscript": ("tree_sitter_bash", "language", "shellscript"),
    "lua": ("tree_sitter_lua", "language", "lua"),
    "html": ("tree_sitter_html", "language", "html"),
    "css": ("tree_sitter_css", "language", "css"),
    "json": ("tree_sitter_json", "language", "json"),
    "jsonc": ("tree_sitter_json", "language", "json"),
}

# Names that editors use for the same languages
ALIASES = {
    "bash": "shellscript", "sh": "shellscript", "cs": "csharp", "c++": "cpp", "objc": "c", "golang": "go",
    "js": "javascript", "ts": "typescript", "tsx": "typescriptreact", "jsx": "javascriptreact", "typescript.tsx":
    "typescriptreact", "javascript.jsx": "javascriptreact", "rs": "rust", "rb": "ruby", "py": "python",
}  # fmt: skip

EXTENSIONS = {
    ".py": "python", ".pyi": "python", ".pyw": "python", ".js": "javascript", ".mjs": "javascript",
    ".cjs": "javascript", ".jsx": "javascriptreact", ".ts": "typescript", ".mts": "typescript", ".cts": "typescript",
    ".tsx": "typescriptreact", ".go": "go", ".rs": "rust", ".c": "c", ".h": "c", ".cc": "cpp", ".cpp": "cpp",
    ".cxx": "cpp", ".hpp": "cpp", ".hh": "cpp", ".cu": "cpp", ".cuh": "cpp", ".java": "java", ".cs": "csharp",
    ".rb": "ruby", ".rake": "ruby", ".php": "php", ".sh": "shellscript", ".bash": "shellscript", ".lua": "lua",
    ".html": "html", ".htm": "html", ".css": "css", ".json": "json", ".jsonc": "jsonc",
}  # fmt: skip


def language_of(language_id: str, uri: str) -> str:
    """Return the language id, from the file name where the editor gave none."""
    if language_id and language_id != "plaintext":
        return ALIASES.get(language_id.lower(), language_id)
    name = uri.rsplit("/", 1)[-1]
    return EXTENSIONS.get("." + name.rsplit(".", 1)[-1].lower(), language_id) if "." in name else language_id


@functools.cache
def parser_for(language: str) -> Parser | None:
    """Return the parser of a language, or None (said once in the log) where line rules must do."""
    if language not in GRAMMARS:
        logger.info("no grammar for language %r: line rules are used", language)
        return None
    module, function, _ = GRAMMARS[language]
    try:
        from tree_sitter import Language, Parser

        return Parser(Language(getattr(importlib.import_module(module), function)()))
    except Exception as error:  # a missing or too new grammar wheel must not stop the server
        logger.warning("grammar %s cannot be used (%s): line rules are used", module, error)
        return None


@functools.cache
def query_for(language: str) -> Query:
    """Return the query of a language that has a grammar."""
    from tree_sitter import Query

    source = Path(__file__).parent / "queries" / f"{GRAMMARS[language][2]}.scm"
    parser = parser_for(language)
    assert parser is not None and parser.language is not None
    query: Query = Query(parser.language, source.read_text(encoding="utf-8"))
    return query


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


def captures(tree: Tree, language: str, byte: int, word: int) -> dict[str, list[Node]]:
    """Return the captured nodes that touch the cursor at `byte`, by capture name, the outermost first.

    Of captures named `*.word` those that begin at `word`, where the cursor's line begins.
    """
    from tree_sitter import QueryCursor

    cursor = QueryCursor(query_for(language))
    cursor.set_byte_range(min(word, max(0, byte - 1)), byte + 1)
    found: dict[str, list[Node]] = {}
    for name, nodes in cursor.captures(tree.root_node).items():
        wanted = [
            node
            for node in nodes
            if (node.start_byte == word if name.endswith(".word") else node.start_byte <= byte <= node.end_byte)
        ]
        found.setdefault(name.removesuffix(".word"), []).extend(sorted(wanted, key=_outermost_first))
    return found


def _outermost_first(node: Node) -> tuple[int, int]:
    """Sort nodes that all touch one place."""
    return node.start_byte, -node.end_byte


def leaf_before(tree: Tree, byte: int) -> Node | None:
    """Return the smallest node that holds the byte just before the cursor."""
    return tree.root_node.descendant_for_byte_range(byte - 1, byte) if byte > 0 else None


def leaf_after(tree: Tree, byte: int) -> Node | None:
    """Return the smallest node that holds the byte just after the cursor."""
    return tree.root_node.descendant_for_byte_range(byte, byte + 1)


def statement_start(leaf: Node | None, blocks: list[Node]) -> int | None:
    """Return the byte where the statement around `leaf` begins; None where a new one begins.

    `blocks` are the nodes around the cursor whose children are statements.
    """
    known = {block.id for block in blocks}
    if leaf is None or (leaf.id in known and not (leaf.has_error and leaf.parent is None)):
        return None
    while leaf.parent is not None:
        if leaf.parent.id in known:
            opener = leaf.start_byte == leaf.parent.start_byte and not leaf.is_named
            return None if opener else int(leaf.start_byte)
        leaf = leaf.parent
    return None
