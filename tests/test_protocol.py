"""What the protocol makes of messages, without a process."""

from __future__ import annotations

import json

import pytest
from lsprotocol import types

from lsp_server.server import build
from lsp_server.text.lines import Edit


def test_thousands_of_edits_are_read_without_a_protocol_object_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (types.Position, types.Range, types.TextDocumentContentChangePartial):
        monkeypatch.setattr(kind, "__init__", None)  # to make one is an error
    span = {"start": {"line": 3, "character": -1}, "end": {"line": 3, "character": 2**40}}
    changes = [{"range": span, "text": "result"}] * 5_000 + [{"text": "x"}]
    document = {"uri": "file:///a.py", "version": 2}
    params = {"textDocument": document, "contentChanges": changes}
    body = json.dumps({"jsonrpc": "2.0", "method": "textDocument/didChange", "params": params})
    message = json.loads(body, object_hook=build().protocol.structure_message)
    assert list(message.params.content_changes) == [Edit((3, 0), (3, 2**31 - 1), "result")] * 5_000 + ["x"]
