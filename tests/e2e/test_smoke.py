"""The real server with the model in the package: that it completes, and drafts as it should; never what it says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from editor import editor
from lsprotocol import types
from places import SOURCE, URI, positions
from raw import RawClient

from cuda_ext import native

pytestmark = pytest.mark.smoke

INITIALIZE = {"processId": None, "rootUri": None, "capabilities": {}}


def test_at_places_in_a_real_file_the_last_draft_is_the_item() -> None:
    async def test() -> None:
        lines, places = SOURCE.split("\n"), positions(5)
        async with editor({"threads": 1, "minConfidencePercent": 0}) as client:
            client.open(URI, SOURCE)
            for number, (line, column) in enumerate(places):
                client.change(URI, (line, column), (line, len(lines[line])), "")
                items = await client.items(URI, line, column, token=f"request-{number}")
                drafts = [draft for draft in client.drafts if draft.token == f"request-{number}"]
                assert [draft.step for draft in drafts] == sorted({draft.step for draft in drafts})
                assert [draft.done for draft in drafts] == [False] * (len(drafts) - 1) + [True]
                assert list(drafts[-1].masked) == []
                assert drafts[-1].text == (items[0].insert_text if items else "")
                assert all(item.range.start == item.range.end == types.Position(line, column) for item in items)
                client.change(URI, (line, column), (line, column), lines[line][column:])
            stats = await client.stats()
            assert stats.forwardPasses >= len(places)
            assert stats.engine.model == "embedded"
            assert client.messages == []

    asyncio.run(test())


@pytest.mark.skipif(bool(native.why_not("cpu")), reason=f"native library: {native.why_not('cpu')}")
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="loaded libraries are listed on Linux only")
def test_a_server_that_completes_natively_has_no_torch_in_its_process() -> None:
    with RawClient() as client:
        client.request("initialize", INITIALIZE)
        client.notify("initialized", {})
        document = {"uri": "file:///a.py", "languageId": "python", "version": 0, "text": "import os\n\nname = \n"}
        client.notify("textDocument/didOpen", {"textDocument": document})
        where = {"textDocument": {"uri": "file:///a.py"}, "position": {"line": 2, "character": 7}}
        answer = client.request("textDocument/inlineCompletion", {**where, "context": {"triggerKind": 1}})
        assert "items" in answer["result"]
        libraries = Path(f"/proc/{client.process.pid}/maps").read_text(encoding="utf-8")
    assert "mezzotint_cpu" in libraries and "libtorch" not in libraries
