"""Bodies are those that were sent, however the bytes come; what is too long is skipped and told of once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.frames import MAX_HEADER_BYTES, Frames, TooLong
from tests.fuzzing import fuzz

LIMIT = 50
HEADERS = (
    "Content-Length: %d\r\n\r\n",
    "content-length:%d \r\nContent-Type: x\r\n\r\n",
    "X: y\nContent-Length: %d\n\n",
)


def frame(body: bytes, header: str = HEADERS[0]) -> bytes:
    return (header % len(body)).encode() + body


def bodies(pieces: Sequence[bytes], limit: int = LIMIT) -> list[bytes | TooLong]:
    """All that comes out of a stream that is read in these pieces."""
    waiting: Iterator[bytes] = (piece for piece in pieces if piece)

    async def read() -> bytes:
        return next(waiting, b"")

    async def run() -> list[bytes | TooLong]:
        frames, found = Frames(read, limit), []
        while (body := await frames.next()) is not None:
            found.append(body)
        return found

    return asyncio.run(run())


def cut(data: bytes, at: Sequence[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[start:stop] for start, stop in zip(places, places[1:], strict=False)]


@fuzz(100)
@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=2 * LIMIT), st.sampled_from(HEADERS))),
    st.lists(st.integers(0, 2000)),
)
def test_what_was_sent_comes_out_however_it_is_cut(sent: list[tuple[bytes, str]], at: list[int]) -> None:
    data = b"".join(frame(body, header) for body, header in sent)
    expected = [body if len(body) <= LIMIT else TooLong(len(body), LIMIT) for body, _ in sent]
    assert bodies(cut(data, at)) == expected


@fuzz(100)
@given(st.lists(st.binary(max_size=30) | st.sampled_from([b"\r\n", b"\n", b"Content-Length: 5", b"Content-Length:"])))
def test_whatever_comes_nothing_is_raised_and_all_is_read(pieces: list[bytes]) -> None:
    for body in bodies(pieces):
        assert len(body) <= LIMIT if isinstance(body, bytes) else body.n_bytes > LIMIT


@pytest.mark.parametrize("length", [b"9" * 18, b"9" * 19, b"9" * 5000, b"-1", b"0", b"0x10", b"1_0", "५".encode()])
def test_a_length_that_is_none_or_huge_takes_no_memory(length: bytes) -> None:
    found = bodies([b"Content-Length: " + length + b"\r\n\r\n", b"x" * 100])
    assert found == ([TooLong(int(length), LIMIT)] if len(length) == 18 else [])


def test_a_line_without_end_is_not_kept() -> None:
    sizes = []

    async def read() -> bytes:
        sizes.append(len(frames._buffer))
        return b"x" * 1000 if len(sizes) < 100 else b""

    frames = Frames(read)
    assert asyncio.run(frames.next()) is None
    assert max(sizes) <= MAX_HEADER_BYTES
    assert bodies([b"x" * 10_000 + b"\n" + frame(b"{}")]) == [b"{}"]
    assert bodies([b"Content-Length: 3 " + b" " * 10_000, b"\r\n" + frame(b"{}")]) == [b"{}"]
