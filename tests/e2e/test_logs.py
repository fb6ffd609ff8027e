"""Nothing of a document is in what a whole session writes to stderr, whatever goes wrong in it."""

from __future__ import annotations

from typing import Any

from raw import RawClient
from scripts import Script, rule, sharpens

TEXT = "Sesame"  # in every text, name and message that a client sends
URI = f"file:///{TEXT}/{TEXT}.py"
CODE = f"import {TEXT}\n\n{TEXT}_key = \n"


def where(line: int, character: int) -> dict[str, Any]:
    position = {"line": line, "character": character}
    return {"textDocument": {"uri": URI}, "position": position, "context": {"triggerKind": 2}}


def a_session_in_which_all_goes_wrong(client: RawClient) -> None:
    client.request(
        "initialize", {"capabilities": {}, "initializationOptions": {"drafts": True, "minConfidencePercent": 0}}
    )
    document = {"uri": URI, "languageId": "python", "version": 1, "text": CODE}
    client.notify("textDocument/didOpen", {"textDocument": document})
    assert client.request("textDocument/inlineCompletion", where(2, len(TEXT) + 7))["result"]["items"]
    client.request("textDocument/inlineCompletion", where(0, 7))  # the engine fails
    change = {"range": {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 0}}, "text": TEXT}
    client.notify("textDocument/didChange", {"textDocument": {**document, "version": 2}, "contentChanges": [change]})
    client.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})  # stale
    client.notify(
        "textDocument/didChange", {"textDocument": document, "contentChanges": [{"range": TEXT, "text": TEXT}]}
    )
    client.notify("textDocument/didChange", {"textDocument": {"uri": "file:///no"}, "contentChanges": TEXT})
    client.notify("textDocument/didOpen", {"textDocument": {"text": TEXT}})
    client.notify(f"{TEXT}/unknown", {"text": TEXT})
    client.send_bytes(b'{"jsonrpc": "2.0", "method": "%b" %b' % (TEXT.encode(), CODE.encode()))
    client.send_bytes(b'{"jsonrpc": "%b", "id": "%b", "method": "x"}' % (TEXT.encode(), TEXT.encode()))
    client.send_bytes(b'{"jsonrpc": "2.0", "id": "%b", "result": "%b"}' % (TEXT.encode(), TEXT.encode()))
    assert "error" in client.request(f"{TEXT}/unknown", {"text": TEXT})
    assert "error" in client.request("textDocument/inlineCompletion", {"textDocument": TEXT, "position": TEXT})
    secret = {**document, "uri": f"file:///{TEXT}/.env", "text": f"KEY={TEXT}"}
    client.notify("textDocument/didOpen", {"textDocument": secret})
    client.request("textDocument/inlineCompletion", {**where(0, 4), "textDocument": {"uri": secret["uri"]}})
    client.notify("textDocument/didClose", {"textDocument": {"uri": f"file:///{TEXT}/never-opened"}})
    assert client.request("shutdown", None)["result"] is None
    client.notify("exit", None)


def log_of(script: Script, level: str) -> str:
    """What is written of the session."""
    error = f"KeyError: '{TEXT}'"
    script.says(sharpens("_key = ", TEXT), rule("import ", error=error))
    with RawClient(options=[*script.options, "--log-level", level]) as client:
        a_session_in_which_all_goes_wrong(client)
        status, log = client.ended()
    assert status == 0
    return log


def test_nothing_of_a_document_is_in_the_log(script: Script) -> None:
    log = log_of(script, "info")
    assert "a completion failed (ScriptedError" in log  # what went wrong is there, and where
    assert "didChange for version 1" in log
    assert TEXT.lower() not in log.lower().replace(str(script.path).lower(), "")
    assert "Logging error" not in log


def test_at_debug_level_it_is(script: Script) -> None:
    assert TEXT in log_of(script, "debug")
