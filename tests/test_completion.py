"""From a question to an answer that is known or a request, and from drafts to suggestions: no threads, no loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from diffusion.request import FROM_MASKS, Draft, InfillRequest
from lsp_server.options import Options
from lsp_server.suggest import completion, live, refusals
from lsp_server.suggest.completion import complete
from lsp_server.suggest.place import ASKED, News, Question
from lsp_server.suggest.reasons import ALLOWED, Refusal
from lsp_server.suggest.related import Related
from lsp_server.text.documents import Snapshot, snapshot

URI = "file:///a.py"
OTHER = snapshot("file:///b.py", "def read_settings(path):\n    return open(path).read()\n", "python")
SAID = "value = compute(name)\n" * 3


class Says:
    """An engine that says a text in two drafts, and notes what it was asked."""

    def __init__(self, text: str = "", reason: str = "complete", **info: object) -> None:
        self.text, self.reason = text, reason
        self.info: dict[str, object] = info
        self.asked: list[InfillRequest] = []
        self.prepared: list[InfillRequest] = []

    def infill(self, request: InfillRequest, cancelled: Callable[[], bool]) -> Iterator[Draft]:
        self.asked.append(request)
        tokens = ((0, len(self.text), 0.9),)
        for step in (1, 2):
            if not cancelled():
                yield Draft(step, self.text, (), 0.9, step, step == 2, self.reason if step == 2 else "", tokens)

    def prepare(self, request: InfillRequest, cancelled: Callable[[], bool]) -> None:
        self.prepared.append(request)


def ask(code: str, known: live.Known = (), *others: Snapshot, invoked: bool = False, **options: Any) -> Question:
    """The question at the mark."""
    offset = code.index("¦")
    taken = snapshot(URI, code.replace("¦", ""), "python")
    return Question(taken, others, known, Options(**options), *taken.point_at(offset), "token", invoked)


def answer(
    question: Question, engine: Says, cancelled: Callable[[], bool] = lambda: False
) -> tuple[list[str] | None, list[News]]:
    """The texts and the news."""
    news: list[News] = []
    found = complete(question, Related(), news.append, engine, cancelled)
    return None if found is None else [one.text for one in found], news


def counted(news: list[News]) -> list[str]:
    return [one.counted for one in news if one.counted]


def suggested(code: str, text: str, done: bool = True) -> live.Known:
    """What is known after `text` was suggested at the mark."""
    _, news = answer(ask(code), Says(text))
    return tuple(one.remembered for one in news if one.remembered is not None and one.remembered.draft.done == done)


def test_a_question_to_the_model_is_counted_and_its_drafts_are_remembered() -> None:
    texts, news = answer(ask("x = ¦\n", drafts=True), Says("call(value)"))
    assert texts == ["call(value)"]
    assert counted(news) == [ASKED]
    assert [(one.draft["text"], one.draft["done"], one.draft["token"]) for one in news if one.draft] == [
        ("call(value)", False, "token"), ("call(value)", True, "token"),
    ]  # fmt: skip
    assert [one.remembered.text for one in news if one.remembered] == ["call(value)", "call(value)"]


def test_what_was_suggested_is_known_without_the_model() -> None:
    engine = Says("other")
    texts, news = answer(ask("x = call(¦\n", suggested("x = ¦\n", "call(value)"), drafts=True), engine)
    assert texts == ["value)"]
    assert engine.asked == []
    assert counted(news) == ["fromMemory"]
    assert [one.draft["text"] for one in news if one.draft] == ["value)"]


def test_by_hand_the_model_is_asked_and_what_is_on_screen_stays_the_first() -> None:
    known = suggested("x = ¦\n", "call(value)")
    assert answer(ask("x = call(¦\n", known, invoked=True), Says("other, name)"))[0] == ["value)", "other, name)"]
    assert answer(ask("x = call(¦\n", known, invoked=True, candidates=1), Says("other, name)"))[0] == ["value)"]
    assert answer(ask("x = call(¦\n", known, live_canvas=False), Says("other, name)"))[0] == ["other, name)"]


@pytest.mark.parametrize(
    ("reason", "text", "shown"),
    [
        ("length", "a = 1\n    b = 2\n    c = call(", "a = 1\n    b = 2"),
        ("deadline", "a = 1\n    b.", "a = 1"),
        ("complete", "a = 1\n    b = 2", "a = 1\n    b = 2"),
        ("length", "call(a", "call(a"),  # the only line there is
    ],
)
def test_of_several_lines_the_one_that_breaks_off_is_not_shown(reason: str, text: str, shown: str) -> None:
    question = ask("def f():\n    ¦\n", invoked=True, candidates=1, syntax_feedback=False)
    assert answer(question, Says(text, reason))[0] == [shown]


def test_a_cancelled_completion_has_no_answer() -> None:
    assert answer(ask("x = ¦\n"), Says("1"), lambda: True)[0] is None


def test_a_place_outside_of_the_document_has_an_empty_answer() -> None:
    question = dataclasses.replace(ask("x = ¦\n"), line=99)
    assert answer(question, Says("1")) == ([], [])


def test_the_start_is_what_the_files_say_else_the_last_draft_else_masks() -> None:
    known = suggested("¦\n", "name = call(value)", done=False)
    for code, before, wanted, counts in (
        ("name = ¦\n", (), FROM_MASKS, [ASKED]),
        ("name = ¦\n", known, "call(value)", [ASKED, "warmStarts"]),
        (f"{SAID}value = ¦\n", (), "compute(name)", [ASKED]),
    ):
        engine = Says("1")
        _, news = answer(ask(code, before), engine)
        start = engine.asked[0].start
        assert start is not None
        assert start == wanted if wanted is FROM_MASKS else start.text == wanted
        assert counted(news) == counts


def test_the_last_draft_is_not_counted_where_the_files_say_something() -> None:
    known = suggested(f"{SAID}¦\n", "value = call(other)", done=False)
    engine = Says("1")
    _, news = answer(ask(f"{SAID}value = ¦\n", known), engine)
    assert engine.asked[0].start is not None and engine.asked[0].start.text == "compute(name)"
    assert counted(news) == [ASKED]


def test_other_files_are_chosen_for_as_many_tokens_as_the_engine_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    budgets: list[int] = []

    def choose(self: Related, here: Snapshot, offset: int, others: Any, tokens: int, stopped: Any) -> tuple[str, ...]:
        budgets.append(tokens)
        return ("chunk",)

    monkeypatch.setattr(Related, "choose", choose)
    for info in ({}, {"other_tokens": 256}):
        engine = Says("1", **info)
        answer(ask("x = ¦\n", (), OTHER), engine)
        assert (engine.asked[0].other_files, engine.asked[0].recall_from) == (("chunk",), (OTHER.text,))
    assert budgets == [64, 256]


def test_what_may_not_be_shown_is_no_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "is_ignored", lambda uri: uri.endswith("b.py"))
    engine = Says("1")
    answer(ask("settings = read_settings(path¦\n", (), OTHER, dataclasses.replace(OTHER, uri="file:///.env")), engine)
    assert (engine.asked[0].other_files, engine.asked[0].recall_from) == ((), ())


def test_the_engine_gets_the_time_that_planning_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(completion.time, "perf_counter", lambda: next(clock) / 10)  # each look takes 100 ms
    engine = Says("1")
    answer(ask("x = ¦\n", deadline_ms=1000), engine)
    left_ms = engine.asked[0].deadline_ms
    assert left_ms is not None and 0 < left_ms < 1000
    engine = Says("1")
    answer(ask("x = ¦\n", deadline_ms=0), engine)
    assert engine.asked[0].deadline_ms is None


def test_what_breaks_the_file_is_counted_and_cut_to_what_does_not() -> None:
    texts, news = answer(ask("def f():\n    ¦\n    return 1\n"), Says("a = 1\n    b = = 2"))
    assert texts == ["a = 1"]
    assert "broken" in counted(news)


def test_the_engine_may_ask_whether_a_text_breaks_the_file() -> None:
    engine = Says("1")
    answer(ask("x = f(¦)\ny = 2\n"), engine)
    breaks = engine.asked[0].breaks
    assert breaks is not None and not breaks("1") and breaks("1 = = 2")
    answer(ask("x = f(¦)\ny = 2\n", syntax_feedback=False), engine)
    assert engine.asked[-1].breaks is None


@pytest.mark.parametrize("code", ["¦x = 1\n", "x = f(¦)\n", "x = f(1)¦\n", "# so ¦\n", "x = 'a¦'\n"])
def test_ahead_of_time_what_a_request_at_the_cursor_shows_the_model_is_encoded(code: str) -> None:
    engine, related, question = Says("1"), Related(), ask(code, (), OTHER, invoked=True)
    completion.prepare(question, related, engine, lambda: False)
    assert engine.asked == []
    complete(question, related, lambda news: None, engine, lambda: False)
    [ahead], [asked, *_] = engine.prepared, engine.asked
    assert (ahead.prefix, ahead.suffix, ahead.other_files) == (asked.prefix, asked.suffix, asked.other_files)


def test_a_document_that_is_refused_is_neither_completed_nor_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = Refusal("secret", "it holds a key")
    monkeypatch.setattr(refusals, "refusal", lambda snapshot, options, invoked=False: refused)
    engine, question = Says("1"), ask("x = ¦\n", drafts=True)
    assert answer(question, engine) == ([], [News(refused=Refusal("secret", "it holds a key"))])
    completion.prepare(question, Related(), engine, lambda: False)
    assert engine.asked == engine.prepared == []


@pytest.mark.parametrize("code", ["rows = read(path)¦\n", "port = 80¦\n", "print(x):¦\n", "def f(x):¦\n    return x\n"])
def test_where_a_person_wants_nothing_the_model_is_asked_by_hand_only(code: str) -> None:
    engine = Says("call(value)")
    texts, news = answer(ask(code), engine)
    assert (texts, news, engine.asked) == ([], [News(refused=ALLOWED)], [])
    answer(ask(code, invoked=True), engine)
    assert engine.asked


def test_a_text_not_worth_showing_is_told_in_no_draft_and_shown_by_hand_only() -> None:
    texts, news = answer(ask("x = ¦\n", drafts=True), Says("ab"))
    assert texts == []
    assert {one.draft["text"] for one in news if one.draft} <= {""}
    assert answer(ask("x = ¦\n", invoked=True), Says("ab"))[0] == ["ab"]


def test_the_end_of_a_suggestion_on_screen_stays_however_short_it_is() -> None:
    known = suggested("x = ¦\n", "call(value)")
    texts, news = answer(ask("x = call(value¦\n", known), Says("other"))
    assert (texts, counted(news)) == ([")"], ["fromMemory"])
