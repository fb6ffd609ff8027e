"""A server process that listens on a free port of loopback, and the token that it printed.

async with listening("--tcp", *script.options) as listener: await asyncio.open_connection("127.0.0.1", listener.port)
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from editor import PATIENCE_S


class Listener:
    """The process, its port, and what its log says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log = ""
        self.port = 0

    async def read_until(self, pattern: str) -> re.Match[str]:
        """Read the log until a line holds something."""
        assert self.process.stderr is not None
        while True:
            line = (await asyncio.wait_for(self.process.stderr.readline(), PATIENCE_S)).decode()
            assert line, "the server ended: " + self.log
            self.log += line
            if found := re.search(pattern, line):
                return found

    @property
    def token(self) -> str:
        """The token, "" where none was printed."""
        found = re.search(r"the token (\S+)", self.log)
        return found[1] if found else ""


@asynccontextmanager
async def listening(*options: str) -> AsyncIterator[Listener]:
    """Start a server on a free port, which its log tells."""
    command = (sys.executable, "-m", "lsp_server", *options, "--port", "0")
    listener = Listener(await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE))
    try:
        listener.port = int((await listener.read_until(r"listening on 127\.0\.0\.1:(\d+)"))[1])
        yield listener
    finally:
        if listener.process.returncode is None:
            listener.process.kill()
        await listener.process.wait()
