r"""What .gitignore files say, read without git: for where git is missing, slow or refuses a repository.

Rule: the files may come from anyone. A line costs at most its length times the names', whatever stars it has; a
line that is no pattern matches nothing; what is no regular file, or too large, is as if it were not there. As for git,
a character is a byte: names and patterns are strings of bytes here (Latin-1).

    verdict(parse("*.log\n!keep.log"), ("logs", "a.log"), is_folder=False)   # True; None where no line says anything
"""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lsp_server.text.files import read_regular

logger = logging.getLogger(__name__)

MAX_BYTES = 1_000_000
MAX_LINES = 5_000
MAX_LINE_CHARS = 1_000
ANY_CASE = sys.platform in ("win32", "darwin")  # core.ignoreCase, as git sets it there
_CLASS = re.compile(r"\[([!^]?)(\]?(?:\[:\w+:\]|\\.|[^]\\])*)\]", re.DOTALL)
_ITEM = re.compile(r"\[:(\w+):\]|(\\?.)(?:-(\\?[^]]))?", re.DOTALL)
_NAMED = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "blank": r" \t", "cntrl": r"\x00-\x1f\x7f", "digit": "0-9", "graph": "!-~",
    "lower": "a-z", "print": " -~", "punct": r"!-/:-@\[-`{-~", "space": r"\s", "upper": "A-Z", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_CHAR = re.compile(r"\\?.|\\", re.DOTALL)
_NOTHING = re.compile(r"(?!)")


class Rule(NamedTuple):
    """One line: the globs of its path's parts, None for `**`; whether it takes back; whether it means folders only."""

    globs: tuple[re.Pattern[str] | None, ...]
    takes_back: bool
    folders_only: bool


def is_named(
    read: Callable[[tuple[str, ...]], Sequence[Rule]], everywhere: Sequence[Sequence[Rule]], parts: tuple[str, ...]
) -> bool:
    """Tell whether rules ignore a file or a folder it is in: the deepest .gitignore that says anything decides.

    `read` returns the rules of the folder with these parts; `everywhere` are those of the whole repository.
    """
    names = tuple(os.fsencode(part).decode("latin-1") for part in parts)

    def decide(depth: int) -> bool:
        """Tell it of the file, or of a folder above it."""
        is_folder = depth < len(parts)
        sources = [(read(parts[:level]), names[level:depth]) for level in reversed(range(depth))]
        verdicts = (verdict(rules, below, is_folder=is_folder) for rules, below in sources)
        said = next((one for one in verdicts if one is not None), None)
        if said is None:
            others = (verdict(rules, names[:depth], is_folder=is_folder) for rules in everywhere)
            said = next((one for one in others if one is not None), False)
        return said

    return any(decide(depth) for depth in range(1, len(parts) + 1))


def verdict(rules: Sequence[Rule], parts: tuple[str, ...], *, is_folder: bool) -> bool | None:
    """Tell whether rules ignore the path of these parts, below their file: the last that matches decides, or None."""
    for rule in reversed(rules):
        if (is_folder or not rule.folders_only) and matches(rule.globs, parts):
            return not rule.takes_back
    return None


def matches(globs: tuple[re.Pattern[str] | None, ...], parts: tuple[str, ...]) -> bool:
    """Tell whether globs match all parts of a path; of several `**` only the last has to be tried again."""
    at = here = 0
    again: tuple[int, int] | None = None
    while here < len(parts):
        glob = globs[at] if at < len(globs) else _NOTHING
        if glob is None:
            again = at + 1, here
            at += 1
        elif glob.match(parts[here]):
            at, here = at + 1, here + 1
        elif again is not None:
            again = again[0], again[1] + 1
            at, here = again
        else:
            return False
    return all(glob is None for glob in globs[at:])


def read_rules(path: Path, *, follow_links: bool = False) -> tuple[Rule, ...]:
    """Return the rules of a file; none where there is no such file, it is too large or no regular file."""
    try:
        status = path.stat(follow_symlinks=follow_links)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return ()
    return _read(path, follow_links, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=256)
def _read(path: Path, follow_links: bool, changed_ns: int, n_bytes: int) -> tuple[Rule, ...]:
    """Return the rules of a file; read once for each time it was changed."""
    try:
        data = read_regular(path, MAX_BYTES + 1, follow_links=follow_links)
    except OSError as error:
        logger.warning("a .gitignore cannot be read: %s", error.strerror)
        return ()
    if len(data) > MAX_BYTES:
        logger.warning("a .gitignore over %d bytes is not read", MAX_BYTES)
        return ()
    return parse(data.removeprefix(b"\xef\xbb\xbf").decode("latin-1"))


def parse(text: str) -> tuple[Rule, ...]:
    """Return the rules of a .gitignore's text."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    lines = [line for line in lines if line.strip(" ") and not line.startswith("#")]
    if len(lines) > MAX_LINES:
        logger.warning("of a .gitignore of %d lines only the first %d are read", len(lines), MAX_LINES)
    rules = [rule for rule in map(rule_of, lines[:MAX_LINES]) if rule is not None]
    if n_bad := min(len(lines), MAX_LINES) - len(rules):
        logger.warning("%d lines of a .gitignore are no patterns, or too long, and match nothing", n_bad)
    return tuple(rules)


def rule_of(line: str) -> Rule | None:
    """Return the rule of one line, None for what is no pattern or over MAX_LINE_CHARS."""
    pattern = _without_trailing_blanks(line.removeprefix("!"))
    if not pattern.strip("/") or len(pattern) > MAX_LINE_CHARS:
        return None
    folders_only = pattern.endswith("/")
    pattern = pattern.removesuffix("/")
    parts = _split(pattern.removeprefix("/"))
    if "/" not in pattern:  # at any depth
        parts = ["**", *parts]
    try:
        return Rule(tuple(_globs(parts)), line.startswith("!"), folders_only)
    except ValueError:
        return None


def _without_trailing_blanks(line: str) -> str:
    """Drop blanks at the end, but for an escaped one."""
    bare = line.rstrip(" ")
    n_backslashes = len(bare) - len(bare.rstrip("\\"))
    return bare + " " if n_backslashes % 2 and len(bare) < len(line) else bare


def _split(pattern: str) -> list[str]:
    """Cut a pattern at its slashes, but for those in a class."""
    parts, at = [""], 0
    while at < len(pattern):
        if pattern.startswith(("/", "\\/"), at):
            parts.append("")
            at += 1 + (pattern[at] == "\\")
            continue
        found = _CLASS.match(pattern, at) or _CHAR.match(pattern, at)
        assert found is not None
        parts[-1] += found[0]
        at = found.end()
    return parts


def _globs(parts: Sequence[str]) -> Iterator[re.Pattern[str] | None]:
    """Translate the parts of a pattern; a `**` at its end needs something below it."""
    for number, part in enumerate(parts):
        if part.strip("*") or len(part) < 2:  # three stars are two
            yield glob_of(part)
        elif number == len(parts) - 1:
            yield from (glob_of("*"), None)
        else:
            yield None


@functools.lru_cache(maxsize=4096)
def glob_of(glob: str) -> re.Pattern[str]:
    """Translate a glob for one part of a path; ValueError if it is none.

    As `fnmatch` does it: what follows a star is found as early as possible, and that is never tried again.
    """
    pieces = [""]
    at = 0
    while at < len(glob):
        char = glob[at]
        if char == "*":
            pieces.append("")
            at += 1
        elif char == "[":
            found = _CLASS.match(glob, at)
            if found is None:
                raise ValueError("a class without an end")
            pieces[-1] += _class_of(*found.groups())
            at = found.end()
        elif char == "\\":
            if at + 1 == len(glob):
                raise ValueError("a backslash escapes nothing")
            pieces[-1] += re.escape(glob[at + 1])
            at += 2
        else:
            pieces[-1] += "." if char == "?" else re.escape(char)
            at += 1
    first, *rest = pieces
    middle = "".join(f"(?=(?P<g{number}>.*?{piece}))(?P=g{number})" for number, piece in enumerate(rest[:-1]) if piece)
    text = first + middle + (f".*{rest[-1]}" if rest else "") + r"\Z"
    return re.compile(text, re.DOTALL | (re.IGNORECASE if ANY_CASE else 0))


def _class_of(negation: str, content: str) -> str:
    """Translate what stands between brackets; a range that ends before it begins holds nothing."""
    found = []
    if any(name and name not in _NAMED for name, *_ in _ITEM.findall(content)):
        raise ValueError("there is no such class")
    for name, first, last in _ITEM.findall(content):
        if name:
            found.append(_NAMED[name])
        elif not last:
            found.append(re.escape(first[-1]))
        elif first[-1] <= last[-1]:
            found.append(f"{re.escape(first[-1])}-{re.escape(last[-1])}")
    inside = "".join(found)
    if not inside:
        return "." if negation else "(?!)"
    return f"[{'^' if negation else ''}{inside}]"
