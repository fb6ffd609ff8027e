"""What git ignores, by the .gitignore files from a file's folder up to the root of its repository.

Rule: they may come from anyone, so nothing in one raises or waits. As for git, a line that is no pattern matches
nothing, and a link, or what is no regular file, is as if it were not there.

    is_ignored("file:///repository/build/made.py")
"""

from __future__ import annotations

import functools
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from lsp_server.text.files import read_regular

if TYPE_CHECKING:
    from pathspec import PathSpec
    from pathspec.pattern import Pattern

logger = logging.getLogger(__name__)

MAX_BYTES = 1_000_000
MAX_LINES = 5_000  # compiling them takes half a second, once


def is_ignored(uri: str) -> bool:
    """Tell whether a .gitignore above a file, up to its repository's root, names it."""
    path = _path_of(uri)
    return path is not None and any(_is_named(path, folder) for folder in _folders(path))


def _path_of(uri: str) -> Path | None:
    """Return the path of a file's URI, or None for another URI."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _folders(path: Path) -> list[Path]:
    """Return the folders whose .gitignore counts: up to the one with `.git`; only the file's own where none has."""
    parents = list(path.parents)
    for n_folders, folder in enumerate(parents, 1):
        if os.path.exists(folder / ".git"):
            return parents[:n_folders]
    return parents[:1]


def _is_named(path: Path, folder: Path) -> bool:
    """Tell whether a folder's .gitignore names a file below it."""
    gitignore = folder / ".gitignore"
    try:
        changed_ns = gitignore.lstat().st_mtime_ns
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return False
    return _patterns(gitignore, changed_ns).match_file(path.relative_to(folder).as_posix())


@functools.lru_cache(maxsize=256)
def _patterns(gitignore: Path, changed_ns: int) -> PathSpec[Any]:
    """Return what a .gitignore says; read once for each time it was changed."""
    from pathspec import PathSpec

    try:
        data = read_regular(gitignore, MAX_BYTES + 1)
    except OSError as error:
        logger.warning("a .gitignore cannot be read: %s", error.strerror)
        data = b""
    if len(data) > MAX_BYTES:
        logger.warning("a .gitignore over %d bytes is not read", MAX_BYTES)
        data = b""
    lines = [line.removesuffix("\r") for line in data.decode("utf-8-sig", "replace").split("\n") if line]
    if len(lines) > MAX_LINES:
        logger.warning("of a .gitignore of %d lines only the first %d are read", len(lines), MAX_LINES)
    return PathSpec(_compiled(lines[:MAX_LINES]))


def _compiled(lines: list[str]) -> list[Pattern]:
    """Return the patterns that the lines of a .gitignore are, without the lines that are none."""
    from pathspec.util import lookup_pattern

    pattern = lookup_pattern("gitignore")
    found, n_bad = [], 0
    for line in lines:
        try:
            found.append(pattern(line))
        except (ValueError, re.error):  # `!` alone, a `\` at the end, [z-a]
            n_bad += 1
    if n_bad:
        logger.warning("%d lines of a .gitignore are no patterns and match nothing", n_bad)
    return found
