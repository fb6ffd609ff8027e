"""What the server has is what its client has: `mezzotint/documents`."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from raw import RawClient
from scripts import Script

TEXT = "a = '😀'\r\nb = 1\rc = 2\u2028\n"


@pytest.fixture
def client(script: Script) -> Any:
    with RawClient(options=script.options) as client:
        client.request("initialize", {"capabilities": {}, "initializationOptions": {"maxFileBytes": 1000}})
        client.notify("initialized", {})
        opened(client, "file:///a.py", TEXT)
        yield client


def opened(client: RawClient, uri: str, text: str) -> None:
    document = {"uri": uri, "languageId": "python", "version": 1, "text": text}
    client.notify("textDocument/didOpen", {"textDocument": document})


def changed(client: RawClient, version: int, line: int, character: int, text: str) -> None:
    at = {"line": line, "character": character}
    changes = [{"range": {"start": at, "end": at}, "text": text}]
    named = {"uri": "file:///a.py", "version": version}
    client.notify("textDocument/didChange", {"textDocument": named, "contentChanges": changes})


def test_documents_are_told_by_their_hash(client: RawClient) -> None:
    changed(client, 2, 0, 7, "x")  # behind the emoji, which is two
    changed(client, 3, 2, 5, "y")
    text = TEXT.replace("😀", "😀x").replace("2", "2y")
    opened(client, "file:///large.py", "x" * 1001)
    assert client.request("mezzotint/documents", None)["result"] == [
        {"uri": "file:///a.py", "version": 3, "sha256": hashlib.sha256(text.encode()).hexdigest()},
        {"uri": "file:///large.py", "version": 1, "sha256": ""},
    ]
