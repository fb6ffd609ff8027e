"""The real server lives through whatever a client sends: every request with an id is answered, the next as well.

What was found is in docs/reliability.md, and tested in test_bad_input.py.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from editor import PATIENCE_S
from hypothesis import given
from hypothesis import strategies as st
from raw import RawClient
from scripts import VALUE, Script, sharpens

from tests.fuzzing import count, fuzz

URI = "file:///a.py"
PLACE = {"line": 0, "character": 4}
SPAN = {"start": {"line": 0, "character": 0}, "end": PLACE}
DOCUMENT = {"uri": URI, "languageId": "python", "version": 1, "text": "x = \n"}
NAMED = {"uri": URI, "version": 2}
ASKED = {"textDocument": {"uri": URI}, "position": PLACE, "context": {"triggerKind": 1}, "workDoneToken": "t"}
NOTIFICATIONS: list[tuple[str, Any]] = [
    ("initialized", {}),
    ("textDocument/didOpen", {"textDocument": DOCUMENT}),
    ("textDocument/didChange", {"textDocument": NAMED, "contentChanges": [{"range": SPAN, "text": "é𝄞\n"}]}),
    ("textDocument/didChange", {"textDocument": NAMED, "contentChanges": [{"text": "y = \n"}]}),
    ("textDocument/didClose", {"textDocument": {"uri": URI}}),
    ("textDocument/didSave", {"textDocument": {"uri": URI}, "text": "z"}),
    ("workspace/didChangeConfiguration", {"settings": {"mezzotint": {"drafts": True, "model": "/nowhere"}}}),
    ("workspace/didChangeWorkspaceFolders", {"event": {"added": [{"uri": "file:///", "name": "x"}], "removed": []}}),
    ("notebookDocument/didOpen", {"notebookDocument": {"uri": URI, "cells": []}, "cellTextDocuments": [DOCUMENT]}),
    ("$/cancelRequest", {"id": 7}),
    ("$/setTrace", {"value": "verbose"}),
    ("window/workDoneProgress/cancel", {"token": "mezzotint/load"}),
    ("mezzotint/didMove", {"textDocument": {"uri": URI}, "position": PLACE}),
    ("mezzotint/didShow", {}),
    ("mezzotint/didAccept", {"kind": "word"}),
]
REQUESTS: list[tuple[str, Any]] = [
    ("textDocument/inlineCompletion", ASKED),
    ("textDocument/completion", ASKED),
    ("initialize", {"capabilities": {}, "initializationOptions": {"model": "x"}}),
    ("workspace/executeCommand", {"command": "x", "arguments": [1]}),
    ("mezzotint/stats", {}),
    ("no/such", None),
]
MESSAGES = [{"method": method, "params": params} for method, params in NOTIFICATIONS]
MESSAGES += [{"id": 7, "method": method, "params": params} for method, params in REQUESTS] * 3
MESSAGES += [{"id": 7, "result": None}, {"id": "7", "error": {"code": 1, "message": "x"}}]
ODD = [None, True, 0, -1, 2**31, 2**70, 1.5, float("inf"), "", "\ud800", "\0", "x" * 3000, [], {}, [[[]]], {"": 1}, URI]

leaf = st.sampled_from(ODD) | st.text(max_size=5) | st.integers()
value = st.recursive(
    leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner), max_leaves=5
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to everything in some JSON."""
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield (*path, key)
        yield from places(tree[key], (*path, key))


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A message that is right but for a few places, or none at all."""
    message: dict[str, Any] = {"jsonrpc": "2.0", **copy.deepcopy(draw(st.sampled_from(MESSAGES)))}
    for _ in range(draw(st.integers(0, 2))):
        *path, last = draw(st.sampled_from(list(places(message)) or [("jsonrpc",)]))
        inner: Any = message
        for key in path:
            inner = inner[key]
        if draw(st.booleans()):
            inner[last] = copy.deepcopy(draw(value))  # what is odd is shared, and may be changed in its turn
        else:
            del inner[last]
    body = json.dumps(message).encode()
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.binary(max_size=6)) + body[at + draw(st.integers(0, 3)) :]
    return body or b" "


def must_be_answered(body: bytes) -> Any:
    """The id of a message that is a request, whatever is in it; None for others."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or message.keys() & {"result", "error"}:
        return None
    id, method = message.get("id"), message.get("method")
    known = isinstance(method, str) and method not in ("exit", "shutdown")
    return id if known and type(id) in (int, str) and message.get("method") else None


def numbered(body: bytes, number: int) -> bytes:
    """A request with the usual id, with one of its own: two that are the same would answer for one another."""
    if must_be_answered(body) != 7:
        return body
    return json.dumps({**json.loads(body), "id": f"request {number}"}).encode()


class Fuzzed:
    """A server, another one after some thousand messages."""

    def __init__(self, script: Script) -> None:
        self.script, self.client = script, None
        self.n_checks = 0

    def started(self) -> RawClient:
        if self.client is None:
            self.client = RawClient(options=[*self.script.options, "--log-level", "error"])
            self.client.request("initialize", {"capabilities": {}, "initializationOptions": {"deadlineMs": 100}})
        return self.client

    def answers(self, bodies: list[bytes]) -> None:
        """Send all; a request that has an id is answered, and one behind all of them."""
        client = self.started()
        self.n_checks += 1
        count("messages", len(bodies) + 1)
        count("sequences of messages")
        bodies = [numbered(body, number) for number, body in enumerate(bodies)]
        wanted = {json.dumps(id) for id in map(must_be_answered, bodies) if id is not None}
        for body in bodies:
            client.send_bytes(body)
        last = f"check {self.n_checks}"
        client.send_request(last, "mezzotint/stats", {})
        wanted.add(json.dumps(last))
        while wanted:
            heard = client.receive()
            if "method" not in heard:
                wanted.discard(json.dumps(heard.get("id")))
        if self.n_checks % 500 == 0:
            self.end()

    def end(self) -> None:
        client, self.client = self.client, None
        if client is not None:
            assert client.request("shutdown", None)["result"] is None
            client.notify("exit", None)
            assert client.process.wait(PATIENCE_S) == 0
            client.__exit__()


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    script = Script(tmp_path_factory.mktemp("fuzz"))
    script.says(sharpens("", VALUE))
    server = Fuzzed(script)
    yield server
    server.end()


@fuzz(60, by=10)
@given(bodies=st.lists(messages() | st.binary(min_size=1, max_size=40), min_size=1, max_size=20))
def test_whatever_messages_come_each_request_is_answered(fuzzed: Fuzzed, bodies: list[bytes]) -> None:
    fuzzed.answers(bodies)


HEADERS = [b"Content-Length: -1", b"Content-Length: ", b"Content-Length: 1e3", b"Content-Length: " + b"9" * 5000, b":"]


@fuzz(25, by=10)
@given(lines=st.lists(st.sampled_from(HEADERS) | st.binary(max_size=40), max_size=20))
def test_whatever_bytes_come_the_next_request_is_answered(fuzzed: Fuzzed, lines: list[bytes]) -> None:
    client = fuzzed.started()
    assert client.process.stdin is not None
    kept = [line for line in lines if b"content-length" not in line.lower() or line in HEADERS]
    client.process.stdin.write(b"\r\n".join([*kept, b""]))
    fuzzed.answers([b"{}"])
