r"""IPython's magics: lines of a Python cell that are no Python, and what the parser reads in their place.

Rule: pure, on UTF-8 bytes, and as many bytes come out as went in, so that all places in the tree stay true. A magic
becomes a statement that does nothing and a comment; what `%time` and its like measure is Python and stays.

    masked(b"%matplotlib inline\nx = 1")   # b"0#                \nx = 1"
    masked(b"%time f(x)")                  # b"0;    f(x)"
"""

from __future__ import annotations

import re

NOTHING = b"0#"
PYTHON_CELLS = "capture debug heat memit mprun prun pypy python python3 scalene snakeviz time timeit".split()

_MEASURES = rb"(?:debug|memit|prun|time|timeit)\b(?:[ \t]+-\w+(?:[ \t]*\d+)?)*"
_CELL_MAGIC = re.compile(rb"\A\s*%%(\w+)")
_MEASURED = re.compile(rb"^([ \t]*)(%%?" + _MEASURES + rb")(?=[ \t]|\r?$)", re.MULTILINE)
_LINE = re.compile(
    rb"^([ \t]*)("
    rb"(?:%%?[A-Za-z_]|!(?!=)|\?\??[A-Za-z_%])[^\r\n]*"  # %magic, !command, ?name
    rb"|%{0,2}[A-Za-z_][\w.*\[\]]*\?\??[ \t]*(?=\r?$)"  # name?
    rb")",
    re.MULTILINE,
)
_ASSIGNED = re.compile(rb"^([ \t]*[\w.,\[\]'\" \t]+=[ \t]*)((?:!(?!=)|%[A-Za-z_])[^\r\n]*)", re.MULTILINE)
_REST = re.compile(rb"^([ \t]*)([^ \t\r\n][^\r\n]*)", re.MULTILINE)


def is_foreign(text: str) -> bool:
    """Tell whether a cell begins with a magic that makes another language of it, as `%%bash` does."""
    found = _CELL_MAGIC.match(text.encode())
    return found is not None and found[1].decode() not in PYTHON_CELLS


def masked(source: bytes) -> bytes:
    """Return a cell's text as Python, with nothing of its magics left."""
    if not any(mark in source for mark in (b"%", b"!", b"?")):
        return source
    if is_foreign(source.decode("utf-8", "replace")):
        return _REST.sub(_blank, source)
    source = _MEASURED.sub(_measured, source)
    for magic in (_LINE, _ASSIGNED):
        source = magic.sub(_blank, source)
    return source


def _blank(found: re.Match[bytes]) -> bytes:
    """Return a magic as nothing at all."""
    return found[1] + NOTHING.ljust(len(found[2]))[: len(found[2])]


def _measured(found: re.Match[bytes]) -> bytes:
    """Return a magic without what comes before the code that it measures."""
    return found[1] + b"0;".ljust(len(found[2]))
