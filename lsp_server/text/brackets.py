"""Brackets and quotes of a stretch of code, read from its characters: for code that does not parse yet.

Rule: good enough for the statement around a cursor; strings and comments are skipped, nothing here raises. The tree
decides wherever it is sound; what a language calls a string or a comment is in its row of `languages.py`.

    still_open("foo(bar[1], 'x)'", "python")  ->  "("
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from lsp_server.text import languages

OPENERS = {"(": ")", "[": "]", "{": "}"}
CLOSERS = frozenset(OPENERS.values())


@functools.cache
def _tokens(language: str) -> re.Pattern[str]:
    """The pattern of a language's strings, comments and brackets; compiled when first needed."""
    lexis = languages.of(language).lexis
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
    long = next((quote for quote in languages.of(language).lexis.long_quotes if last.group().startswith(quote)), "")
    return long or last.group()[0]


def in_comment(line: str, language: str = "python") -> bool:
    """Tell whether a line's beginning ends inside a comment."""
    last = _last_token(line, language)
    leaders = (*languages.of(language).lexis.comments, "/*")
    if last is None or last.end() != len(line) or not last.group().startswith(leaders):
        return False
    return not (last.group().startswith("/*") and last.group().endswith("*/"))


def _last_token(code: str, language: str) -> re.Match[str] | None:
    """Return the last string, comment or bracket of `code`."""
    last = None
    for match in _tokens(language).finditer(code):
        last = match
    return last
