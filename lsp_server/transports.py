"""How messages reach the server: one after the other, from stdin here, from a socket in sockets.py.

Rule: stdout belongs to the protocol alone, and a client that vanishes leaves no traceback behind.

    run_stdio(server)
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from pygls.exceptions import JsonRpcException, JsonRpcInvalidRequest

from lsp_server.frames import Frames, TooLong
from lsp_server.writers import PatientWriter

if TYPE_CHECKING:
    from lsp_server.server import Server

logger = logging.getLogger(__name__)

READ_BYTES = 1 << 18

Bodies = Callable[[], Awaitable["bytes | TooLong | None"]]


async def converse(server: Server, bodies: Bodies) -> None:
    """Handle one message after another; what `exit` raises ends it."""
    while (body := await bodies()) is not None:
        try:
            receive(server, body)
        except Exception as error:
            logger.warning("a message was not handled: %s", type(error).__name__)
            server.report_server_error(error, JsonRpcException)
        await asyncio.sleep(0)  # what a message has begun goes on before the next one


def receive(server: Server, body: bytes | TooLong) -> None:
    """Handle one message."""
    if isinstance(body, TooLong):
        logger.warning("%s", body)
        server.protocol.reject(JsonRpcInvalidRequest(str(body)))
        return
    message = json.loads(body)
    if isinstance(message, dict):
        message = server.protocol.structure_message(message)
    server.protocol.handle_message(message)


def run_stdio(server: Server) -> None:
    """Serve one client over stdin and stdout; whatever else prints goes to stderr."""
    wire = PatientWriter(os.dup(sys.stdout.fileno()))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    server.protocol.set_writer(wire)
    try:
        asyncio.run(_stdio(server))
    except SystemExit:
        pass
    finally:
        wire.close()
        server.shutdown()  # type: ignore[no-untyped-call]


async def _stdio(server: Server) -> None:
    """Read stdin in a thread."""
    loop, stdin = asyncio.get_running_loop(), sys.stdin.fileno()
    read = partial(loop.run_in_executor, server.thread_pool, os.read, stdin, READ_BYTES)
    await converse(server, Frames(read).next)


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
