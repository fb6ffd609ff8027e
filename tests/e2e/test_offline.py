"""What a server is told stays on the machine: with a real model, a session from start to end opens no connection."""

from __future__ import annotations

import sys
from pathlib import Path

from raw import RawClient

SMALL = Path(__file__).parents[1] / "data/small"
WATCHED = """
import sys
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request")
sys.addaudithook(lambda event, arguments: event in NETWORK and print("DIALS", event, arguments, file=sys.stderr))
{more}
from lsp_server.cli import main
sys.exit(main(["lsp"]))
"""


def log_of_a_session(more: str = "") -> str:
    with RawClient(command=[sys.executable, "-c", WATCHED.format(more=more)]) as client:
        options = {"model": str(SMALL), "minConfidencePercent": 0}
        client.request("initialize", {"capabilities": {}, "initializationOptions": options})
        client.notify("initialized", {})
        document = {"uri": "file:///a.py", "languageId": "python", "version": 1, "text": "import os\n\nname = os.\n"}
        client.notify("textDocument/didOpen", {"textDocument": document})
        where = {"textDocument": document, "position": {"line": 2, "character": 10}, "context": {"triggerKind": 1}}
        assert "result" in client.request("textDocument/inlineCompletion", where)
        assert client.request("mezzotint/stats", None)["result"]["forwardPasses"]
        client.request("shutdown", None)
        client.notify("exit", None)
        status, log = client.ended()
    assert status == 0, log
    return log


def test_a_session_opens_no_connection() -> None:
    assert "DIALS" not in log_of_a_session()


def test_one_would_be_seen() -> None:
    assert "DIALS" in log_of_a_session("import socket; socket.socket().connect_ex(('127.0.0.1', 9))")
