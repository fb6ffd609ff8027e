"""Notebooks over the real server: what the model is shown of them, and what becomes of every kind of change.

The texts that are asserted are those that the scripted engine was given.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
from editor import PATIENCE_S, Editor, editor
from lsprotocol import types
from raw import RawClient
from scripts import VALUE, Script, rule

NOTEBOOK = "file:///w/n.ipynb"
MARKUP, CODE = types.NotebookCellKind.Markup, types.NotebookCellKind.Code
Cell = tuple[str, str]  # language, text
CELLS: tuple[Cell, ...] = (
    ("markdown", "# Prices\nin *euro*\n"),
    ("python", "import os\n"),
    ("python", "price = "),
    ("python", "print(price)"),
)
PREFIX, SUFFIX = "# # Prices\n# in *euro*\n\nimport os\n\nprice = ", "\n\nprint(price)"


def uri(name: object) -> str:
    """A cell as VS Code names it."""
    return f"vscode-notebook-cell:/w/n.ipynb#W{name}sZmlsZQ%3D%3D"


def cell(name: object, language: str = "python") -> types.NotebookCell:
    return types.NotebookCell(MARKUP if language == "markdown" else CODE, uri(name))


def item(name: object, text: str, language: str = "python") -> types.TextDocumentItem:
    return types.TextDocumentItem(uri(name), language, 1, text)


TYPING = types.InlineCompletionTriggerKind.Automatic
BY_HAND = types.InlineCompletionTriggerKind.Invoked


class Jupyter:
    """An editor with a notebook open, and what its server's engine was asked."""

    def __init__(self, client: Editor, asked: Path) -> None:
        self.client = client
        self._asked = asked
        self.version = 1

    def open(self, cells: Sequence[Cell] = CELLS, name: str = NOTEBOOK, kind: str = "jupyter-notebook") -> None:
        document = types.NotebookDocument(
            name, kind, 1, [cell(n, language) for n, (language, _) in enumerate(cells)], {"language_info": {}}
        )
        items = [item(n, text, language) for n, (language, text) in enumerate(cells)]
        self.client.notebook_document_did_open(types.DidOpenNotebookDocumentParams(document, items))

    def change(self, name: str = NOTEBOOK, version: int | None = None, **changes: Any) -> None:
        self.version += 1
        identifier = types.VersionedNotebookDocumentIdentifier(self.version if version is None else version, name)
        event = types.NotebookDocumentChangeEvent(cells=types.NotebookDocumentCellChanges(**changes))
        self.client.notebook_document_did_change(types.DidChangeNotebookDocumentParams(identifier, event))

    def splice(
        self,
        start: int,
        n_deleted: int,
        new: Sequence[types.NotebookCell] = (),
        opened: Sequence[types.TextDocumentItem] = (),
        closed: Sequence[object] = (),
        **more: Any,
    ) -> None:
        array = types.NotebookCellArrayChange(start, n_deleted, list(new))
        gone = [types.TextDocumentIdentifier(uri(name)) for name in closed]
        self.change(structure=types.NotebookDocumentCellChangeStructure(array, list(opened), gone), **more)

    def close(self, *named: object) -> None:
        gone = [types.TextDocumentIdentifier(uri(name)) for name in named]
        identifier = types.NotebookDocumentIdentifier(NOTEBOOK)
        self.client.notebook_document_did_close(types.DidCloseNotebookDocumentParams(identifier, gone))

    def texts(self, name: object, *texts: str, version: int = 2) -> None:
        """Write at the beginning of a cell."""
        where = types.Range(types.Position(0, 0), types.Position(0, 0))
        changes = [types.TextDocumentContentChangePartial(where, text) for text in texts]
        identifier = types.VersionedTextDocumentIdentifier(version, uri(name))
        self.change(text_content=[types.NotebookDocumentCellContentChanges(identifier, changes)])

    async def asked(
        self, name: object, line: int, column: int, kind: types.InlineCompletionTriggerKind = TYPING
    ) -> tuple[list[Any], list[tuple[str, str]]]:
        """The items for a place in a cell, and the prefix and suffix that the engine was asked with."""
        n_before = len(self._lines())
        where = name if isinstance(name, str) and ":" in name else uri(name)
        items = list((await self.client.ask(str(where), line, column, kind=kind)).items)
        return items, [(one["prefix"], one["suffix"]) for one in map(json.loads, self._lines()[n_before:])]

    async def seen(
        self, name: object, line: int, column: int, kind: types.InlineCompletionTriggerKind = TYPING
    ) -> tuple[str, str]:
        """The prefix and suffix, where there is a completion."""
        items, [seen] = await self.asked(name, line, column, kind)
        assert [one.insert_text for one in items] == [VALUE]
        assert items[0].range.start == types.Position(line, column)
        return seen

    def _lines(self) -> list[str]:
        return self._asked.read_text().splitlines() if self._asked.exists() else []


Test = Callable[[Jupyter], Coroutine[Any, Any, None]]


@pytest.fixture
def jupyter(script: Script, tmp_path: Path) -> Callable[..., None]:
    """Run a test's coroutine with an editor of its own."""

    def run(test: Test, **options: Any) -> None:
        async def go() -> None:
            wanted = {
                "liveCanvas": False,
                "minConfidencePercent": 0,
                "syntaxFeedback": False,
                "candidates": 1,
                **options,
            }
            async with editor(wanted, script=script) as client:
                await test(Jupyter(client, tmp_path / "asked"))
                assert client.messages == []

        script.says(rule("", VALUE), asked=str(tmp_path / "asked"))
        asyncio.run(go())

    return run


Run = Callable[..., None]


def test_notebooks_are_announced_all_cells_of_jupyters_and_known_languages_of_others(jupyter: Run) -> None:
    async def test(one: Jupyter) -> None:
        sync = one.client.answer.capabilities.notebook_document_sync  # type: ignore[attr-defined]
        first, other = sync.notebook_selector
        assert (first.notebook, first.cells) == ("jupyter-notebook", None)
        assert {"python", "markdown", "typescript", "bash"} <= {one.language for one in other.cells}
        assert sync.save is True

    jupyter(test)


def test_cells_above_come_before_the_cell_and_cells_below_behind_it_and_markdown_is_a_comment(jupyter: Run) -> None:
    async def test(one: Jupyter) -> None:
        one.open()
        assert await one.seen(2, 0, 8) == (PREFIX, SUFFIX)
        assert (await one.seen(1, 1, 0, BY_HAND))[0] == "# # Prices\n# in *euro*\n\nimport os\n"
        first, last = await one.seen(3, 0, 12, BY_HAND)
        assert first.endswith("\n\nprice =\n\nprint(price)") or first.endswith("\n\nprice = \n\nprint(price)")
        assert last == ""

    jupyter(test)


def test_what_is_replaced_stays_in_its_cell(jupyter: Run) -> None:
    """A word at the end of the last line is followed by another cell's word; lines count from the cell's."""

    async def test(one: Jupyter) -> None:
        one.open([("python", "a = 1\nb = 2"), ("python", "x = na"), ("python", "me = 3")])
        [item], [seen] = await one.asked(1, 0, 5, BY_HAND)
        assert seen == ("a = 1\nb = 2\n\nx = n", "\n\nme = 3")
        assert (item.range.start, item.range.end) == (types.Position(0, 5), types.Position(0, 6))

    jupyter(test)


def test_cells_are_added_moved_and_deleted(jupyter: Run) -> None:
    async def test(one: Jupyter) -> None:
        one.open([("python", f"{name} = 1") for name in "abc"])
        one.splice(1, 0, [cell("n")], [item("n", "n = ")])
        assert await one.seen("n", 0, 4) == ("a = 1\n\nn = ", "\n\nb = 1\n\nc = 1")
        one.splice(0, 2, [cell("n"), cell(0)])  # moved, as vscode-languageclient says it: neither opened nor closed
        assert await one.seen("n", 0, 4) == ("n = ", "\n\na = 1\n\nb = 1\n\nc = 1")
        one.splice(0, 1)  # moved by two messages
        one.splice(3, 0, [cell("n")])
        assert await one.seen("n", 0, 4) == ("a = 1\n\nb = 1\n\nc = 1\n\nn = ", "")
        one.splice(0, 2, closed=[0, 1])
        assert await one.seen("n", 0, 4) == ("c = 1\n\nn = ", "")
        assert await one.asked(0, 0, 5) == ([], [])  # a deleted cell gets no completions

    jupyter(test)


def test_a_cell_moved_by_closing_and_opening_it_stays_open(jupyter: Run) -> None:
    async def test(one: Jupyter) -> None:
        one.open([("python", "a = 1"), ("python", "b = ")])
        one.splice(0, 2, [cell(1), cell(0)], [item(0, "a = 1"), item(1, "b = ")], [0, 1])
        assert await one.seen(1, 0, 4) == ("b = ", "\n\na = 1")

    jupyter(test)


def test_texts_of_cells_change_with_the_notebook(jupyter: Run) -> None:
    async def test(one: Jupyter) -> None:
        one.open()
        one.texts(1, "import re\n", "import io\n")
        one.texts(2, "x = 1\n")
        prefix, suffix = await one.seen(2, 1, 8)
        assert prefix == PREFIX.replace("import os", "import io\nimport re\nimport os").replace("price", "x = 1\nprice")
        assert suffix == SUFFIX

    jupyter(test)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_cell_whose_language_changes_becomes_a_comment_or_code(jupyter: Run, at_once: bool) -> None:
    async def test(one: Jupyter) -> None:
        one.open([("python", "note = 1"), ("python", "x = ")])
        for language, seen in (("sql", "# note = 1"), ("markdown", "# note = 1"), ("python", "note = 1")):
            new = [cell(0, language)], [item(0, "note = 1", language)]
            if at_once:
                one.splice(0, 1, *new, closed=[0])
            else:  # as vscode-languageclient says it
                one.splice(0, 1, closed=[0])
                one.splice(0, 0, *new)
            assert await one.seen(1, 0, 4) == (f"{seen}\n\nx = ", "")

    jupyter(test)


def test_a_closed_notebook_is_forgotten_with_all_its_cells_named_or_not(jupyter: Run) -> None:
    async def test(one: Jupyter) -> None:
        one.open()
        one.close(2)
        for number in range(4):
            assert await one.asked(number, 0, 0) == ([], [])
        one.client.open("file:///w/other.py", "price = ")
        assert await one.seen("file:///w/other.py", 0, 8) == ("price = ", "")
        one.open()
        assert await one.seen(2, 0, 8) == (PREFIX, SUFFIX)

    jupyter(test)


def test_cells_of_a_client_that_tells_of_no_notebooks_are_in_the_order_of_opening(jupyter: Run) -> None:
    async def test(one: Jupyter) -> None:
        for number, (language, text) in enumerate(CELLS):
            one.client.open(uri(number), text, language)
        one.client.open("vscode-notebook-cell:/w/other.ipynb#W0sZmlsZQ%3D%3D", "other = 1")
        assert await one.seen(2, 0, 8) == (PREFIX, SUFFIX)
        one.client.close(uri(1))
        assert await one.seen(2, 0, 8) == (PREFIX.replace("import os\n\n", ""), SUFFIX)

    jupyter(test, otherFiles=False)


def test_jupyterlabs_one_document_of_all_cells_is_completed_with_its_magics(jupyter: Run) -> None:
    async def test(one: Jupyter) -> None:
        where = "file:///w/.virtual_documents/n.ipynb"
        text = "%matplotlib inline\n\n\nimport os\n\n\nif os:\n    x = \n"
        one.client.open(where, text)
        assert await one.seen(where, 7, 8) == (text[:-1], "\n")

    jupyter(test)


def test_other_kinds_of_notebooks_and_spellings_of_their_uris_are_the_same(jupyter: Run) -> None:
    async def test(one: Jupyter) -> None:
        one.open([("python", "a = 1"), ("python", "b = ")], "FILE:///w/n%2Eipynb", "interactive")
        one.splice(0, 0, [cell("n")], [item("n", "n = 2")])
        assert await one.seen(1, 0, 4) == ("n = 2\n\na = 1\n\nb = ", "")
        where = uri(1).replace("%3D", "=")
        assert (await one.asked(where, 0, 4))[1] == [("n = 2\n\na = 1\n\nb = ", "")]

    jupyter(test)


def test_a_cell_with_a_secret_is_neither_shown_nor_completed(jupyter: Run) -> None:
    async def test(one: Jupyter) -> None:
        key = "AKIA" + "Z7Q4M2XHK5BYV3NP"
        one.open([("python", f"key = '{key}'\n"), ("python", "x = "), ("python", "y = 1")])
        assert await one.seen(1, 0, 4) == ("x = ", "\n\ny = 1")
        assert await one.asked(0, 1, 0) == ([], [])

    jupyter(test)


def test_cells_of_shell_magics_are_comments_and_cells_of_python_magics_are_code(jupyter: Run) -> None:
    async def test(one: Jupyter) -> None:
        cells = ["%%bash\nls", "%%time\ny = 1", "%pip install numpy\n!ls", "x = "]
        one.open([("python", text) for text in cells])
        prefix, _ = await one.seen(3, 0, 4)
        assert prefix == "# %%bash\n# ls\n\n%%time\ny = 1\n\n%pip install numpy\n!ls\n\nx = "

    jupyter(test)


def test_what_repeats_the_next_cell_is_cut(jupyter: Run, script: Script) -> None:
    async def test(one: Jupyter) -> None:
        script.says(rule("", "total = 1\nprint(total)\n"))
        one.open([("python", "\n"), ("python", "print(total)")])
        assert [item.insert_text for item in await one.client.items(uri(0), 0, 0)] == ["total = 1"]

    jupyter(test)


def test_what_a_changed_cell_says_is_shown_in_drafts_of_the_cell(jupyter: Run) -> None:
    async def test(one: Jupyter) -> None:
        one.open()
        await one.seen(2, 0, 8)
        assert {draft.uri for draft in one.client.drafts} == {uri(2)}
        assert {(draft.position.line, draft.position.character) for draft in one.client.drafts} == {(0, 8)}

    jupyter(test)


@pytest.mark.parametrize(
    "magic", ["%matplotlib inline", "!ls 'a", "?os", "os?", "files = !ls", "%%capture out", "%time", '%alias x echo "(']
)
def test_a_magic_above_the_cursor_changes_nothing_of_what_is_offered(jupyter: Run, magic: str) -> None:
    """A body of several lines, of which none is cut for breaking the cell."""

    async def test(one: Jupyter) -> None:
        one.open([("python", f"{magic}\n\ndef f(a):\n    \n")])
        [item] = await one.client.items(uri(0), 3, 4)
        assert item.insert_text == "if a:\n        return 1\n    return 2"
        one.texts(0, "# x\n")
        [item] = await one.client.items(uri(0), 4, 4)
        assert item.insert_text == "if a:\n        return 1\n    return 2"
        assert (await one.client.stats()).broken == 0

    jupyter(body(test), syntaxFeedback=True)


def body(test: Test) -> Test:
    """A test whose engine says a body."""

    async def with_body(one: Jupyter) -> None:
        Script(one._asked.parent).says(rule("", "if a:\n        return 1\n    return 2"))
        await test(one)

    return with_body


def test_nothing_is_offered_unasked_behind_a_shell_magic_and_code_is_behind_time(jupyter: Run) -> None:
    async def test(one: Jupyter) -> None:
        one.open([("python", "!pip install \n%timeit -n 10 x = \n")])
        assert await one.asked(0, 0, 13) == ([], [])
        assert (await one.seen(0, 1, 18))[0] == "!pip install \n%timeit -n 10 x = "

    jupyter(test)


def test_messages_that_make_no_sense_change_nothing(jupyter: Run) -> None:
    async def test(one: Jupyter) -> None:
        one.open([("python", "a = 1"), ("python", "x = ")])
        one.splice(9, 9, [cell("none")])  # a cell without a text, far behind the end
        one.splice(0, 0, closed=["none"])
        one.splice(0, 0, [cell(1), cell(1)])  # twice, and there already
        one.change("file:///w/unknown.ipynb")
        one.splice(0, 1, name="file:///w/unknown.ipynb")
        one.splice(0, 2, version=0)  # older than what is known
        one.texts("none", "y")
        one.texts(0, "old", version=0)
        one.client.notebook_document_did_close(
            types.DidCloseNotebookDocumentParams(types.NotebookDocumentIdentifier("file:///w/unknown.ipynb"), [])
        )
        one.client.notebook_document_did_save(
            types.DidSaveNotebookDocumentParams(types.NotebookDocumentIdentifier(NOTEBOOK))
        )
        assert await one.seen(1, 0, 4) == ("x = ", "\n\na = 1")
        one.splice(0, 9, [cell(0), cell(1)])
        assert await one.seen(1, 0, 4) == ("a = 1\n\nx = ", "")

    jupyter(test)


NAMED = {"uri": NOTEBOOK, "notebookType": "", "version": 2}
OUTSIDE = {"structure": {"array": {"start": -1, "deleteCount": 2**40}}}


@pytest.mark.parametrize("method", ["didOpen", "didChange", "didSave", "didClose"])
@pytest.mark.parametrize(
    "params",
    [
        None,
        {},
        [],
        {"notebookDocument": None},
        {"notebookDocument": {"uri": 1, "version": "x", "cells": 3}},
        {"notebookDocument": NAMED, "change": {"cells": OUTSIDE}},
        {"notebookDocument": {**NAMED, "version": 2**70}, "change": {"cells": {"textContent": [{}]}}},
        {"notebookDocument": {**NAMED, "cells": [{"kind": 9, "document": ""}]}, "cellTextDocuments": []},
    ],
)
def test_no_malformed_message_ends_the_server(method: str, params: Any, script: Script) -> None:
    with RawClient(options=script.options) as client:
        client.request("initialize", {"processId": None, "rootUri": None, "capabilities": {}})
        client.notify("initialized", {})
        client.notify(f"notebookDocument/{method}", params)
        assert client.request("mezzotint/stats", None)["result"]["requests"] == 0


def test_a_notebook_of_many_cells_is_completed(jupyter: Run) -> None:
    """The windows are cut as in a long file: the nearest cells are seen."""

    async def test(one: Jupyter) -> None:
        one.open([("python", f"x{number} = {number}") for number in range(2000)])
        one.texts(1000, "y = \n")
        prefix, suffix = await asyncio.wait_for(one.seen(1000, 0, 4), PATIENCE_S)
        assert prefix.endswith("x998 = 998\n\nx999 = 999\n\ny = ") and len(prefix) <= 8000
        assert suffix.startswith("\nx1000 = 1000\n\nx1001 = 1001\n\n") and len(suffix) <= 4000

    jupyter(test)
