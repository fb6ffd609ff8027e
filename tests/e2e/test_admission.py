"""Who connects without the token, from a web page, or a second time, is told why and takes nothing away."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from editor import PATIENCE_S
from listener import Listener, listening
from raw import RawClient
from scripts import Script
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from lsp_server.admission import MAX_FIRST_BYTES, MAX_STRANGERS
from lsp_server.frames import MAX_MESSAGE_BYTES


def message(method: str, params: Any, id: int | None = 1) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def hello(token: str) -> bytes:
    return message("initialize", {"capabilities": {}, "initializationOptions": {"token": token}})


async def answer(reader: asyncio.StreamReader) -> dict[str, Any]:
    """The next message."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)).decode()
    size = int(head.lower().split("content-length:")[1].split()[0])
    return dict(json.loads(await asyncio.wait_for(reader.readexactly(size), PATIENCE_S)))


async def refused(port: int, sent: bytes) -> str:
    """What a client is told before the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    said = await answer(reader)
    assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
    writer.close()
    return str(said["error"]["message"])


async def serves(port: int, token: str) -> None:
    """That who shows the token is served."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(hello(token))
    assert "capabilities" in (await answer(reader))["result"]
    writer.close()


def test_tcp_clients_without_the_token_are_refused_and_the_one_with_it_is_served(script: Script) -> None:
    async def run() -> None:
        async with listening("--tcp", *script.options) as listener:
            for token in ("", "wrong", listener.token[:-1], listener.token + "x"):
                assert "token is missing or wrong" in await refused(listener.port, hello(token))
            assert "first message must" in await refused(listener.port, message("mezzotint/stats", None))
            assert "first message must" in await refused(listener.port, b"Content-Length: 3\r\n\r\n{}}")
            assert "bytes was not read" in await refused(listener.port, b"Content-Length: %d\r\n\r\n" % 10**12)
            assert "bytes was not read" in await refused(
                listener.port, b"Content-Length: %d\r\n\r\n" % (MAX_FIRST_BYTES + 1)
            )
            await serves(listener.port, listener.token)
            assert await asyncio.wait_for(listener.process.wait(), PATIENCE_S) == 0

    asyncio.run(run())


def test_a_second_tcp_client_is_told_that_the_server_is_in_use(script: Script) -> None:
    async def run() -> None:
        async with listening("--tcp", *script.options) as listener:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.write(hello(listener.token))
            await answer(reader)
            assert "one client at a time" in await refused(listener.port, b"")
            writer.write(message("mezzotint/stats", None, 2))
            assert "requests" in (await answer(reader))["result"]
            writer.close()

    asyncio.run(run())


def test_connections_that_say_nothing_are_few(script: Script) -> None:
    async def run() -> None:
        async with listening("--tcp", *script.options) as listener:
            silent = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(MAX_STRANGERS)]
            assert "one client at a time" in await refused(listener.port, b"")
            for _, writer in silent:
                writer.close()
            for reader, _ in silent:
                await asyncio.wait_for(reader.read(), PATIENCE_S)
            await serves(listener.port, listener.token)

    asyncio.run(run())


async def opened(listener: Listener, query: str = "", **headers: str) -> ClientConnection:
    """A WebSocket, whose request has these headers; a Host is taken for that of the address."""
    host = headers.pop("Host", "127.0.0.1")
    uri = f"ws://{host}:{listener.port}/{query}"
    return await connect(uri, host="127.0.0.1", port=listener.port, additional_headers=headers, proxy=None)


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("", {}, 401),
        ("?token=wrong", {}, 401),
        ("?token={}", {"Authorization": "Bearer wrong"}, 401),
        ("?token={}", {"Origin": "http://localhost:3000"}, 403),
        ("?token={}", {"Origin": "https://example.org"}, 403),
        ("?token={}", {"Origin": "null"}, 403),
        ("?token={}", {"Host": "rebound.example.org"}, 403),
    ],
)
def test_websockets_of_strangers_and_of_web_pages_are_not_opened(
    query: str, headers: dict[str, str], status: int, script: Script
) -> None:
    async def run() -> None:
        async with listening("--ws", "--origin", "http://localhost:8080", *script.options) as listener:
            with pytest.raises(InvalidStatus) as refusal:
                await opened(listener, query.format(listener.token), **headers)
            assert refusal.value.response.status_code == status
            assert (refusal.value.response.body or b"").endswith(b"\n")
            named = {"Authorization": f"Bearer {listener.token}", "Origin": "http://localhost:8080"}
            async with await opened(listener, **named) as socket:
                await socket.send(message("initialize", {"capabilities": {}}).partition(b"\r\n\r\n")[2])
                assert "capabilities" in json.loads(await socket.recv())["result"]
                with pytest.raises(InvalidStatus, match="503"):
                    await opened(listener, f"?token={listener.token}")
            await asyncio.wait_for(listener.process.wait(), PATIENCE_S)
            assert listener.process.stderr is not None
            log = listener.log + (await listener.process.stderr.read()).decode()
            assert log.count(listener.token) == 1  # where it is printed

    asyncio.run(run())


def test_a_token_in_a_file_is_not_printed(tmp_path: Path, script: Script) -> None:
    async def run() -> None:
        file = tmp_path / "token"
        async with listening("--tcp", "--token-file", str(file), *script.options) as listener:
            assert listener.token == ""
            await serves(listener.port, file.read_text().strip())

    asyncio.run(run())


def test_without_a_token_every_program_of_this_machine_is_served(script: Script) -> None:
    async def run() -> None:
        async with listening("--tcp", "--no-token", *script.options) as listener:
            await serves(listener.port, "")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--host", "0.0.0.0"], "loopback only"),
        (["--host", "0.0.0.0", "--no-token"], "loopback only"),
        (["--host", "0.0.0.0", "--no-token", "--allow-remote"], "do not go together"),
        (["--token-file", "/nowhere/token"], "No such file"),
    ],
)
def test_an_address_that_is_not_loopback_needs_a_flag_and_a_token(options: list[str], complaint: str) -> None:
    command = [sys.executable, "-m", "lsp_server", "--tcp", "--port", "0", *options]
    with RawClient(command=command) as client:
        status, log = client.ended()
    assert status == 2
    assert complaint in log


def test_a_message_over_the_limit_is_refused_unread_and_the_next_one_answered(script: Script) -> None:
    with RawClient(options=script.options) as client:
        client.request("initialize", {"capabilities": {}})
        assert client.process.stdin is not None
        client.process.stdin.write(b"Content-Length: %d\r\n\r\n" % (MAX_MESSAGE_BYTES + 3))
        refusal = client.receive()
        assert refusal["id"] is None and "bytes was not read" in refusal["error"]["message"]
        chunk = b"[" * (1 << 20)
        for _ in range(MAX_MESSAGE_BYTES // len(chunk)):
            rest = memoryview(chunk)
            while rest:
                rest = rest[client.process.stdin.write(rest) :]
        client.process.stdin.write(b"[[[")
        assert "requests" in client.request("mezzotint/stats", None)["result"]


def test_documents_over_the_limit_are_refused_with_one_message(script: Script) -> None:
    from lsp_server.text.documents import MAX_OPEN

    with RawClient(options=script.options) as client:
        client.request("initialize", {"capabilities": {}, "initializationOptions": {"encodeAhead": False}})
        said = []
        for number in range(MAX_OPEN + 3):
            document = {"uri": f"file:///{number}.py", "languageId": "python", "version": 1, "text": "x = \n"}
            client.notify("textDocument/didOpen", {"textDocument": document})
        client.send_request("last", "mezzotint/stats", None)
        while (heard := client.receive()).get("id") != "last":
            said.append(heard["params"]["message"])
        assert said == [f"Mezzotint: {MAX_OPEN:,} documents are open; no more are taken until some are closed."]
