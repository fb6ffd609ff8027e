"""Answers that end as soon as their client goes, under every ASGI server: lines as they come, or one at the end.

Rule: what makes an answer is ended in every case, at once when the client disconnects, not when nothing can be sent.

    return Lines(iterator, {"X": "y"})
    return JSONResponse(await while_there(request.receive, answer()))
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping, MutableMapping
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response

Message = MutableMapping[str, Any]
T = TypeVar("T")


class Lines(Response):  # type: ignore[misc]
    """Lines of JSON as they come."""

    media_type = "application/x-ndjson"

    def __init__(self, lines: AsyncIterator[bytes], headers: Mapping[str, str]) -> None:
        self.lines = lines
        self.status_code, self.background = 200, None
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no", **headers})

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """Send until the last line, or until the client has gone."""
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            if isinstance(self.lines, AsyncGenerator):
                await self.lines.aclose()

    async def _send(self, send: Callable[[Message], Awaitable[None]]) -> None:
        """Send every line by itself; who cannot be sent to has gone."""
        with contextlib.suppress(OSError):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for line in self.lines:
                await send({"type": "http.response.body", "body": line, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def while_there(receive: Callable[[], Awaitable[Message]], answer: Coroutine[Any, Any, T]) -> T:
    """What comes of `answer`, which is cancelled when the client goes: then ClientDisconnect."""
    answering, leaving = asyncio.ensure_future(answer), asyncio.ensure_future(gone(receive))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ClientDisconnect
        return answering.result()
    finally:
        for task in (answering, leaving):
            task.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)


async def gone(receive: Callable[[], Awaitable[Message]]) -> None:
    """Return once the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass
