"""Brackets and quotes of a stretch of code, read from its characters: for code that does not parse yet.

Rule: good enough for the statement around a cursor; strings and comments are skipped, nothing here raises. The tree
decides wherever it is sound; what a language calls a string or a comment is in its row of `languages.py`.

    still_open("foo(bar[1], 'x)'", "python")  ->  "("
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

from lsp_server.text import languages
from lsp_server.text.languages import Lexis

OPENERS = {"(": ")", "[": "]", "{": "}"}
CLOSERS = frozenset(OPENERS.values())


class Open(NamedTuple):
    """What a stretch of code ends in: "comment", "string", "code" in a string, or "" for code."""

    kind: str = ""
    quote: str = ""  # that would close the string
    start: int = 0


@functools.cache
def _tokens(language: str) -> re.Pattern[str]:
    """The pattern of a language's strings, comments and brackets; a group tells what is not closed."""
    lexis = languages.of(language).lexis
    kinds = [rf"{start}.*?(?:{end}|(?P<comment{n}>\Z))" for n, (start, end) in enumerate(lexis.block_comments)]
    before = r"(?<![^\s;&|(])" if lexis.spaced else ""
    kinds += [rf"{before}{re.escape(leader)}(?P<line{n}>)[^\n]*" for n, leader in enumerate(lexis.comments)]
    for number, (start, end) in enumerate(lexis.long_quotes):
        escaped, start, end = (r"\\(?:.|\Z)|" if start == end else ""), re.escape(start), re.escape(end)
        kinds.append(rf"{start}(?:{escaped}(?!{end}).)*(?:{end}|(?P<long{number}>))")
    for number, quote in enumerate(lexis.quotes):
        kinds.append(rf"{quote}(?:\\(?:.|\Z)|[^{quote}\\\n])*(?:{quote}|(?P<quote{number}>))")
    return re.compile("|".join((*kinds, r"(?P<bracket>[()\[\]{}])")), re.DOTALL)


def brackets(code: str, language: str = "python", start: int = 0) -> Iterator[tuple[int, str]]:
    """Yield the index and character of every bracket from `start` on outside strings and comments."""
    for match in _tokens(language).finditer(code, start):
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


def unclosed(code: str, language: str = "python") -> Open:
    """Return what `code` ends in."""
    last = _last_token(code, language)
    kind = (last.lastgroup or "") if last is not None and last.end() == len(code) else ""
    if last is None or kind in ("", "bracket"):
        return Open()
    if kind.startswith(("comment", "line")):
        return Open("comment", "", last.start())
    lexis = languages.of(language).lexis
    quote = lexis.long_quotes[int(kind[4:])][1] if kind.startswith("long") else lexis.quotes[int(kind[5:])]
    inner = _code_in_string(code, last.start(), lexis, language)
    if inner is None:
        return Open("string", quote, last.start())
    found = unclosed(code[inner:], language)
    return found._replace(kind=found.kind or "code", start=inner + found.start)


def _code_in_string(code: str, start: int, lexis: Lexis, language: str) -> int | None:
    """Return where the code begins that `code` ends in, inside the string at `start`; None if it ends in its text."""
    if lexis.code is None or not re.search(rf"(?:{lexis.code[0]})\Z", code[max(0, start - 3) : start + 1]):
        return None
    opener, place = re.compile(lexis.code[1]), start + 1
    while found := opener.search(code, place):
        place = found.end()
        if found.group() != "{{":
            end = _closed_at(code, place, language)
            if end is None:
                return place
            place = end
    return None


def _closed_at(code: str, start: int, language: str) -> int | None:
    """Return the end of the bracket that was opened before `start`; None if it is not closed."""
    depth = 1
    for at, char in brackets(code, language, start):
        depth += 1 if char in OPENERS else -1
        if not depth:
            return at + 1
    return None


def _last_token(code: str, language: str) -> re.Match[str] | None:
    """Return the last string, comment or bracket of `code`."""
    last = None
    for match in _tokens(language).finditer(code):
        last = match
    return last
