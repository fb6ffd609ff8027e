"""Places in a real stdlib file (textwrap.py) where a completion makes sense."""

from __future__ import annotations

import io
import textwrap
import tokenize
from pathlib import Path

SOURCE = Path(textwrap.__file__).read_text(encoding="utf-8")
URI = "file:///stdlib/textwrap.py"  # not where it lies: that may be in a repository, which ignores it


def positions(count: int) -> list[tuple[int, int]]:
    """Places behind `=`, `(`, `.` and `return`, spread evenly over the file."""
    places = [
        token.end
        for token in tokenize.generate_tokens(io.StringIO(SOURCE).readline)
        if token.string in ("=", "(", ".", "return") and token.end[1] < len(token.line.rstrip())
    ]
    return [(line - 1, column) for line, column in places[:: len(places) // count][:count]]
