"""How a client reaches the server: stdio, or one TCP or WebSocket connection on loopback.

Rule: stdout belongs to the protocol alone, sockets bind to loopback alone, and a client that vanishes leaves no
traceback behind.

    run_stdio(server)
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import sys
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pygls.io_ import StdinAsyncReader, run_async, run_websocket

from lsp_server.writers import PatientWriter

if TYPE_CHECKING:
    from pygls.lsp.server import LanguageServer

logger = logging.getLogger(__name__)


def run_stdio(server: LanguageServer) -> None:
    """Serve one client over stdin and stdout; whatever else prints goes to stderr."""
    wire = PatientWriter(os.dup(sys.stdout.fileno()))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    server.protocol.set_writer(wire)
    reader = StdinAsyncReader(sys.stdin.buffer, server.thread_pool)
    try:
        asyncio.run(run_async(threading.Event(), reader, server.protocol, logger, server.report_server_error))
    except SystemExit:
        pass
    finally:
        wire.close()
        server.shutdown()  # type: ignore[no-untyped-call]


def exit_with(pid: int, every_s: float = 1.0) -> None:
    """End this process when the client's process is gone (LSP asks for it), though stdin may stay open."""
    if os.name != "posix" or not _alive(pid):  # not there at all: another machine's or container's number
        return

    def watch() -> None:
        _wait_for_end(pid, every_s)
        logger.warning("the client's process is gone: exiting")
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _wait_for_end(pid: int, every_s: float) -> None:
    """Wait until a process has ended. Linux says so at once, and where nobody reaps the process too."""
    try:
        handle = os.pidfd_open(pid)  # type: ignore[attr-defined,unused-ignore]
    except (AttributeError, OSError):  # another system, an old kernel, or it is gone
        while _alive(pid):
            time.sleep(every_s)
        return
    select.select([handle], [], [])


def _alive(pid: int) -> bool:
    """Tell whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def loopback(host: str) -> str:
    """Return a host to bind to; raise ValueError if it is not on loopback."""
    import ipaddress

    if host == "localhost":
        return "127.0.0.1"
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise ValueError(f"the server binds to loopback only (127.0.0.1, ::1 or localhost), not to {host!r}")


class SocketReader:
    """A stream reader for which a connection that breaks has come to its end."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        """Wrap an asyncio reader."""
        self._reader = reader

    async def readline(self) -> bytes:
        """Read a line."""
        try:
            return await self._reader.readline()
        except OSError:
            return b""

    async def readexactly(self, size: int) -> bytes:
        """Read so many bytes, or none if the connection ends before."""
        try:
            return await self._reader.readexactly(size)
        except (OSError, asyncio.IncompleteReadError):
            return b""


def run_tcp(server: LanguageServer, host: str, port: int) -> None:
    """Serve the first client that connects to a TCP port; return when it leaves."""
    asyncio.run(_tcp(server, loopback(host), port))


async def _tcp(server: LanguageServer, host: str, port: int) -> None:
    """Accept one connection; a second one is closed at once."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    busy = False

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal busy
        if busy:
            logger.warning("a second client was refused: this server is in use")
            writer.close()
            return
        busy = True
        try:
            server.protocol.set_writer(writer)  # type: ignore[arg-type]
            await run_async(
                threading.Event(), SocketReader(reader), server.protocol, logger, server.report_server_error
            )
        except SystemExit:
            pass
        finally:
            writer.close()
            if not done.done():
                done.set_result(None)

    listener = await asyncio.start_server(connected, host, port)
    _say_where(listener.sockets)
    await done
    listener.close()


def run_ws(server: LanguageServer, host: str, port: int) -> None:
    """Serve the first client that connects to a WebSocket port; return when it leaves."""
    asyncio.run(_ws(server, loopback(host), port))


async def _ws(server: LanguageServer, host: str, port: int) -> None:
    """Accept one connection that no foreign web page has opened."""
    from websockets.asyncio.server import ServerConnection, serve

    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    busy = False

    async def connected(socket: ServerConnection) -> None:
        nonlocal busy
        if busy or not _local_origin(socket.request.headers.get("Origin") if socket.request else None):
            logger.warning("a second client, or a page of another site, was refused")
            await socket.close(1008)
            return
        busy = True
        try:
            await run_websocket(socket, threading.Event(), server.protocol, logger, server.report_server_error)
        except SystemExit:
            pass
        finally:
            if not done.done():
                done.set_result(None)

    async with serve(connected, host, port, max_size=None) as listener:
        _say_where(listener.sockets)
        await done


def _local_origin(origin: str | None) -> bool:
    """Tell whether a WebSocket was opened by a program (no origin) or by a page of this machine."""
    return origin is None or urlsplit(origin).hostname in ("localhost", "127.0.0.1", "::1")


def _say_where(sockets: Any) -> None:
    """Log the addresses that are listened on; with port 0 this is how a client learns the port."""
    for socket in sockets:
        logger.info("listening on %s:%d", *socket.getsockname()[:2])
