"""One server process for all tests that can share it; each says what its engine says."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import required  # noqa: E402
from editor import Editor, editor  # noqa: E402
from hostile import Hostile  # noqa: E402
from scripts import Rule, Script  # noqa: E402


class Run(Protocol):
    """Run a test's coroutine with the shared editor, whose server's engine says what the rules say."""

    def __call__(self, test: Callable[[Editor], Coroutine[Any, Any, None]], *rules: Rule) -> None: ...


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """What the engine of a server of this test's own says."""
    return Script(tmp_path)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The shared server sends drafts and shows all that its engine says, whether it parses or not."""
    script = Script(tmp_path_factory.mktemp("shared"))
    loop = asyncio.new_event_loop()
    options = {"encodeAhead": False, "minConfidencePercent": 0, "syntaxFeedback": False}
    context = editor(options, script=script)
    client = loop.run_until_complete(context.__aenter__())

    def run_with_editor(test: Callable[[Editor], Coroutine[Any, Any, None]], *rules: Rule) -> None:
        script.says(*rules)
        client.close_all()  # what was suggested there is remembered
        client.drafts.clear()
        client.messages.clear()
        loop.run_until_complete(test(client))

    yield run_with_editor
    loop.run_until_complete(context.__aexit__(None, None, None))
    loop.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where editors are required, a test that misses one has failed."""
    report = yield
    return required.judged(report) if os.environ.get("REQUIRE_EDITORS") else report


@pytest.fixture
def hostile(tmp_path: Path) -> Hostile:
    """A folder from which nothing may be run."""
    return Hostile(tmp_path)
