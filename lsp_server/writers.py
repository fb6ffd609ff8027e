"""How messages leave: nothing here waits for the client to read, and a client that is gone is noted once.

Rule: every message handed over is written, in order. Who has messages that may be left out asks `is_full` first.

    writer = PatientWriter(os.dup(1)); writer.write(b"..."); writer.close()
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from typing import Any

logger = logging.getLogger(__name__)

MAX_UNREAD_BYTES = 100_000  # some hundred drafts
LAST_WORDS_S = 0.5  # how long the end waits for a client to read the rest


class QuietWriter:
    """A protocol writer that says once, in one line, that its client is gone, and then writes nowhere."""

    def __init__(self, writer: Any) -> None:
        """Wrap a writer, with or without coroutines."""
        self._writer = writer
        self._gone = False
        self._unsent_bytes = 0  # in coroutines

    @property
    def is_full(self) -> bool:
        """Whether the client does not keep up with reading."""
        transport = getattr(self._writer, "transport", None)  # of a socket
        below = transport.get_write_buffer_size() if transport else getattr(self._writer, "unread_bytes", 0)
        return bool(self._unsent_bytes + below > MAX_UNREAD_BYTES)

    def write(self, data: bytes) -> Any:
        """Write, or not."""
        if self._gone:
            return None
        try:
            result = self._writer.write(data)
        except (OSError, ValueError) as error:
            return self._lost(error)
        if not asyncio.iscoroutine(result):
            return result
        self._unsent_bytes += len(data)
        return self._awaited(result, len(data))

    async def _awaited(self, result: Any, n_bytes: int) -> None:
        """Wait for a WebSocket to have sent."""
        try:
            await result
        except Exception as error:  # ConnectionClosed, without importing websockets for its name
            self._lost(error)
        finally:
            self._unsent_bytes -= n_bytes

    def close(self) -> Any:
        """Close the stream below."""
        try:
            return self._writer.close()
        except (OSError, ValueError) as error:
            return self._lost(error)

    def _lost(self, error: Exception) -> None:
        """Note that the client is gone."""
        if not self._gone:
            logger.info("the client is gone (%s)", type(error).__name__)
        self._gone = True


class PatientWriter:
    """Writes to a file descriptor in a thread, which waits for the reader in the event loop's place."""

    def __init__(self, descriptor: int) -> None:
        """Take the descriptor of a pipe or a file."""
        self.unread_bytes = 0
        self._descriptor = descriptor
        self._waiting: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> None:
        """Queue a message; OSError if the reader is gone."""
        with self._changed:
            if not self._thread.is_alive():
                raise BrokenPipeError
            self._waiting.append(data)
            self.unread_bytes += len(data)
            self._changed.notify()

    def close(self) -> None:
        """Take no more messages, and give the reader a little time for those that wait."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(LAST_WORDS_S)

    def _run(self) -> None:
        """Write what comes until the end, or until the reader is gone."""
        try:
            while (data := self._next()) is not None:
                self._write(data)
                with self._changed:
                    self.unread_bytes -= len(data)
        except OSError as error:
            logger.debug("the client does not read any more (%s)", type(error).__name__)

    def _next(self) -> bytes | None:
        """Wait for a message; None at the end."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            return self._waiting.popleft() if self._waiting else None

    def _write(self, data: bytes) -> None:
        """Write all of a message; unbuffered, since a thread that holds a buffer's lock cannot be left behind."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
