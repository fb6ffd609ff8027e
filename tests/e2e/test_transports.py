"""The same server over TCP and WebSocket on loopback."""

from __future__ import annotations

import asyncio

import pytest
from editor import PATIENCE_S, Editor, editor
from listener import Listener, listening
from lsprotocol import types
from scripts import VALUE, Script, sharpens


async def connected(transport: str, listener: Listener, **options: object) -> Editor:
    """A client that has shown the token, and is initialized."""
    client, token = Editor(), listener.token
    if transport == "tcp":
        await client.start_tcp("127.0.0.1", listener.port)
        options["token"] = token
    else:
        await client.start_ws(f"127.0.0.1:{listener.port}/?token={token}&port=", listener.port)
    params = types.InitializeParams(types.ClientCapabilities(), initialization_options=options)
    await client.initialize_async(params)
    return client


@pytest.mark.parametrize("transport", ["tcp", "ws"])
def test_a_socket_serves_one_client_and_then_ends(transport: str, script: Script) -> None:
    async def run() -> None:
        async with listening(f"--{transport}", *script.options) as listener:
            client, process = await connected(transport, listener), listener.process
            assert client.messages == []  # the token is no option
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
        async with listening(f"--{transport}", *script.options) as listener:
            (await connected(transport, listener)).exit(None)
            assert await asyncio.wait_for(listener.process.wait(), PATIENCE_S) == 1

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
            async with listening(f"--{transport}", *script.options) as listener:
                client = await connected(transport, listener, drafts=True, liveCanvas=False)
                seen = await versions_of_requests_with_changes_behind_them(client)
                client.exit(None)
        assert seen == [1, 3, 5, 7, 9]

    script.says(sharpens("name = ", VALUE))
    asyncio.run(run())
