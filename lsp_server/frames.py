"""Cuts a stream of bytes into the bodies of JSON-RPC messages, none longer than a limit.

Rule: what is no header is skipped, and a body that is too long is thrown away while it comes in, so that nothing of a
size that the other side chose is ever allocated.

    frames = Frames(read_some)
    while (body := await frames.next()) is not None: ...
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

MAX_MESSAGE_BYTES = 1 << 27  # a file of 100 MB, the most that `maxFileBytes` may be, fits
MAX_HEADER_BYTES = 4096  # of one header line; a longer one is none

_LENGTH = re.compile(rb"content-length:[ \t]*(\d{1,18})", re.IGNORECASE)


@dataclass(frozen=True)
class TooLong:
    """A message that was not read."""

    n_bytes: int
    limit: int

    def __str__(self) -> str:
        """Return what its sender is told."""
        return f"a message of {self.n_bytes} bytes was not read: {self.limit} bytes is the most that is taken"


class Frames:
    """The messages of one connection, in order."""

    def __init__(self, read: Callable[[], Awaitable[bytes]], limit: int = MAX_MESSAGE_BYTES) -> None:
        """Take what reads some bytes, b"" at the end, and the size of the longest message."""
        self.limit = limit
        self._read = read
        self._buffer = bytearray()
        self._skip = 0  # bytes still to come of a body that is too long

    async def next(self) -> bytes | TooLong | None:
        """Return the next body; None at the end, however much of a message has come."""
        length = 0
        while (line := await self._line()) is not None:
            found = _LENGTH.fullmatch(line.strip())
            if found and not length:
                length = int(found[1])
            elif length and not line.strip():
                return await self._body(length)
        return None

    async def _line(self) -> bytes | None:
        """Return the next line, None at the end."""
        while (end := self._buffer.find(b"\n")) < 0 or self._skip:
            if not self._skip and len(self._buffer) > MAX_HEADER_BYTES:
                self._buffer[:] = b"?"  # no header, whatever follows on the line
            if not await self._more():
                return None
        return self._taken(end + 1)

    async def _body(self, length: int) -> bytes | TooLong | None:
        """Return a body of this length; one that is too long is skipped, but not waited for."""
        if length > self.limit:
            self._skip = length
            self._skip_some()
            return TooLong(length, self.limit)
        while len(self._buffer) < length:
            if not await self._more():
                return None
        return self._taken(length)

    async def _more(self) -> bool:
        """Read some bytes; False at the end."""
        data = await self._read()
        self._buffer += data
        self._skip_some()
        return bool(data)

    def _skip_some(self) -> None:
        """Throw away what has come of a body that is too long."""
        n_bytes = min(self._skip, len(self._buffer))
        self._skip -= n_bytes
        del self._buffer[:n_bytes]

    def _taken(self, n_bytes: int) -> bytes:
        """Remove bytes from the front of what has come."""
        taken = bytes(memoryview(self._buffer)[:n_bytes])
        del self._buffer[:n_bytes]
        return taken
