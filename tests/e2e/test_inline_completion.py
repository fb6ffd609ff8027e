"""Inline completion in a real stdlib file (textwrap.py), by the real server over stdio and a scripted engine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from conftest import Run
from editor import PATIENCE_S, Editor, editor
from lsprotocol import types
from places import SOURCE, URI, positions
from scripts import N_PASSES, VALUE, Script, goes_on, prefixes, rule, sharpens

HALF = len(VALUE) // 2


async def at_twenty_places(client: Editor) -> list[tuple[list[str], list[Any]]]:
    """At each, the rest of the line is deleted, completed, and put back: the items' texts and the drafts."""
    lines, found = SOURCE.split("\n"), []
    client.open(URI, SOURCE)
    for number, (line, column) in enumerate(positions(20)):
        client.change(URI, (line, column), (line, len(lines[line])), "")
        items = await client.items(URI, line, column, token=f"request-{number}")
        drafts = [draft for draft in client.drafts if draft.token == f"request-{number}"]
        assert {(draft.position.line, draft.position.character) for draft in drafts} == {(line, column)}
        assert {draft.version for draft in drafts} == {client.versions[URI]}
        assert all(item.range.start == item.range.end == types.Position(line, column) for item in items)
        found.append(([item.insert_text for item in items], drafts))
        client.change(URI, (line, column), (line, column), lines[line][column:])
    return found


def test_drafts_sharpen_to_the_final_item_at_twenty_positions(run: Run) -> None:
    async def test(client: Editor) -> None:
        before = await client.stats()
        for texts, drafts in await at_twenty_places(client):
            assert texts == [VALUE]
            said = [(draft.step, draft.text, draft.done) for draft in drafts]
            assert said == [(1, VALUE, False), (2, VALUE, False), (3, VALUE, True)]
            masked = [[list(span) for span in draft.masked] for draft in drafts]
            assert masked == [[[0, len(VALUE)]], [[HALF, len(VALUE)]], []]
        stats = await client.stats()
        assert stats.requests == before.requests + 20
        assert stats.forwardPasses == before.forwardPasses + 60
        assert client.messages == []

    run(test, sharpens("", VALUE))


def test_by_default_what_is_sure_is_shown_and_the_last_draft_is_the_item(script: Script) -> None:
    async def test() -> None:
        async with editor({"syntaxFeedback": False}, script=script) as client:
            for texts, drafts in await at_twenty_places(client):
                assert texts == ["value"]
                assert [(draft.text, draft.done) for draft in drafts] == [("value.name", False), ("value", True)]
            client.close_all()
            script.says(rule("", [["value", 0.3]]))
            assert [texts for texts, _ in await at_twenty_places(client)] == [[]] * 20

    script.says(rule("", [["value", 0.9], [".name", 0]], [["value", 0.9], [".name", 0.3]]))
    asyncio.run(test())


def test_a_newer_request_of_a_document_answers_the_older_with_null(run: Run) -> None:
    async def test(client: Editor) -> None:
        before = await client.stats()
        client.open("file:///a.py", "first = \n\nsecond = \n")
        first = client.ask("file:///a.py", 0, 8)
        second = client.ask("file:///a.py", 2, 9)
        assert await asyncio.wait_for(first, PATIENCE_S) is None
        assert [item.insert_text for item in (await asyncio.wait_for(second, PATIENCE_S)).items] == [VALUE]
        assert (await client.stats()).superseded == before.superseded + 1

    run(test, goes_on("first = "), sharpens("second = ", VALUE))


def test_where_the_cursor_rests_is_encoded_ahead_unless_an_option_forbids_it(script: Script, tmp_path: Path) -> None:
    noted = tmp_path / "prepared"

    async def test(**options: object) -> None:
        async with editor(options, script=script) as client:
            client.open(URI, SOURCE)
            await client.items(URI, 9, 0)
            where = {"textDocument": {"uri": URI}, "position": {"line": 20, "character": 4}}
            for params in ({}, {**where, "position": {"line": -1, "character": True}}, where):
                client.protocol.notify("mezzotint/didMove", params)
            await asyncio.sleep(
                0.3
            )  # a request would take the place of what is done ahead; what must not come has no end
            while options.get("encodeAhead", True) and before not in prefixes(noted):
                await asyncio.sleep(0.01)
            await client.items(URI, 9, 0)
            assert client.messages == []

    lines = SOURCE.splitlines(keepends=True)
    before = "".join(lines[:20]) + lines[20][:4]
    script.says(sharpens("", VALUE), prepared=str(noted))
    asyncio.run(asyncio.wait_for(test(), PATIENCE_S))
    assert prefixes(noted)[-1] == before
    noted.unlink()
    asyncio.run(test(encodeAhead=False))
    assert prefixes(noted) == []


def test_typing_what_the_item_says_needs_no_forward_pass(run: Run) -> None:
    async def test(client: Editor) -> None:
        client.open("file:///a.py", "import os\n\nname = \n")
        [item] = await client.items("file:///a.py", 2, 7)
        assert item.insert_text == "os.getcwd()"
        before = await client.stats()
        client.change("file:///a.py", (2, 7), (2, 7), "os")
        rest = await client.items("file:///a.py", 2, 9)
        assert [one.insert_text for one in rest] == [".getcwd()"]
        assert client.drafts[-1].text == ".getcwd()"
        stats = await client.stats()
        assert stats.forwardPasses == before.forwardPasses
        assert stats.fromMemory == before.fromMemory + 1

    run(test, sharpens("name = ", "os.getcwd()"))


def test_after_a_word_and_a_line_are_accepted_the_rest_comes_without_a_forward_pass_with_text_to_the_right(
    run: Run,
) -> None:
    async def test(client: Editor) -> None:
        client.open("file:///a.py", "import os\n\nname = join()\n")
        [item] = await client.items("file:///a.py", 2, 12)
        assert item.insert_text == "os.curdir, value)" and item.range.end == types.Position(2, 13)
        before = await client.stats()
        client.change("file:///a.py", (2, 12), (2, 12), "os")
        [rest] = await client.items("file:///a.py", 2, 14)
        assert (rest.insert_text, rest.range.end) == (".curdir, value)", types.Position(2, 15))
        client.change("file:///a.py", (2, 14), (2, 15), ".curdir, value)")
        assert await client.items("file:///a.py", 2, 29) == []
        assert (await client.stats()).forwardPasses == before.forwardPasses

    run(test, sharpens("join(", "os.curdir, value"))


def test_what_the_model_indents_by_spaces_has_the_tabs_of_its_file_in_every_draft(run: Run) -> None:
    code = "def f(a):\n\tif a:\n\t\treturn 1\n\n\ndef g(a):\n\t\n"

    async def test(client: Editor) -> None:
        client.open("file:///a.py", code)
        [item] = await client.items("file:///a.py", 6, 1)
        assert item.insert_text == "if a.is_valid:\n\t\treturn a.value\n\treturn None"
        assert {draft.text for draft in client.drafts} == {item.insert_text}
        masked = [[draft.text[a:b] for a, b in draft.masked] for draft in client.drafts]
        assert masked[0] == [item.insert_text] and masked[-1] == []

    run(test, sharpens("def g(a):\n\t", "if a.is_valid:\n        return a.value\n    return None"))


def test_typing_where_nothing_is_wanted_asks_no_model_and_asking_by_hand_does(run: Run) -> None:
    async def test(client: Editor) -> None:
        client.open("file:///a.py", "port = 80\n")
        before = await client.stats()
        assert await client.items("file:///a.py", 0, 9) == []
        assert (await client.stats()).forwardPasses == before.forwardPasses
        ask = client.ask("file:///a.py", 0, 9, kind=types.InlineCompletionTriggerKind.Invoked)
        assert "80" in [item.insert_text for item in (await asyncio.wait_for(ask, PATIENCE_S)).items]

    run(test, sharpens("80", "80"))


def test_deleting_what_was_typed_brings_the_suggestion_back_without_a_forward_pass(run: Run) -> None:
    async def test(client: Editor) -> None:
        client.open("file:///a.py", "import os\n\nname = \n")
        [item] = await client.items("file:///a.py", 2, 7)
        client.change("file:///a.py", (2, 7), (2, 7), "~")
        assert await client.items("file:///a.py", 2, 8) == []
        before = await client.stats()
        client.change("file:///a.py", (2, 7), (2, 8), "")
        [again] = await client.items("file:///a.py", 2, 7)
        assert again.insert_text == item.insert_text == "os.getcwd()"
        assert (await client.stats()).forwardPasses == before.forwardPasses

    run(test, sharpens("name = ", "os.getcwd()"))


def test_a_request_made_by_hand_brings_different_candidates_the_drafted_one_first(run: Run) -> None:
    async def test(client: Editor) -> None:
        client.open("file:///a.py", "import os\n\nd = os.\n")
        ask = client.ask("file:///a.py", 2, 7, token="by-hand", kind=types.InlineCompletionTriggerKind.Invoked)
        texts = [item.insert_text for item in (await asyncio.wait_for(ask, PATIENCE_S)).items]
        assert texts == ["curdir", "sep"]  # by default two
        assert {draft.text for draft in client.drafts if draft.token == "by-hand"} == {"curdir"}

    others = [rule("os.", [[text, 0.8]], candidate=number) for number, text in enumerate(("sep", "name"), 1)]
    run(test, sharpens("os.", "curdir"), *others)


def test_an_engine_that_fails_is_said_once_and_gives_an_empty_list(run: Run) -> None:
    async def test(client: Editor) -> None:
        client.open("file:///a.py", "x = \ny = \n")
        for _ in range(2):
            assert await client.items("file:///a.py", 0, 4) == []
        [message] = client.messages
        assert "Completion failed: ScriptedError" in message
        assert [item.insert_text for item in await client.items("file:///a.py", 1, 4)] == [VALUE]

    run(test, rule("x = ", "value", error="boom"), sharpens("y = ", VALUE))


def test_at_the_deadline_the_item_is_what_is_known_then(script: Script) -> None:
    async def test() -> None:
        async with editor({"deadlineMs": 200, "minConfidencePercent": 0}, script=script) as client:
            client.open("file:///a.py", "x = \n")
            assert [item.insert_text for item in await client.items("file:///a.py", 0, 4)] == [VALUE]
            assert 1 <= (await client.stats()).forwardPasses < N_PASSES

    script.says(goes_on("x = "))
    asyncio.run(test())


def test_loading_shows_as_progress_and_requests_wait_for_it(script: Script) -> None:
    async def test() -> None:
        async with editor(script=script) as client:
            capabilities = client.answer.capabilities  # type: ignore[attr-defined]
            assert capabilities.inline_completion_provider is not None
            assert capabilities.completion_provider is None  # this editor has something better
            client.open("file:///a.py", "x = \n")
            assert [item.insert_text for item in await client.items("file:///a.py", 0, 4)] == [VALUE]
            kinds = [value["kind"] if isinstance(value, dict) else value.kind for value in client.progress]
            assert kinds == ["begin", "end"]

    script.says(sharpens("x = ", VALUE), load_ms=500)
    asyncio.run(test())


def test_plain_completion_and_positions_in_the_negotiated_encoding(script: Script) -> None:
    """An editor without inline completion that counts UTF-8; the cursor stands inside `name`."""

    async def run() -> None:
        async with editor(encoding="utf-8", inline=False, script=script) as client:
            capabilities = client.answer.capabilities  # type: ignore[attr-defined]
            assert capabilities.completion_provider is not None
            assert capabilities.position_encoding == "utf-8"
            client.open("file:///a.py", "x = len('a🜂é', name)\n")
            word, column = (len(text.encode()) for text in ("x = len('a🜂é', ", "x = len('a🜂é', na"))
            answer = await client.text_document_completion_async(
                types.CompletionParams(types.TextDocumentIdentifier("file:///a.py"), types.Position(0, column))
            )
            assert isinstance(answer, types.CompletionList)
            [item] = answer.items
            assert isinstance(item.text_edit, types.TextEdit)
            assert item.text_edit.new_text == "narrow_name(é))"
            # the rest of `name` and the closer behind it are replaced
            assert item.text_edit.range == types.Range(types.Position(0, word), types.Position(0, column + 3))
            assert client.drafts[-1].position.character == column

    script.says(rule("na", [["rrow_name(é)", 0.9]]))
    asyncio.run(run())
