"""Documents with CRLF, and with several kinds of line ends: the model sees LF, places stay those of the client.

What is inserted is in LF: an editor makes the line ends of its document of them.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from editor import editor
from lsprotocol import types
from scripts import Script, rule

URI = "file:///a.py"
SAID = "if 🜂:\n        return a\n    return b"
MIXED = "import os\r\n\rx = 1\ndef f(a):\r\n    \r\ny = 2\rz = 3\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [("def f(a):\r\n    \r\ny = 2\r\n", 1), (MIXED, 4), ("def f(a):\r    \ry = 2\r", 1)],
    ids=["CRLF", "mixed", "CR"],
)
def test_the_model_sees_lf_and_places_and_spans_are_as_in_a_document_of_lf(
    script: Script, tmp_path: Path, text: str, line: int
) -> None:
    async def told(uri: str, text: str) -> list[object]:
        client.drafts.clear()
        client.open(uri, text)
        [item] = await client.items(uri, line, 4)
        drafts = [(one.text, one.masked, one.position, one.range, one.confidence) for one in client.drafts]
        client.change(uri, (line, 4), (line, 4), "if")
        [rest] = await client.items(uri, line, 6)
        assert rest.insert_text == item.insert_text.removeprefix("if")  # of what was shown: no other pass
        return [item.insert_text, item.range, drafts]

    async def test() -> None:
        nonlocal client
        async with editor({"minConfidencePercent": 0, "syntaxFeedback": False}, script=script) as client:
            seen = await told(URI, text)
            assert seen[0] == SAID
            assert seen[1] == types.Range(types.Position(line, 4), types.Position(line, 4))
            assert repr(seen) == repr(await told("file:///b.py", text.replace("\r\n", "\n").replace("\r", "\n")))

    client = None  # type: ignore[assignment]
    half = len(SAID) // 2
    masked = [[SAID[:half], 0.9], [SAID[half:], 0]]
    script.says(rule("", masked, [[SAID, 0.9]]), asked=str(tmp_path / "asked"))
    asyncio.run(test())
    asked = [json.loads(one) for one in (tmp_path / "asked").read_text().splitlines()]
    assert len(asked) == 2 and asked[0]["prefix"] == asked[1]["prefix"] and asked[0]["suffix"] == asked[1]["suffix"]
    assert "\r" not in asked[0]["prefix"] + asked[0]["suffix"]
