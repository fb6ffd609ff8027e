"""Memory that was freed, given back to the system.

Rule: for once in a while, in the model thread, where much was freed at once: glibc keeps what lies below anything that
is still in use. Other C libraries have no such call; there nothing happens.

    engine = None; give_back()
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable


def give_back() -> bool:
    """Give back whole pages that nobody uses, of all heaps; some milliseconds. Return whether that can be done here."""
    trim = _trim()
    if trim is not None:
        trim(0)
    return trim is not None


@functools.cache
def _trim() -> Callable[[int], int] | None:
    """Return glibc's `malloc_trim`, looked for once; None where there is none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # musl
        return None
    trim.argtypes, trim.restype = (ctypes.c_size_t,), ctypes.c_int
    return trim  # type: ignore[no-any-return]
