from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from lsp_server.server import build
from lsp_server.suggest.drafts import DRAFT, STATUS
from lsp_server.writers import MAX_UNREAD_BYTES, PatientWriter, QuietWriter


def test_a_lost_client_is_noted_once_and_then_written_to_no_more() -> None:
    class Broken:
        calls = 0

        def write(self, data: bytes) -> None:
            self.calls += 1
            raise BrokenPipeError

        def close(self) -> None:
            raise ValueError("closed")

    broken = Broken()
    writer = QuietWriter(broken)
    writer.write(b"a")
    writer.write(b"b")
    writer.close()
    assert broken.calls == 1


def read_all(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size and (chunk := os.read(descriptor, size)):
        data += chunk
    return data


def test_writing_does_not_wait_for_the_reader_and_loses_nothing() -> None:
    reading, writing = os.pipe()
    writer = PatientWriter(writing)
    quiet = QuietWriter(writer)
    messages = [b"%06d" % number * 100 for number in range(2000)]  # far more than a pipe holds
    for message in messages:
        quiet.write(message)
    assert quiet.is_full
    assert read_all(reading, 2000 * 600) == b"".join(messages)
    writer.close()
    assert not quiet.is_full
    os.close(reading)
    os.close(writing)


def test_a_reader_that_is_gone_ends_the_writing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    writer = PatientWriter(writing)
    writer.write(b"a")
    writer.close()
    with pytest.raises(BrokenPipeError):
        writer.write(b"b")
    os.close(writing)


class Unread:
    """A client that reads nothing."""

    unread_bytes = MAX_UNREAD_BYTES + 1

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


def test_a_client_that_does_not_keep_up_gets_done_drafts_only() -> None:
    protocol, client = build().protocol, Unread()
    protocol.set_writer(client)
    for step in range(5):
        protocol.notify(DRAFT, {"step": step, "done": False})
    protocol.notify(DRAFT, {"step": 5, "done": True})
    protocol.notify(STATUS, {"state": "idle"})
    assert client.written.count(DRAFT.encode()) == 1
    assert client.written.count(STATUS.encode()) == 1
    client.unread_bytes = MAX_UNREAD_BYTES
    protocol.notify(DRAFT, {"step": 6, "done": False})
    assert client.written.count(DRAFT.encode()) == 2


def test_what_a_web_socket_has_not_sent_counts_as_unread() -> None:
    class Socket:
        def __init__(self) -> None:
            self.reads = asyncio.Event()

        async def write(self, data: bytes) -> None:
            await self.reads.wait()

    async def run() -> None:
        socket = Socket()
        writer = QuietWriter(socket)
        sending: list[Any] = [asyncio.ensure_future(writer.write(b"x" * MAX_UNREAD_BYTES)) for _ in range(2)]
        assert writer.is_full
        socket.reads.set()
        await asyncio.gather(*sending)
        assert not writer.is_full

    asyncio.run(run())
