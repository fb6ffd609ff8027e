"""Memory that was freed, given back to the system.

Rule: glibc keeps what lies below anything that is still in use, and once a large piece was freed it takes large pieces
from there too. So pieces of LARGE_BYTES and more stay apart from the start, each given back when it is freed; for the
rest there is a call for once in a while, in the model thread, where much was freed at once. Other C libraries have
neither; there nothing happens.

    keep_large_apart(); ...; engine = None; give_back()
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any

LARGE_BYTES = 256 * 1024  # a matrix of a model, the text of a long file
M_MMAP_THRESHOLD = -3  # malloc.h


def keep_large_apart() -> bool:
    """Have large pieces of memory mapped one by one from now on. Return whether that can be done here."""
    mallopt = _found("mallopt")
    return mallopt is not None and bool(mallopt(M_MMAP_THRESHOLD, LARGE_BYTES))


def give_back() -> bool:
    """Give back whole pages that nobody uses, of all heaps; some milliseconds. Return whether that can be done here."""
    trim = _found("malloc_trim")
    if trim is not None:
        trim(ctypes.c_size_t(0))
    return trim is not None


@functools.cache
def _found(name: str) -> Callable[..., Any] | None:
    """A function of glibc, looked for once; None where there is none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        found: Callable[..., Any] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):  # musl
        return None
    return found
