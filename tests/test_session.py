from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter
from types import FrameType
from typing import Any

import pytest

from diffusion.request import Draft, InfillRequest
from lsp_server import worker
from lsp_server.session import Session
from lsp_server.suggest import cleanup, context, feedback, holes, refusals, related
from lsp_server.suggest.drafts import Suggestion
from lsp_server.suggest.place import Question
from lsp_server.text import syntax
from lsp_server.text.lines import Edit


class Scripted:
    """An engine that says what it was told to, in two steps."""

    def __init__(self, text: str, tokens: tuple[tuple[int, int, float], ...] = ()) -> None:
        self.tokens = tokens
        self.forward_passes = 0
        self.info: dict[str, object] = {}
        self.text = text

    def infill(self, request: InfillRequest, cancelled: Callable[[], bool]) -> Iterator[Draft]:
        if self.text == "raise":
            raise RuntimeError("boom")
        for step in (1, 2):
            self.forward_passes += 1
            masked = ((0, len(self.text)),) if step == 1 else ()
            yield Draft(step, self.text, masked, 0.5, step, done=step == 2, tokens=self.tokens)

    def prepare(self, request: InfillRequest, cancelled: Callable[[], bool]) -> None:
        pass


def complete(
    code: str, text: str, *tokens: tuple[int, int, float], invoked: bool = False, **options: Any
) -> tuple[list[Suggestion] | None, list[dict[str, Any]], list[str]]:
    """The suggestions at the mark, the drafts and the messages sent."""
    sent: list[dict[str, Any]] = []
    told: list[str] = []
    line = code[: code.index("¦")].count("\n")
    column = code.index("¦") - code.rfind("\n", 0, code.index("¦")) - 1

    async def run() -> list[Suggestion] | None:
        session = Session(
            lambda options: Scripted(text, tokens), lambda method, params: sent.append(params), told.append
        )
        session.configure(options, "utf-32")
        session.opened("file:///a.py", 1, "python", code.replace("¦", ""))
        try:
            await session.complete(session.look("file:///a.py", line, column, "t", invoked=invoked))
            return await session.complete(session.look("file:///a.py", line, column, "t", invoked=invoked))
        finally:
            session.worker.end()

    return asyncio.run(run()), sent, told


def test_every_draft_goes_through_the_cleanup_of_the_final_item() -> None:
    suggestions, sent, _ = complete("print(¦)\n", "1, 2))", drafts=True, minConfidencePercent=0)
    assert suggestions is not None
    assert [one.text for one in suggestions] == ["1, 2)"]
    assert {params["text"] for params in sent} == {"1, 2)"}
    assert [params["done"] for params in sent] == [False, True, True]  # the third answers the same question again


def test_what_cleanup_leaves_nothing_of_ends_with_an_empty_draft() -> None:
    suggestions, sent, _ = complete("x = ¦\n", "   ", drafts=True)
    assert suggestions == []
    assert [(params["text"], params["done"]) for params in sent] == [("", True)] * 2


def test_a_part_says_nothing_of_what_stands_behind_the_cursor_and_leaves_it_there() -> None:
    tokens = (0, 5, 0.9), (5, 6, 0.9), (6, 11, 0.1)
    suggestions, sent, _ = complete("print(¦)\n", "value, other", *tokens, drafts=True)
    assert [(one.text, one.plan.start, one.plan.end) for one in suggestions or []] == [("value", 6, 6)]
    assert [params["text"] for params in sent if params["done"]] == ["value"] * 2
    assert {params["range"]["end"]["character"] for params in sent if params["done"]} == {6}


def test_a_part_that_ends_in_a_bracket_of_its_own_keeps_it() -> None:
    tokens = (0, 3, 0.9), (3, 9, 0.9), (9, 10, 0.99), (10, 18, 0.1)
    [suggestion] = complete("print(¦)\n", "len(items) + other", *tokens)[0] or []
    assert (suggestion.text, suggestion.plan.end) == ("len(items)", 6)


def test_the_whole_of_a_hole_covers_what_stands_behind_the_cursor() -> None:
    tokens = (0, 5, 0.9), (5, 6, 0.9), (6, 11, 0.1)
    [suggestion] = complete("print(¦)\n", "value, other", *tokens, minConfidencePercent=0)[0] or []
    assert (suggestion.text, suggestion.plan.end) == ("value, other)", 7)


def test_what_is_not_finished_is_cut_to_what_parses() -> None:
    [suggestion] = complete("x = ¦\n", "compute(a, b)", (0, 7, 0.9), (7, 8, 0.9), (8, 13, 0.1))[0] or []
    assert suggestion.text == "compute"


def test_drafts_are_sent_only_to_clients_that_ask() -> None:
    assert complete("x = ¦\n", "1")[1] == []


def test_an_engine_error_is_said_once_and_gives_an_empty_list() -> None:
    suggestions, _, told = complete("x = ¦\n", "raise")
    assert suggestions == []
    assert len(told) == 1


def test_a_disabled_language_gives_an_empty_list() -> None:
    assert complete("x = ¦\n", "1", disabledLanguages=["python"])[0] == []


@pytest.mark.parametrize(
    ("code", "options", "invoked", "offered"),
    [
        ("x = ¦\n", {"comments": "off", "strings": "off"}, False, True),
        ("# ¦\n", {}, False, False),
        ("# ¦\n", {}, True, True),
        ("# ¦\n", {"comments": "on"}, False, True),
        ("# ¦\n", {"comments": "off"}, True, False),
        ('def f():\n    """¦"""\n', {}, False, False),
        ('def f():\n    """¦"""\n', {"comments": "on", "strings": "off"}, False, True),
        ("x = '¦'\n", {}, False, True),
        ("x = '¦'\n", {"strings": "manual"}, False, False),
        ("x = '¦'\n", {"strings": "manual"}, True, True),
        ("x = '¦'\n", {"strings": "off"}, True, False),
        ("x = f'{¦}'\n", {"strings": "off"}, False, True),
    ],
)
def test_comments_and_strings_are_completed_where_the_user_wants_it(
    code: str, options: dict[str, str], invoked: bool, offered: bool
) -> None:
    suggestions, sent, _ = complete(code, "value", drafts=True, invoked=invoked, **options)
    assert bool(suggestions) == bool(sent) == offered


def test_a_suggestion_on_screen_stays_while_its_comment_is_typed(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> list[int]:
        session = Session(lambda options: Scripted("x = 1  # one"), lambda method, params: None, print)
        session.configure({}, "utf-32")
        session.opened("file:///a.py", 1, "python", "")
        found = []
        try:
            for version, text in enumerate(("", "x = 1  # o", "x = 1  # why"), 2):
                session.changed("file:///a.py", version, [text])
                answer = await session.complete(session.look("file:///a.py", 0, len(text), "t"))
                found.append(len(answer or ()))
        finally:
            session.worker.end()
        return found

    with caplog.at_level("INFO"):
        assert asyncio.run(run()) == [1, 1, 0]
    assert "comments are completed when asked by hand only" in caplog.text


class Held(Scripted):
    """An engine that waits before its last draft."""

    def __init__(self) -> None:
        super().__init__("one")
        self.reached, self.go = threading.Event(), threading.Event()

    def infill(self, request: InfillRequest, cancelled: Callable[[], bool]) -> Iterator[Draft]:
        for draft in super().infill(request, cancelled):
            if draft.done:
                self.reached.set()
                assert self.go.wait(60)
            yield draft


def test_a_document_that_is_closed_while_its_job_finishes_gets_no_draft_and_leaves_no_memory() -> None:
    sent: list[dict[str, Any]] = []

    async def run() -> list[Suggestion] | None:
        engine = Held()
        session = Session(lambda options: engine, lambda method, params: sent.append(params), lambda message: None)
        session.configure({"drafts": True, "encodeAhead": False}, "utf-32")
        session.opened("file:///a.py", 1, "python", "x = \n")
        answer = asyncio.ensure_future(session.complete(session.look("file:///a.py", 0, 4)))
        await asyncio.sleep(0)  # it is queued
        assert engine.reached.wait(60)
        engine.go.set()
        assert session.worker.end(60)  # the job is finished; what it said waits for the event loop
        session.closed("file:///a.py")
        try:
            return await answer
        finally:
            assert session._memory.of("file:///a.py") == ()
            assert session._denoising == set()

    assert asyncio.run(run()) is None
    assert sent == []


def test_a_request_whose_document_was_closed_before_it_could_be_worked_on_is_answered_with_nothing() -> None:
    async def run() -> list[Suggestion] | None:
        session = Session(lambda options: Scripted("one"), lambda method, params: None, lambda message: None)
        session.opened("file:///a.py", 1, "python", "x = \n")
        question = session.look("file:///a.py", 0, 4)
        session.closed("file:///a.py")
        try:
            return await session.complete(question)
        finally:
            session.worker.end()

    assert asyncio.run(run()) is None


def test_the_event_loop_neither_parses_nor_plans_nor_asks_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: dict[str, set[str]] = {}

    def noted(module: Any, name: str) -> None:
        real = getattr(module, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            threads.setdefault(name, set()).add(threading.current_thread().name)
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, call)

    noted(syntax, "parse")
    noted(holes, "plan_at")
    noted(refusals, "is_ignored")
    noted(context, "infill_request")
    noted(related, "names_in")
    noted(cleanup, "clean")
    noted(feedback, "broken_spans")

    async def run() -> list[Suggestion] | None:
        session = Session(lambda options: Scripted("one"), lambda method, params: None, lambda message: None)
        session.configure({"drafts": True, "minConfidencePercent": 0}, "utf-32")
        for name in ("a", "b"):
            session.opened(f"file:///{name}.py", 1, "python", "x = value\n")
        session.changed("file:///a.py", 2, [Edit((0, 4), (0, 9), "")])
        try:
            return await session.complete(session.look("file:///a.py", 0, 4))
        finally:
            session.worker.end()

    assert [one.text for one in asyncio.run(run()) or []] == ["one"]
    assert threads == {name: {"model"} for name in threads}
    assert len(threads) == 7


def test_a_request_goes_down_the_files_and_comes_back_to_none_but_the_session() -> None:
    """One walk: what a file asks of another never leads back to it; session.py alone is told of drafts on the way."""
    calls: set[tuple[str, str]] = set()

    def seen(frame: FrameType, event: str, _: object) -> None:
        caller = frame.f_back
        while caller is not None and file_of(caller) is None:  # a library between two of our files
            caller = caller.f_back
        called, by = file_of(frame), caller and file_of(caller)
        if event == "call" and called and by and called != by:
            calls.add((by, called))

    async def run() -> list[Suggestion] | None:
        session = Session(lambda options: Scripted("one"), lambda method, params: None, lambda message: None)
        session.configure({"drafts": True, "minConfidencePercent": 0}, "utf-32")
        for name in ("a", "b"):
            session.opened(f"file:///{name}.py", 1, "python", "x = value\n")
        session.changed("file:///a.py", 2, [Edit((0, 4), (0, 9), "")])
        try:
            return await session.complete(session.look("file:///a.py", 0, 4))
        finally:
            session.worker.end()

    threading.setprofile(seen)  # of the model thread, which starts in there
    sys.setprofile(seen)
    try:
        found = asyncio.run(run())
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    assert [one.text for one in found or []] == ["one"]
    below: dict[str, set[str]] = {}
    for by, called in calls:
        if "lsp_server/session.py" not in (by, called):
            below.setdefault(by, set()).add(called)
    assert {"lsp_server/suggest/completion.py", "lsp_server/suggest/candidates.py"} <= below.keys()
    try:
        list(TopologicalSorter(below).static_order())
    except CycleError as error:
        raise AssertionError(f"the walk comes back: {error.args[1]}") from None


def file_of(frame: FrameType) -> str | None:
    """The file of the server that a frame runs in."""
    _, found, name = frame.f_code.co_filename.replace(os.sep, "/").rpartition("/lsp_server/")
    return f"lsp_server/{name}" if found else None


@pytest.mark.parametrize("text", ["value", "raise"])
def test_a_question_is_gone_when_it_is_answered_without_the_garbage_collector(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds all open texts of its language and their trees, and there is one for every key."""
    monkeypatch.setattr(worker.logger, "disabled", True)  # pytest keeps what is logged, an error's frames with it

    async def run() -> weakref.ref[Question]:
        session = Session(lambda options: Scripted(text), lambda method, params: None, lambda message: None)
        session.opened("file:///a.py", 1, "python", "x = \n")
        question = session.look("file:///a.py", 0, 4, invoked=True)
        assert question is not None
        await session.complete(question)
        session.worker.end()
        return weakref.ref(question)

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(run())() is None
    finally:
        gc.enable()
