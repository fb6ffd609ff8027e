"""Reading a file that anyone may have put there, without waiting and without reading for ever.

read_regular(Path(".gitignore"), 1_000_000)   # b"..."; OSError for a FIFO, a device, a link
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # Windows has only the last
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def read_regular(path: Path, max_bytes: int, *, follow_links: bool = False) -> bytes:
    """Return the first `max_bytes` of a regular file; OSError if it cannot be read or is anything else.

    What it is is asked twice: opening a device can do something, and what was asked about may be replaced meanwhile.
    """
    _check_regular(path.stat(follow_symlinks=follow_links))
    descriptor = os.open(path, _FLAGS | (0 if follow_links else _NO_LINK))
    try:
        _check_regular(os.fstat(descriptor))
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(max_bytes)
    finally:
        os.close(descriptor)


def _check_regular(status: os.stat_result) -> None:
    """Raise OSError for what is no regular file."""
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
