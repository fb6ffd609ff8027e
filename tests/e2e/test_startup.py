"""Start and end of the server process."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from editor import editor
from raw import RawClient
from scripts import VALUE, Script, sharpens

INITIALIZE = {"processId": None, "rootUri": None, "capabilities": {}}


def test_initialize_is_answered_before_torch_is_imported() -> None:
    with RawClient("-X", "importtime") as client:
        answer = client.request("initialize", INITIALIZE)
        assert answer["result"]["capabilities"]["inlineCompletionProvider"] == {}
        client.process.stdin.close()  # type: ignore[union-attr]
        _, log = client.ended()
    imported = set(re.findall(r"^import time:.*\| +([\w.]+)$", log, re.MULTILINE))
    assert "pygls" in imported
    heavy = {"torch", "numpy", "tokenizers", "safetensors", "tree_sitter", "websockets", "diffusion.engine"}
    assert not imported & heavy


def test_the_server_ends_quietly_when_its_client_dies() -> None:
    with RawClient() as client:
        client.request("initialize", INITIALIZE)
        client.process.stdout.close()  # type: ignore[union-attr]
        client.notify("textDocument/didOpen", {})
        client.send_bytes(b'{"jsonrpc": "2.0", "id": 9, "method": "mezzotint/stats"}')
        client.process.stdin.close()  # type: ignore[union-attr]
        status, log = client.ended()
    assert status == 0
    assert "Traceback" not in log
    assert "BrokenPipe" not in log.replace("the client is gone (BrokenPipeError)", "")


@pytest.mark.parametrize(
    ("command_line", "client", "level"),
    [
        (["--log-level", "debug"], {"drafts": True}, "DEBUG"),
        (["--log-level", "debug"], {"logLevel": "error"}, "DEBUG"),
        (["--log-level", "error"], {"logLevel": "debug"}, ""),
        ([], {"logLevel": "debug"}, "DEBUG"),
        ([], {"drafts": True}, "INFO"),
    ],
)
def test_the_log_level_of_the_command_line_holds(command_line: list[str], client: dict[str, Any], level: str) -> None:
    with RawClient(options=command_line) as server:
        server.request("initialize", {**INITIALIZE, "initializationOptions": client})
        where = {"textDocument": {"uri": "file:///none.py"}, "position": {"line": 0, "character": 0}}
        server.request("textDocument/inlineCompletion", {**where, "context": {"triggerKind": 2}})
        server.process.stdin.close()  # type: ignore[union-attr]
        _, log = server.ended()
    logged = {name for name in ("DEBUG", "INFO") if f" {name} " in log}
    assert logged == {"DEBUG": {"DEBUG", "INFO"}, "INFO": {"INFO"}, "": set()}[level]


def told(script: Script, **options: object) -> list[str]:
    """The states that a client with these options hears of during one completion."""

    async def listen() -> list[str]:
        async with editor(options, script=script) as client:
            client.open("file:///a.py", "import os\n\nname = \n")
            await client.items("file:///a.py", 2, 7)
            await client.stats()
            return client.states

    return asyncio.run(listen())


def test_clients_that_ask_are_told_what_the_server_is_doing(script: Script) -> None:
    script.says(sharpens("name = ", VALUE), load_ms=300)
    assert told(script, status=True) == ["loading", "denoising", "idle"]
    script.says(load_ms=300, load_error="weights are truncated")
    assert told(script, status=True) == ["loading", "error"]


def test_clients_that_do_not_ask_are_not_told_what_the_server_is_doing(script: Script) -> None:
    script.says(sharpens("name = ", VALUE))
    assert told(script) == []


@pytest.mark.parametrize(("methods", "status"), [(["initialize", "shutdown"], 0), (["initialize"], 1), ([], 1)])
def test_exit_without_shutdown_is_status_1(methods: list[str], status: int) -> None:
    with RawClient() as client:
        for method in methods:
            assert "result" in client.request(method, INITIALIZE if method == "initialize" else None)
        client.notify("exit", None)
        assert client.ended()[0] == status


def test_requests_at_the_wrong_time_are_answered_with_an_error() -> None:
    def code(method: str) -> int:
        return int(client.request(method, INITIALIZE if method == "initialize" else None)["error"]["code"])

    with RawClient() as client:
        client.notify(
            "textDocument/didOpen", {"textDocument": {"uri": "a", "languageId": "", "version": 1, "text": ""}}
        )
        assert code("mezzotint/stats") == code("no/such") == code("shutdown") == -32002  # ServerNotInitialized
        client.request("initialize", INITIALIZE)
        assert code("initialize") == -32600  # InvalidRequest
        assert "requests" in client.request("mezzotint/stats", None)["result"]
        client.request("shutdown", None)
        assert code("mezzotint/stats") == code("shutdown") == code("initialize") == -32600
        client.notify("exit", None)
        assert client.ended()[0] == 0
