"""Whatever arrives, the server answers or says what is wrong, and goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from editor import PATIENCE_S, Editor, editor
from raw import RawClient
from scripts import VALUE, Script, sharpens


def test_places_without_completion_give_an_empty_list(run: Run) -> None:
    async def test(client: Editor) -> None:
        passes = (await client.stats()).forwardPasses
        client.open("file:///a.py", "x = 'some text'  # a comment\ny = 1\n")
        client.open("file:///home/.env", "PASSWORD=\n", "dotenv")
        client.open("file:///id_rsa", "key\n", "plaintext")
        client.open("file:///large.py", "x = 1\n" * 200_000)
        client.open("vscode-scm:git/scm0/input", "Fix \n", "scminput")
        client.open("git:/a.py?ref", "x = \n")
        client.open("file:///p/COMMIT_EDITMSG", "Fix \n", "git-commit")
        client.open("file:///key.py", f"#-----BEGIN PRIVATE KEY-----\n#{'aB3+dE5/gH7jK9mN' * 4}\nx = \n")
        for uri, line, character in (
            ("vscode-scm:git/scm0/input", 0, 4),
            ("git:/a.py?ref", 0, 4),
            ("file:///p/COMMIT_EDITMSG", 0, 4),
            ("file:///key.py", 2, 4),
            ("file:///unknown.py", 0, 0),
            ("file:///a.py", 99, 0),
            ("file:///home/.env", 0, 9),
            ("file:///id_rsa", 0, 3),
            ("file:///large.py", 3, 4),
        ):
            assert await client.items(uri, line, character) == []
        assert (await client.stats()).forwardPasses == passes
        assert client.messages == []

    run(test, sharpens("", VALUE))


def test_odd_text_and_unknown_languages_are_completed(run: Run) -> None:
    async def test(client: Editor) -> None:
        client.open("file:///a.xyz", "let total = \n", "xyz")
        client.open("file:///nul.py", "x = '\0'\r\ny = \r\n🜂 = 1\r\n")
        client.open("file:///broken.py", "def f(:\n  ((((\nclass\n    return \n")
        for uri, line, character in (
            ("file:///a.xyz", 0, 12),
            ("file:///nul.py", 1, 4),
            ("file:///broken.py", 3, 11),
            ("file:///a.xyz", 0, 10_000),  # past the end of a line is its end
        ):
            assert [item.insert_text for item in await client.items(uri, line, character)] == [VALUE]

    run(test, sharpens("", VALUE))


def test_a_stale_change_is_ignored(run: Run) -> None:
    async def test(client: Editor) -> None:
        client.open("file:///a.py", "x = \n")
        client.change("file:///a.py", (0, 0), (0, 0), "value = 1\n", version=7)
        client.change("file:///a.py", (0, 0), (2, 0), "", version=3)
        await client.items("file:///a.py", 1, 4)
        assert client.drafts[-1].version == 7

    run(test, sharpens("x = ", VALUE))


def test_a_document_spelled_in_three_ways_is_one_and_drafts_name_it_as_it_was_opened(run: Run) -> None:
    async def test(client: Editor) -> None:
        opened, changed, asked = "file:///c%3A/a%2Bb%20c.py", "file:///C:/a+b c.py", "file:///c:/a+b%20c.py"
        client.open(opened, "x = \n")
        client.versions[changed] = 1
        client.change(changed, (0, 0), (0, 0), "value = 1\n")
        await client.items(asked, 1, 4)
        assert (client.drafts[-1].uri, client.drafts[-1].version) == (opened, 2)

    run(test)


def test_wrong_weights_are_said_once_and_completions_are_empty(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"not weights")

    async def run() -> None:
        async with editor({"model": str(tmp_path), "threads": "many"}) as client:
            client.open("file:///a.py", "x = \n")
            assert await client.items("file:///a.py", 0, 4) == []
            assert await client.items("file:///a.py", 0, 4) == []
            about_threads, about_model = client.messages
            assert "'threads'" in about_threads
            assert "cannot be loaded" in about_model

    asyncio.run(run())


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with RawClient(options=Script(tmp_path_factory.mktemp("raw")).options) as client:
        client.request("initialize", {"processId": None, "rootUri": None, "capabilities": {}})
        yield client
        assert client.request("shutdown", None)["result"] is None
        client.notify("exit", None)
        assert client.process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{this is no json}", -32700),
        (b"\xff\xfe\x00", -32700),
        (b"[" * 100_000, -32700),
        (b"[1, 2]", -32600),
        (b'"text"', -32600),
        (b'{"id": 1, "method": "shutdown"}', -32600),
    ],
)
def test_malformed_messages_are_answered_with_an_error(raw: RawClient, body: bytes, code: int) -> None:
    raw.send_bytes(body)
    answer = raw.receive()
    assert answer["id"] is None
    assert answer["error"]["code"] == code
    assert "requests" in raw.request("mezzotint/stats", {})["result"]


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("textDocument/inlineCompletion", {"textDocument": {"uri": "file:///a.py"}}, -32602),
        ("textDocument/inlineCompletion", None, -32602),
        ("textDocument/noSuchMethod", {}, -32601),
    ],
)
def test_a_wrong_request_is_answered_with_its_id(raw: RawClient, method: str, params: Any, code: int) -> None:
    answer = raw.request(method, params)
    assert answer["error"]["code"] == code


def test_headers_that_are_none_are_skipped(raw: RawClient) -> None:
    raw.process.stdin.write(b"hello\r\nContent-Length: x\r\n\r\n")  # type: ignore[union-attr]
    assert "requests" in raw.request("mezzotint/stats", None)["result"]


@pytest.mark.parametrize("length", [b"9" * 5000, b"9" * 20, b"9" * 19, b"-5", b"1e3"])
def test_a_length_that_is_none_ends_nothing(raw: RawClient, length: bytes) -> None:
    raw.process.stdin.write(b"Content-Length: %b\r\n\r\n" % length)  # type: ignore[union-attr]
    assert "requests" in raw.request("mezzotint/stats", None)["result"]


def test_changes_of_documents_that_are_not_open_are_ignored(raw: RawClient) -> None:
    document = {"uri": "file:///nowhere.py", "version": 2}
    raw.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [{"text": "x"}]})
    raw.notify("textDocument/didClose", {"textDocument": {"uri": "file:///nowhere.py"}})
    assert "requests" in raw.request("mezzotint/stats", {})["result"]


@pytest.mark.parametrize(("line", "character"), [(0, -3), (-1, 0), (0, 2**32 - 1), (2**40, 2**40)])
def test_positions_that_lsp_does_not_allow_are_the_nearest_it_does(raw: RawClient, line: int, character: int) -> None:
    document = {"uri": "file:///odd.py", "languageId": "python", "version": 1, "text": "'abc'\n"}
    raw.notify("textDocument/didOpen", {"textDocument": document})
    keystrokes = raw.request("mezzotint/stats", {})["result"]["keystrokes"]
    odd = {"line": line, "character": character}
    changes = [{"range": {"start": odd, "end": odd}, "text": " "}]
    raw.notify("textDocument/didChange", {"textDocument": {**document, "version": 2}, "contentChanges": changes})
    assert raw.request("mezzotint/stats", {})["result"]["keystrokes"] == keystrokes + 1
    where = {"textDocument": document, "position": odd, "context": {"triggerKind": 2}}
    assert "result" in raw.request("textDocument/inlineCompletion", where)


def test_a_client_that_does_not_read_loses_nothing_and_stops_nothing(script: Script) -> None:
    script.says(sharpens("name = ", VALUE))
    with RawClient(options=script.options) as client:
        options = {"drafts": True, "minConfidencePercent": 0}
        client.request("initialize", {"capabilities": {}, "initializationOptions": options})
        document = {"uri": "file:///a.py", "languageId": "python", "version": 1, "text": "import os\n\nname = \n"}
        client.notify("textDocument/didOpen", {"textDocument": document})
        where = {"textDocument": document, "position": {"line": 2, "character": 7}, "context": {"triggerKind": 2}}
        for number in range(2000):  # more than the pipes hold, in both directions
            client.send_request(f"r{number}", "mezzotint/stats", {})
        client.send_request("last", "textDocument/inlineCompletion", where)
        answered, drafts = [], []
        while answered[-1:] != ["last"]:
            message = client.receive()
            if "id" in message:
                answered.append(message["id"])
            elif message["method"] == "mezzotint/draft":
                drafts.append(message["params"])
        assert answered == [*(f"r{number}" for number in range(2000)), "last"]
        assert (drafts[-1]["text"], drafts[-1]["done"]) == (VALUE, True)
        assert client.request("shutdown", None)["result"] is None
        client.notify("exit", None)
        assert client.ended()[0] == 0
