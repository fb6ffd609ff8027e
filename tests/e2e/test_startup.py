"""Start and end of the server process."""

from __future__ import annotations

import re

from raw import RawClient

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
