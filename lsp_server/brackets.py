"""Brackets and quotes of a stretch of code, read from its characters: for code that does not parse yet.

Rule: good enough for the statement around a cursor; strings and comments are skipped, nothing here raises.

    still_open("foo(bar[1], 'x)'")  ->  "("
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

OPENERS = {"(": ")", "[": "]", "{": "}"}
CLOSERS = frozenset(OPENERS.values())

_TOKEN = (
    r'''"""(?:\\.|[^\\])*?(?P<end3d>"""|\Z)|\'\'\'(?:\\.|[^\\])*?(?P<end3s>\'\'\'|\Z)'''
    r"""|"(?:\\.|[^"\\\n])*(?P<endd>"?)|'(?:\\.|[^'\\\n])*(?P<ends>'?)"""
    r"""|(?P<comment>\#[^\n]*)|(?P<bracket>[()\[\]{}])"""
)


@functools.cache
def _token() -> re.Pattern[str]:
    """Compile the pattern when it is first needed: `initialize` is answered before that."""
    return re.compile(_TOKEN, re.DOTALL)


def brackets(code: str) -> Iterator[tuple[int, str]]:
    """Yield the index and character of every bracket outside strings and comments."""
    for match in _token().finditer(code):
        if match["bracket"]:
            yield match.start(), match["bracket"]


def still_open(code: str) -> str:
    """Return the opening brackets that `code` leaves open, outermost first. A stray closer is skipped."""
    stack: list[str] = []
    for _, char in brackets(code):
        if char in OPENERS:
            stack.append(char)
        elif stack and OPENERS[stack[-1]] == char:
            stack.pop()
    return "".join(stack)


def surplus_closers(code: str) -> str:
    """Return the closing brackets of `code` that nothing in it opens, in order."""
    depth, surplus = 0, []
    for _, char in brackets(code):
        if char in OPENERS:
            depth += 1
        elif depth:
            depth -= 1
        else:
            surplus.append(char)
    return "".join(surplus)


def in_string(code: str) -> bool:
    """Tell whether `code` ends inside a string that it does not close."""
    tokens = list(_token().finditer(code))
    if not tokens or tokens[-1].end() != len(code):
        return False
    last = tokens[-1]
    return not any(last[name] for name in ("bracket", "comment", "end3d", "end3s", "endd", "ends"))
