"""One server process for all tests that can share it: importing torch is most of what a test would wait for."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from editor import Editor, editor  # noqa: E402
from hostile import Hostile  # noqa: E402

Run = Callable[[Callable[[Editor], Coroutine[Any, Any, None]]], None]


@pytest.fixture(scope="session")
def run() -> Iterator[Run]:
    """Run a test's coroutine with the shared editor, whose server sends drafts and shows all that the model says."""
    loop = asyncio.new_event_loop()
    options = {"encodeAhead": False, "threads": 1, "minConfidencePercent": 0, "draftDelayMs": 20}  # time to cancel in
    context = editor(options)
    client = loop.run_until_complete(context.__aenter__())

    def run_with_editor(test: Callable[[Editor], Coroutine[Any, Any, None]]) -> None:
        client.drafts.clear()
        client.messages.clear()
        loop.run_until_complete(test(client))

    yield run_with_editor
    loop.run_until_complete(context.__aexit__(None, None, None))
    loop.close()


@pytest.fixture
def hostile(tmp_path: Path) -> Hostile:
    """A folder from which nothing may be run."""
    return Hostile(tmp_path)
