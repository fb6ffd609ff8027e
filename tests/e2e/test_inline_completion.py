"""Inline completion in a real stdlib file (textwrap.py), by the real server over stdio."""

from __future__ import annotations

import asyncio
import io
import textwrap
import tokenize
from pathlib import Path

from conftest import Run
from editor import PATIENCE_S, Editor, editor
from lsprotocol import types

SOURCE = Path(textwrap.__file__).read_text(encoding="utf-8")
URI = Path(textwrap.__file__).as_uri()


def positions(count: int) -> list[tuple[int, int]]:
    """Places behind `=`, `(`, `.` and `return`, spread evenly over the file."""
    places = [
        token.end
        for token in tokenize.generate_tokens(io.StringIO(SOURCE).readline)
        if token.string in ("=", "(", ".", "return") and token.end[1] < len(token.line.rstrip())
    ]
    return [(line - 1, column) for line, column in places[:: len(places) // count][:count]]


def test_drafts_sharpen_to_the_final_item_at_twenty_positions(run: Run) -> None:
    """At each, the rest of the line is deleted, completed, and put back."""

    async def test(client: Editor) -> None:
        lines = SOURCE.split("\n")
        n_undecided = n_items = 0
        before = await client.stats()
        client.open(URI, SOURCE)
        for number, (line, column) in enumerate(positions(20)):
            client.change(URI, (line, column), (line, len(lines[line])), "")
            items = await client.items(URI, line, column, token=f"request-{number}")
            drafts = [draft for draft in client.drafts if draft.token == f"request-{number}"]
            assert drafts, f"no drafts at {line}:{column}"
            assert [draft.step for draft in drafts] == sorted({draft.step for draft in drafts})
            assert {(draft.position.line, draft.position.character) for draft in drafts} == {(line, column)}
            assert {draft.version for draft in drafts} == {client.versions[URI]}
            assert [draft.done for draft in drafts] == [False] * (len(drafts) - 1) + [True]
            assert list(drafts[-1].masked) == []
            assert drafts[-1].text == (items[0].insert_text if items else "")
            assert all(item.range.start == item.range.end == types.Position(line, column) for item in items)
            n_undecided += any(list(draft.masked) for draft in drafts)
            n_items += len(items)
            client.change(URI, (line, column), (line, column), lines[line][column:])
        stats = await client.stats()
        assert n_items >= 10
        assert n_undecided >= 5  # a draft that is decided at once has no spans to shrink
        assert stats.requests == before.requests + 20
        assert stats.forwardPasses >= before.forwardPasses + 20
        assert client.messages == []

    run(test)


def test_by_default_less_is_shown_and_the_last_draft_is_still_the_item() -> None:
    async def test() -> None:
        lines, n_items = SOURCE.split("\n"), 0
        async with editor({"threads": 1}) as client:
            client.open(URI, SOURCE)
            for number, (line, column) in enumerate(positions(20)):
                client.change(URI, (line, column), (line, len(lines[line])), "")
                items = await client.items(URI, line, column, token=f"request-{number}")
                drafts = [draft for draft in client.drafts if draft.token == f"request-{number}"]
                assert [draft.done for draft in drafts] == [False] * (len(drafts) - 1) + [True]
                assert drafts[-1].text == (items[0].insert_text if items else "")
                n_items += len(items)
                client.change(URI, (line, column), (line, column), lines[line][column:])
        assert 1 <= n_items < 20

    asyncio.run(test())


def test_a_newer_request_of_a_document_answers_the_older_with_null(run: Run) -> None:
    async def test(client: Editor) -> None:
        before = await client.stats()
        client.open("file:///a.py", "def area(width, height):\n    \n\ndef volume(width, height, depth):\n    \n")
        first = client.ask("file:///a.py", 1, 4)
        second = client.ask("file:///a.py", 4, 4)
        assert await asyncio.wait_for(first, PATIENCE_S) is None
        assert (await asyncio.wait_for(second, PATIENCE_S)).items is not None
        assert (await client.stats()).superseded == before.superseded + 1

    run(test)


def test_typing_what_the_item_says_needs_no_forward_pass(run: Run) -> None:
    async def test(client: Editor) -> None:
        client.open("file:///a.py", "import os\n\nname = \n")
        item = (await client.items("file:///a.py", 2, 7))[0]
        before = await client.stats()
        client.change("file:///a.py", (2, 7), (2, 7), item.insert_text[:2])
        rest = await client.items("file:///a.py", 2, 9)
        assert [one.insert_text for one in rest] == [item.insert_text[2:]]
        assert client.drafts[-1].text == item.insert_text[2:]
        stats = await client.stats()
        assert stats.forwardPasses == before.forwardPasses
        assert stats.fromMemory == before.fromMemory + 1

    run(test)


def test_deleting_what_was_typed_brings_the_suggestion_back_without_a_forward_pass(run: Run) -> None:
    async def test(client: Editor) -> None:
        client.open("file:///a.py", "import os\n\nname = \n")
        [item] = await client.items("file:///a.py", 2, 7)
        client.change("file:///a.py", (2, 7), (2, 7), "~")
        await client.items("file:///a.py", 2, 8)
        before = await client.stats()
        client.change("file:///a.py", (2, 7), (2, 8), "")
        [again] = await client.items("file:///a.py", 2, 7)
        assert again.insert_text == item.insert_text
        assert (await client.stats()).forwardPasses == before.forwardPasses

    run(test)


def test_a_request_made_by_hand_brings_different_candidates_the_drafted_one_first(run: Run) -> None:
    async def test(client: Editor) -> None:
        client.open("file:///a.py", "import os\n\na = os.sep\nb = os.path\nc = os.name\nd = os.\n")
        ask = client.ask("file:///a.py", 5, 7, token="by-hand", kind=types.InlineCompletionTriggerKind.Invoked)
        texts = [item.insert_text for item in (await asyncio.wait_for(ask, PATIENCE_S)).items]
        done = [draft for draft in client.drafts if draft.token == "by-hand" and draft.done]
        assert 2 <= len(texts) <= 3
        assert len(set(texts)) == len(texts)
        assert [draft.text for draft in done] == texts[:1]

    run(test)


def test_loading_shows_as_progress_and_requests_wait_for_it(run: Run) -> None:
    async def test(client: Editor) -> None:
        capabilities = client.answer.capabilities  # type: ignore[attr-defined]
        assert capabilities.inline_completion_provider is not None
        assert capabilities.completion_provider is None  # this editor has something better
        client.open("file:///a.py", "x = \n")
        await client.items("file:///a.py", 0, 4)
        kinds = [value["kind"] if isinstance(value, dict) else value.kind for value in client.progress]
        assert kinds == ["begin", "end"]

    run(test)


def test_plain_completion_and_positions_in_the_negotiated_encoding() -> None:
    """An editor without inline completion that counts UTF-8; the cursor stands inside `name`."""

    async def run() -> None:
        async with editor({"threads": 1}, encoding="utf-8", inline=False) as client:
            capabilities = client.answer.capabilities  # type: ignore[attr-defined]
            assert capabilities.completion_provider is not None
            assert capabilities.position_encoding == "utf-8"
            client.open("file:///a.py", "x = len('a🜂é', name)\n")
            word, column = (len(text.encode()) for text in ("x = len('a🜂é', ", "x = len('a🜂é', na"))
            answer = await client.text_document_completion_async(
                types.CompletionParams(types.TextDocumentIdentifier("file:///a.py"), types.Position(0, column))
            )
            assert isinstance(answer, types.CompletionList)
            assert len(answer.items) <= 1
            for item in answer.items:
                assert isinstance(item.text_edit, types.TextEdit)
                assert item.text_edit.new_text.startswith("na")
                # the rest of `name` and the closer behind it are replaced
                assert item.text_edit.range == types.Range(types.Position(0, word), types.Position(0, column + 3))
            assert client.drafts[-1].position.character == column

    asyncio.run(run())
