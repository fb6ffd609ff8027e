"""The grammars that training and evaluation cut files with, by file name.

Rule: Python, JavaScript and TypeScript only, told by the suffix.

    language_of("a.tsx"), parse("a.py", b"x = 1").root_node
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import PurePath

import tree_sitter

# Suffix -> (language, grammar's module, the function in it)
SUFFIXES = {
    ".py": ("python", "tree_sitter_python", "language"),
    **dict.fromkeys((".js", ".mjs", ".cjs", ".jsx"), ("javascript", "tree_sitter_javascript", "language")),
    **dict.fromkeys((".ts", ".mts", ".cts"), ("typescript", "tree_sitter_typescript", "language_typescript")),
    ".tsx": ("typescript", "tree_sitter_typescript", "language_tsx"),
}


def language_of(name: str) -> str:
    """The language of a file, "" if its suffix is none of ours."""
    return SUFFIXES.get(PurePath(name).suffix, ("",))[0]


@cache
def grammar(suffix: str) -> tree_sitter.Language:
    """The grammar for a suffix."""
    _, module, function = SUFFIXES[suffix]
    return tree_sitter.Language(getattr(importlib.import_module(module), function)())


@cache
def parser(suffix: str) -> tree_sitter.Parser:
    """One parser a process."""
    return tree_sitter.Parser(grammar(suffix))


@cache
def query(suffix: str, source: str) -> tree_sitter.Query:
    """A query for the grammar of a suffix."""
    made: tree_sitter.Query = tree_sitter.Query(grammar(suffix), source)
    return made


def parse(name: str, code: bytes) -> tree_sitter.Tree:
    """The tree of a file's code."""
    return parser(PurePath(name).suffix).parse(code)
