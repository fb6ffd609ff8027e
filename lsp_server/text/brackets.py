"""Brackets and quotes of a stretch of code, read from its characters: for code that does not parse yet.

Rule: good enough for the statement around a cursor; strings and comments are skipped, nothing here raises. The tree
decides wherever it is sound; what a language calls a string or a comment is one row of the table here.

    still_open("foo(bar[1], 'x)'", "python")  ->  "("
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

OPENERS = {"(": ")", "[": "]", "{": "}"}
CLOSERS = frozenset(OPENERS.values())


class Lexis(NamedTuple):
    """How a language writes comments and strings: leaders, and quotes of one line and of several."""

    comments: tuple[str, ...]
    quotes: str = "\"'"
    long_quotes: tuple[str, ...] = ()
    block_comments: bool = False  # /* ... */


_C = Lexis(("//",), block_comments=True)
LEXES = {
    "python": Lexis(("#",), long_quotes=('"""', "'''")),
    "ruby": Lexis(("#",)),
    "shellscript": Lexis(("#",)),
    "php": Lexis(("//", "#"), block_comments=True),
    "lua": Lexis(("--",)),
    "html": Lexis(()),
    "json": Lexis((), '"'),
    "css": Lexis((), block_comments=True),
    "rust": _C._replace(quotes='"'),  # a single quote begins a lifetime as well
    **dict.fromkeys(("javascript", "javascriptreact", "typescript"), _C._replace(long_quotes=("`",))),
    **dict.fromkeys(("typescriptreact", "go"), _C._replace(long_quotes=("`",))),
}


@functools.cache
def _tokens(language: str) -> re.Pattern[str]:
    """The pattern of a language's strings, comments and brackets; compiled when first needed."""
    lexis = LEXES.get(language, _C)
    kinds: list[str] = []
    for quote in lexis.long_quotes:
        kinds.append(rf"{quote}(?:\\.|[^\\])*?(?:{quote}|(?P<open{len(kinds)}>\Z))")
    for quote in lexis.quotes:
        kinds.append(rf"{quote}(?:\\.|[^{quote}\\\n])*(?:{quote}|(?P<open{len(kinds)}>))")
    if lexis.block_comments:
        kinds.append(rf"/\*.*?(?:\*/|(?P<open{len(kinds)}>\Z))")
    kinds += [rf"{re.escape(leader)}[^\n]*" for leader in lexis.comments]
    return re.compile("|".join((*kinds, r"(?P<bracket>[()\[\]{}])")), re.DOTALL)


def brackets(code: str, language: str = "python") -> Iterator[tuple[int, str]]:
    """Yield the index and character of every bracket outside strings and comments."""
    for match in _tokens(language).finditer(code):
        if match["bracket"]:
            yield match.start(), match["bracket"]


def still_open(code: str, language: str = "python") -> str:
    """Return the opening brackets that `code` leaves open, outermost first. A stray closer is skipped."""
    stack: list[str] = []
    for _, char in brackets(code, language):
        if char in OPENERS:
            stack.append(char)
        elif stack and OPENERS[stack[-1]] == char:
            stack.pop()
    return "".join(stack)


def surplus_closers(code: str, language: str = "python") -> str:
    """Return the closing brackets of `code` that nothing in it opens, in order."""
    depth, surplus = 0, []
    for _, char in brackets(code, language):
        if char in OPENERS:
            depth += 1
        elif depth:
            depth -= 1
        else:
            surplus.append(char)
    return "".join(surplus)


def open_quote(code: str, language: str = "python") -> str:
    """Return the quote of the string that `code` ends in without closing it; "" if it ends in none."""
    last = _last_token(code, language)
    if last is None or last.end() != len(code) or last["bracket"]:
        return ""
    unclosed = any(value is not None for name, value in last.groupdict().items() if name != "bracket")
    if not unclosed or last.group().startswith("/*"):
        return ""
    long = next((quote for quote in LEXES.get(language, _C).long_quotes if last.group().startswith(quote)), "")
    return long or last.group()[0]


def in_comment(line: str, language: str = "python") -> bool:
    """Tell whether a line's beginning ends inside a comment."""
    last = _last_token(line, language)
    leaders = (*LEXES.get(language, _C).comments, "/*")
    if last is None or last.end() != len(line) or not last.group().startswith(leaders):
        return False
    return not (last.group().startswith("/*") and last.group().endswith("*/"))


def _last_token(code: str, language: str) -> re.Match[str] | None:
    """Return the last string, comment or bracket of `code`."""
    last = None
    for match in _tokens(language).finditer(code):
        last = match
    return last
