"""A client over TCP or WebSocket: one that has shown the token, and one at a time.

Rule: whoever is refused is told why, and takes nothing from the client that is served. What a door is, and whom it lets
in, says admission.py. Imported only where a socket is asked for.

    run_tcp(server, Door(token="..."))
"""

from __future__ import annotations

import asyncio
import json
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from pygls.io_ import WebSocketWriter

from lsp_server import admission
from lsp_server.admission import Door, Refusal
from lsp_server.frames import MAX_MESSAGE_BYTES, Frames, TooLong
from lsp_server.transports import READ_BYTES, converse

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

    from lsp_server.server import Server

logger = logging.getLogger(__name__)


def run_tcp(server: Server, door: Door) -> None:
    """Serve the first client that shows the token on a TCP port; return when it leaves."""
    asyncio.run(_tcp(server, door))


async def _tcp(server: Server, door: Door) -> None:
    """Accept connections until one has been served; a token is shown in the first message."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    strangers, busy = 0, False

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal strangers, busy
        frames = Frames(partial(_read_some, reader), admission.MAX_FIRST_BYTES)
        if busy or strangers >= admission.MAX_STRANGERS:
            await _refuse_tcp(writer, admission.IN_USE)
            return
        strangers += 1
        first, reason = await _first_message(frames, door)
        strangers -= 1
        if busy or reason:
            await _refuse_tcp(writer, reason or admission.IN_USE, first)
            return
        busy = True
        frames.limit = MAX_MESSAGE_BYTES
        await _serve_tcp(server, frames, first, writer)
        if not done.done():
            done.set_result(None)

    listener = await asyncio.start_server(connected, door.address(), door.port)
    _say_where(listener.sockets)
    await done
    listener.close()


async def _read_some(reader: asyncio.StreamReader) -> bytes:
    """Read what has come; a connection that breaks has come to its end."""
    try:
        return await reader.read(READ_BYTES)
    except OSError:
        return b""


async def _first_message(frames: Frames, door: Door) -> tuple[Any, str]:
    """Return the first message of a connection and why it may not go on, "" if it may."""
    try:
        body = await asyncio.wait_for(frames.next(), admission.FIRST_MESSAGE_S)
        message = json.loads(body) if isinstance(body, bytes) else None
    except (ValueError, RecursionError, asyncio.TimeoutError):
        message = body = None
    if message is None:
        return None, str(body) if isinstance(body, TooLong) else "the first message must be `initialize`"
    refusal = door.refusal_of_first(message)
    return message, refusal.reason if refusal else ""


async def _refuse_tcp(writer: asyncio.StreamWriter, reason: str, first: Any = None) -> None:
    """Say why, and hang up."""
    logger.warning("a client was refused: %s", reason)
    try:
        writer.write(admission.as_error(first, reason))
        writer.close()
        await asyncio.wait_for(writer.wait_closed(), admission.FIRST_MESSAGE_S)
    except (OSError, asyncio.TimeoutError):
        writer.transport.abort()


async def _serve_tcp(server: Server, frames: Frames, first: Any, writer: asyncio.StreamWriter) -> None:
    """Serve a client, whose first message has been read."""
    waiting = [json.dumps(first).encode()]

    async def bodies() -> bytes | TooLong | None:
        return waiting.pop() if waiting else await frames.next()

    try:
        server.protocol.set_writer(writer)
        await converse(server, bodies)
    except SystemExit:
        pass
    finally:
        writer.close()


def run_ws(server: Server, door: Door) -> None:
    """Serve the first client that shows the token on a WebSocket port; return when it leaves."""
    asyncio.run(_ws(server, door))


async def _ws(server: Server, door: Door) -> None:
    """Accept connections until one has been served; the token is looked at before a WebSocket is opened."""
    from websockets.asyncio.server import serve

    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    busy = False

    def look_at(socket: ServerConnection, request: Request) -> Response | None:
        shown = admission.handshake(request.path, request.headers)
        refusal = door.refusal(shown) or (Refusal(503, admission.IN_USE) if busy else None)
        if refusal is None:
            return None
        logger.warning("a client was refused: %s", refusal.reason)
        return socket.respond(refusal.status, refusal.reason + "\n")

    async def connected(socket: ServerConnection) -> None:
        nonlocal busy
        if busy:  # two were looked at before either was connected
            await socket.close(1008, admission.IN_USE)
            return
        busy = True
        try:
            server.protocol.set_writer(WebSocketWriter(socket), include_headers=False)
            await converse(server, partial(_received, socket))
        except SystemExit:
            pass
        finally:
            if not done.done():
                done.set_result(None)

    quiet = logging.getLogger("websockets")
    quiet.setLevel(logging.CRITICAL)  # it logs requests, and with them tokens
    at, most = (door.address(), door.port), MAX_MESSAGE_BYTES
    async with serve(connected, *at, process_request=look_at, max_size=most, logger=quiet) as listener:
        _say_where(listener.sockets)
        await done


async def _received(socket: ServerConnection) -> bytes | None:
    """Return the next message, None when the connection has ended."""
    from websockets.exceptions import ConnectionClosed

    try:
        return await socket.recv(decode=False)
    except ConnectionClosed:
        return None


def _say_where(sockets: Any) -> None:
    """Log the addresses that are listened on; with port 0 this is how a client learns the port."""
    for socket in sockets:
        logger.info("listening on %s:%d", *socket.getsockname()[:2])
