"""The real server with a public diffusion checkpoint of each family, tiny and random: it completes a real file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from editor import editor
from lsprotocol import types
from places import SOURCE, URI, positions

pytest.importorskip("transformers")

from tests.foreign import IN_PLACE, PUBLISHED, write  # noqa: E402


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_checkpoint_as_published_completes_a_real_file(name: str, tmp_path: Path) -> None:
    folder = tmp_path / PUBLISHED[name].folder
    write(name, folder)

    async def test() -> None:
        lines = SOURCE.split("\n")
        options = {"model": str(folder), "threads": 1, "minConfidencePercent": 0, "syntaxFeedback": False}
        async with editor({**options, "deadlineMs": 0, "maxTokens": 16}) as client:
            client.open(URI, SOURCE)
            for number, (line, column) in enumerate(positions(3)):
                client.change(URI, (line, column), (line, len(lines[line])), "")
                items = await client.items(URI, line, column, token=f"request-{number}")
                drafts = [draft for draft in client.drafts if draft.token == f"request-{number}"]
                assert [draft.done for draft in drafts] == [False] * (len(drafts) - 1) + [True]
                assert list(drafts[-1].masked) == []
                assert drafts[-1].text == (items[0].insert_text if items else "")
                assert all(item.range.start == types.Position(line, column) for item in items)
                client.change(URI, (line, column), (line, column), lines[line][column:])
            engine = (await client.stats()).engine
            assert (engine.model, engine.backend) == (str(folder), "torch")
            assert (engine.family, engine.cache) == (
                PUBLISHED[name].family or name,
                "approximate" if name in IN_PLACE else "exact",
            )
            assert client.messages == []

    asyncio.run(test())
