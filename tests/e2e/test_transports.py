"""The same server over TCP and WebSocket on loopback."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from editor import PATIENCE_S, Editor, editor
from lsprotocol import types
from scripts import VALUE, Script, sharpens


@asynccontextmanager
async def listening(*options: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """Start a server on a free port, which its log tells."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lsp_server", *options, "--port", "0", stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        while True:
            line = (await asyncio.wait_for(process.stderr.readline(), PATIENCE_S)).decode()
            assert line, "the server ended"
            if found := re.search(r"listening on 127\.0\.0\.1:(\d+)", line):
                break
        yield process, int(found[1])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("transport", ["tcp", "ws"])
def test_a_socket_serves_one_client_and_then_ends(transport: str, script: Script) -> None:
    async def run() -> None:
        async with listening(f"--{transport}", *script.options) as (process, port):
            client = Editor()
            await (client.start_tcp if transport == "tcp" else client.start_ws)("127.0.0.1", port)
            await client.initialize_async(types.InitializeParams(capabilities=types.ClientCapabilities()))
            if transport == "tcp":  # a second client gets nothing and takes nothing away
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
                writer.close()
            client.open("file:///a.py", "x = 1\n")
            assert await client.items("file:///a.py", 99, 0) == []
            assert (await client.stats()).requests == 1
            await client.shutdown_async(None)
            client.exit(None)
            assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0

    asyncio.run(run())


@pytest.mark.parametrize("transport", ["tcp", "ws"])
def test_exit_without_shutdown_is_status_1_over_a_socket_too(transport: str, script: Script) -> None:
    async def run() -> None:
        async with listening(f"--{transport}", *script.options) as (process, port):
            client = Editor()
            await (client.start_tcp if transport == "tcp" else client.start_ws)("127.0.0.1", port)
            await client.initialize_async(types.InitializeParams(capabilities=types.ClientCapabilities()))
            client.exit(None)
            assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 1

    asyncio.run(run())


def test_a_host_that_is_not_loopback_is_refused() -> None:
    async def run() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "lsp_server", "--tcp", "--host", "0.0.0.0", stderr=asyncio.subprocess.PIPE
        )
        _, log = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        assert process.returncode == 2
        assert b"loopback only" in log

    asyncio.run(run())


async def versions_of_requests_with_changes_behind_them(client: Editor) -> list[int]:
    """Send each request together with the change that follows it; the version of its last draft, for each."""
    uri, seen = "file:///a.py", []
    client.open(uri, "import os\n\nname = \n")
    for number in range(5):
        answer = client.ask(uri, 2, 7, token=f"t{number}")
        client.change(uri, (0, 0), (0, 0), "\n\n\nother = 1\n")
        await asyncio.wait_for(answer, PATIENCE_S)
        seen.append(client.drafts[-1].version)
        client.change(uri, (0, 0), (4, 0), "")
    return seen


@pytest.mark.parametrize("transport", ["stdio", "tcp", "ws"])
def test_a_request_is_answered_for_the_version_that_it_was_made_for(transport: str, script: Script) -> None:
    async def run() -> None:
        if transport == "stdio":
            async with editor({"liveCanvas": False}, script=script) as client:
                seen = await versions_of_requests_with_changes_behind_them(client)
        else:
            async with listening(f"--{transport}", *script.options) as (_, port):
                client = Editor()
                await (client.start_tcp if transport == "tcp" else client.start_ws)("127.0.0.1", port)
                options = {"drafts": True, "liveCanvas": False}
                params = types.InitializeParams(types.ClientCapabilities(), initialization_options=options)
                await client.initialize_async(params)
                seen = await versions_of_requests_with_changes_behind_them(client)
                client.exit(None)
        assert seen == [1, 3, 5, 7, 9]

    script.says(sharpens("name = ", VALUE))
    asyncio.run(run())
