"""Why nothing is offered, pauses, changed settings and selected entries of a popup: by the real server over stdio."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from editor import PATIENCE_S, Editor, editor
from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams
from scripts import Script, rule, sharpens

INVOKED = types.InlineCompletionTriggerKind.Invoked
QUIET = {"status": True, "encodeAhead": False, "minConfidencePercent": 0}
URI = "file:///a.py"
TOKEN = "x = \nGITHUB_TOKEN = 'ghp_" + "aB3dE5gH1jK7mN9pQ2sT4vW6xY8zC0fL1rU5" + "'\n"
RULES = (sharpens("x = ", "value"), sharpens("# ", "prose"))


async def said(client: Editor, uri: str, text: str, at: tuple[int, int], language: str = "python") -> list[Any]:
    """What the status says after a request in a document, that of the model's work left out."""
    client.open(uri, text, language)
    client.statuses.clear()
    await client.items(uri, *at)
    await client.stats()  # what was said before has come
    return [status for status in client.statuses if status.reason]


async def texts(client: Editor, kind: types.InlineCompletionTriggerKind | None = None) -> list[str]:
    """The items at the end of the first line."""
    ask = client.ask(URI, 0, 4) if kind is None else client.ask(URI, 0, 4, kind=kind)
    return [item.insert_text for item in (await asyncio.wait_for(ask, PATIENCE_S)).items]


def with_status(test: Any, script: Script, rules: tuple[Any, ...] = RULES, **options: Any) -> None:
    """Run a test with a client that wants to know the status."""

    async def run() -> None:
        async with editor({**QUIET, **options}, script=script) as client:
            while client.states[-1:] != ["idle"]:
                await client.status_came()
            client.statuses.clear()
            await test(client)

    script.says(*rules)
    asyncio.run(run())


@pytest.mark.parametrize(
    ("uri", "language", "text", "reason"),
    [
        ("git:/a.py", "python", "x = \n", "scheme"),
        ("file:///p/.env", "dotenv", "x = \n", "secret"),
        ("file:///p/key.py", "python", TOKEN, "secret"),
        ("file:///COMMIT_EDITMSG", "git-commit", "x = \n", "language"),
        ("file:///a.rs", "rust", "x = \n", "languageOff"),
        ("file:///large.py", "python", "x = \n" + "y" * 300, "tooLarge"),
        ("file:///a.py", "python", "#   \n", "comment"),
        ("file:///a.py", "python", "x='  \n", "string"),
    ],
)  # fmt: skip
def test_a_refused_document_says_why(script: Script, uri: str, language: str, text: str, reason: str) -> None:
    async def test(client: Editor) -> None:
        [status] = await said(client, uri, text, (0, 4), language)
        assert (status.reason, status.kind, status.uri) == (reason, "Inactive", uri)
        assert status.message

    with_status(test, script, disabledLanguages=["rust"], maxFileBytes=200, strings="off")


def test_a_reason_is_said_once_and_not_on_every_key(script: Script) -> None:
    async def test(client: Editor) -> None:
        assert len(await said(client, URI, "# a\n", (0, 3))) == 1
        for column in range(3, 8):
            client.change(URI, (0, column), (0, column), "b")
            await client.items(URI, 0, column + 1)
        await client.stats()
        assert [status.reason for status in client.statuses] == ["comment"]

    with_status(test, script)


def test_a_reason_goes_where_the_cursor_is_in_code_again(script: Script) -> None:
    async def test(client: Editor) -> None:
        await said(client, URI, "# a\nx = \n", (0, 3))
        client.statuses.clear()
        assert [item.insert_text for item in await client.items(URI, 1, 4)] == ["value"]
        await client.stats()
        assert {(status.reason, status.uri, status.kind) for status in client.statuses} == {("", "", "Normal")}

    with_status(test, script)


def test_a_model_that_is_not_there_is_told_from_one_that_is_broken(tmp_path: Path, script: Script) -> None:
    async def reasons(model: Path) -> tuple[str, str, str]:
        async with editor({**QUIET, "model": str(model)}, script=script) as client:
            while client.states[-1:] != ["error"]:
                await client.status_came()
            last = client.statuses[-1]
            return last.reason, last.kind, last.message

    script.says(load_error="no weights")
    assert asyncio.run(reasons(tmp_path / "gone"))[:2] == ("missing", "Error")
    reason, kind, message = asyncio.run(reasons(tmp_path))
    assert (reason, kind) == ("failed", "Error")
    assert "no weights" in message


def test_a_model_that_loads_says_so(script: Script) -> None:
    async def test(client: Editor) -> None:
        await client.stats()
        while client.states[-1:] != ["idle"]:
            await client.status_came()
        assert [status.reason for status in client.statuses] == ["loading", ""]

    script.says(load_ms=200)
    asyncio.run(loads(test, script))


async def loads(test: Any, script: Script) -> None:
    async with editor(QUIET, script=script) as client:
        await test(client)


def test_while_snoozed_nothing_comes_by_itself_and_by_hand_it_does(script: Script) -> None:
    async def test(client: Editor) -> None:
        client.open(URI, "x = \n")
        answer = await client.protocol.send_request_async("mezzotint/snooze", {"minutes": 5})
        assert answer.until.endswith("+00:00")
        assert await texts(client) == []
        assert await texts(client) == []
        assert await texts(client, INVOKED) == ["value"]
        paused = [status for status in client.statuses if status.reason == "paused"]
        assert {(status.kind, status.uri) for status in paused} == {("Inactive", "")}
        assert (await client.protocol.send_request_async("mezzotint/snooze", {"minutes": 0})).until is None
        assert await texts(client) == ["value"]
        assert client.statuses[-1].reason == ""

    with_status(test, script)


def test_a_pause_ends_by_itself(script: Script) -> None:
    async def test(client: Editor) -> None:
        await client.protocol.send_request_async("mezzotint/snooze", {"minutes": 0.001})
        while "paused" not in [status.reason for status in client.statuses] or client.statuses[-1].reason:
            await client.status_came()

    with_status(test, script)


@pytest.mark.parametrize("minutes", [-1, "5", None, True, 1e9])
def test_a_pause_of_no_time_is_an_error(run: Run, minutes: Any) -> None:
    async def test(client: Editor) -> None:
        with pytest.raises(JsonRpcInvalidParams):
            await client.protocol.send_request_async("mezzotint/snooze", {"minutes": minutes})

    run(test)


def pushed(client: Editor, settings: Any) -> None:
    """Tell the server of changed settings."""
    client.workspace_did_change_configuration(types.DidChangeConfigurationParams(settings=settings))


def test_pushed_settings_hold_from_the_next_request_on(script: Script) -> None:
    async def test(client: Editor) -> None:
        assert await said(client, URI, "x = \n", (0, 4)) == []
        pushed(client, {"mezzotint": {"disabledLanguages": ["python"]}, "other": 1})
        assert await texts(client) == []
        pushed(client, {"mezzotint": {}})  # what is not named is as it was at the start
        assert await texts(client) == ["value"]
        pushed(client, {"mezzotint": {"maxFileBytes": 2}})
        assert await texts(client) == []
        assert client.messages == []

    with_status(test, script)


@pytest.mark.parametrize("settings", [None, {}, [], "x", {"pylsp": {"a": 1}}])
def test_settings_that_say_nothing_of_us_change_nothing(script: Script, settings: Any) -> None:
    async def test(client: Editor) -> None:
        client.open(URI, "x = \n")
        pushed(client, {"mezzotint": {"disabledLanguages": ["python"]}})
        pushed(client, settings)
        assert await texts(client) == []
        assert client.messages == []

    with_status(test, script)


def test_a_bad_setting_is_reported_and_what_was_before_stays(script: Script) -> None:
    async def test(client: Editor) -> None:
        client.open(URI, "x = \n")
        pushed(client, {"mezzotint": {"disabledLanguages": ["python"]}})
        pushed(client, {"mezzotint": {"disabledLanguages": 5, "multiline": "never"}})
        assert await texts(client) == []
        [message] = client.messages
        assert "'disabledLanguages' must be a list of strings" in message and "stays" in message

    with_status(test, script)


def test_a_client_that_sends_no_settings_is_asked_for_them(script: Script) -> None:
    async def test() -> None:
        workspace = types.WorkspaceClientCapabilities(
            configuration=True,
            did_change_configuration=types.DidChangeConfigurationClientCapabilities(dynamic_registration=True),
        )
        async with editor(QUIET, script=script, workspace=workspace) as client:
            client.open(URI, "x = \n")
            assert await texts(client) == ["value"]
            client.settings = {"disabledLanguages": ["python"]}
            pushed(client, None)
            while await texts(client):
                pass
            assert client.registered == ["workspace/didChangeConfiguration"]

    script.says(*RULES)
    asyncio.run(test())


def test_another_model_is_loaded_in_place_of_the_first(tmp_path: Path, script: Script) -> None:
    async def test(client: Editor) -> None:
        client.open(URI, "x = \n")
        assert await texts(client) == ["value"]
        client.statuses.clear()
        pushed(client, {"mezzotint": {"model": str(tmp_path)}})
        assert await texts(client) == ["value"]
        assert client.statuses[0].state == "loading"
        assert client.messages == []

    with_status(test, script)


async def with_entry(client: Editor, line: int, column: int, span: tuple[int, int], text: str) -> list[Any]:
    """The items while a popup's entry for a span of the line is selected."""
    entry = types.SelectedCompletionInfo(
        types.Range(types.Position(line, span[0]), types.Position(line, span[1])), text
    )
    answer = await asyncio.wait_for(client.ask(URI, line, column, token="popup", entry=entry), PATIENCE_S)
    return list(answer.items)


def test_with_a_selected_entry_the_item_begins_with_it_and_replaces_its_range(run: Run) -> None:
    async def test(client: Editor) -> None:
        client.open(URI, "import os\nos.li\n")
        [item] = await with_entry(client, 1, 5, (3, 5), "listdir")
        assert item.insert_text == 'listdir(".")'
        assert item.range == types.Range(types.Position(1, 3), types.Position(1, 5))
        assert client.drafts == []
        before = await client.stats()
        client.change(URI, (1, 3), (1, 5), "listdir")  # the entry is accepted
        [rest] = await client.items(URI, 1, 10)
        assert rest.insert_text == '(".")'
        assert (await client.stats()).forwardPasses == before.forwardPasses

    run(test, sharpens("os.listdir", '(".")'), sharpens("os.li", "nesep"))


def test_with_a_selected_entry_what_stands_behind_the_cursor_stays(run: Run) -> None:
    async def test(client: Editor) -> None:
        client.open(URI, "print(na)\n")
        [item] = await with_entry(client, 0, 8, (6, 8), "name")
        assert item.insert_text == "name.strip())"
        assert item.range == types.Range(types.Position(0, 6), types.Position(0, 9))

    run(test, sharpens("print(name", ".strip()"))


@pytest.mark.parametrize(("column", "span"), [(5, (7, 9)), (5, (0, 2))])
def test_an_entry_that_is_not_at_the_cursor_brings_none(run: Run, column: int, span: tuple[int, int]) -> None:
    async def test(client: Editor) -> None:
        client.open(URI, "os.listdir\n")
        assert await with_entry(client, 0, column, span, "x") == []

    run(test, rule("", "value"))


def test_an_entry_that_nothing_follows_brings_none(run: Run) -> None:
    async def test(client: Editor) -> None:
        client.open(URI, "os.li\n")
        assert await with_entry(client, 0, 5, (3, 5), "listdir") == []

    run(test, rule("os.listdir", ""), sharpens("os.li", "nesep"))
