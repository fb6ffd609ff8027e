"""Live canvas: what is left of a suggestion, and what to start from, after typing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion.request import Draft, Start
from lsp_server.suggest.holes import plan_at
from lsp_server.suggest.live import (
    DOCUMENTS,
    NEAR_CHARS,
    SUGGESTIONS,
    Around,
    Known,
    Memory,
    Rest,
    Suggestion,
    around,
    rest,
    rest_of,
    start,
    thought,
)
from lsp_server.text.documents import snapshot

URI = "file:///a.py"
TEXT = st.text(st.sampled_from("ab"), max_size=4)


def place(marked: str) -> Around:
    """What is around the mark."""
    taken = snapshot(URI, marked.replace("¦", ""), "python")
    plan = plan_at(taken, marked.index("¦"))
    assert plan is not None
    return around(taken, plan)


def suggestion(code: str, text: str, *tokens: tuple[str, float], done: bool = True) -> Suggestion:
    """What is kept of `text`, suggested at the mark of `code`."""
    spans, at = [], 0
    for token, probability in tokens or ((text, 0.9),):
        spans.append((at, at + len(token), probability))
        at += len(token)
    draft = Draft(1, text, (), 1.0, 1, done, "complete" if done else "", tuple(spans))
    return Suggestion(place(code), draft, text)


def remembered(code: str, text: str, *tokens: tuple[str, float], done: bool = True) -> Known:
    """What is known after `text` was suggested at the mark of `code`."""
    return (suggestion(code, text, *tokens, done=done),)


def rests(code: str, text: str) -> Callable[[str], str]:
    """What is left of `text`, suggested at the mark of `code`, at the mark of a later code."""
    known = remembered(code, text)
    return lambda later: rest(known, place(later)).text


def test_typing_what_the_suggestion_says_leaves_its_rest() -> None:
    left = rests("x = ¦\ny = 1\n", "foo(a)")
    assert left("x = ¦\ny = 1\n") == "foo(a)"
    assert left("x = fo¦\ny = 1\n") == "o(a)"
    assert left("x = foo(¦)\ny = 1\n") == "a)"  # the editor has closed the bracket
    assert left("x = foo(a)¦\ny = 1\n") == ""
    assert left("x = fa¦\ny = 1\n") == ""
    assert left("x =¦\ny = 1\n") == ""
    assert left("x = fo¦\ny = 2\n") == ""


def test_typing_through_several_lines() -> None:
    left = rests("def f():\n    ¦\n", "a = 1\n    return a")
    assert left("def f():\n    a = 1\n    ¦\n") == "return a"
    assert left("def f():\r\n    a =¦\r\n") == " 1\n    return a"


def test_deleting_back_to_where_a_suggestion_was_made_brings_it_back() -> None:
    known = remembered("x = ¦\n", "foo(a)")
    known += remembered("x = b¦\n", "ar()", ("ar", 0.5), ("()", 0.8))
    assert rest(known, place("x = ¦\n")).text == "foo(a)"
    assert rest(known, place("x = fo¦\n")).text == "o(a)"
    assert rest(known, place("x = ba¦\n")).text == "r()"


def test_a_draft_that_was_not_done_answers_nothing_but_is_a_start() -> None:
    known = remembered("x = ¦\n", "foo(a)", ("foo", 0.9), ("(a", 0.0), (")", 0.8), done=False)
    assert rest(known, place("x = f¦\n")).text == ""
    assert thought(known, place("x = f¦\n")) is None
    begun = start(known, place("x = f¦\n"))
    assert begun is not None and not begun.closed
    assert [(text, probability > 0) for text, probability in begun.pieces] == [("oo", True), ("(a", False), (")", True)]


def test_what_is_not_sure_is_masked_again() -> None:
    known = remembered("x = ¦\n", "foo(a)", ("foo", 0.9), ("(a", 0.2), (")", 0.8))
    assert start(known, place("x = ¦\n")) == Start((("foo", 0.9), ("(a", 0.0), (")", 0.8)))


def test_typing_something_else_starts_from_masks() -> None:
    known = remembered("x = ¦\n", "foo(a)")
    assert start(known, place("x = b¦\n")) is None
    assert start(known, place("x = fox¦\n")) is None
    assert start(known, place("y = ¦\n")) is None


def test_documents_are_forgotten() -> None:
    memory = Memory()
    memory.remember(URI, suggestion("x = ¦\n", "foo(a)"))
    assert len(memory.of(URI)) == 1
    memory.forget(URI)
    assert memory.of(URI) == ()
    assert rest((), place("x = ¦\n")).text == ""
    assert start((), place("x = ¦\n")) is None


def test_fixed_text_behind_a_part_is_no_rest_of_it() -> None:
    part = suggestion("print(¦)\n", "value)")._replace(unshown=")")
    assert rest((part,), place("print(va¦)\n")) == Rest("lue)", ")")
    assert rest((part,), place("print(value¦)\n")) == Rest()
    whole = part._replace(unshown="")
    assert rest((whole,), place("print(value¦)\n")) == Rest(")")
    assert rest((part, whole), place("print(val¦)\n")) == Rest("ue)")


def test_what_was_not_shown_is_a_thought_that_typing_confirms_or_contradicts() -> None:
    tokens = (0, 5, 0.3), (5, 6, 0.9), (6, 10, 0.2)
    whole = Draft(1, "value.name", (), 1.0, 1, True, "complete", tokens)
    known = (Suggestion(place("x = ¦\n"), dataclasses.replace(whole, text="", tokens=(), whole=whole), ""),)
    found = thought(known, place("x = v¦\n"))
    assert found is not None and found.text == "alue.name"
    assert found.tokens[0][2] > 0.6
    assert found.tokens[1:] == ((4, 5, 0.9), (5, 9, 0.2))
    assert rest(known, place("x = v¦\n")).text == ""
    assert thought(known, place("x = w¦\n")) is None


def test_the_end_that_the_model_sees_is_a_thought_too() -> None:
    known = remembered("x = ¦\n", "foo(a)")
    found = thought(known, place("x = foo(a)¦\n"))
    assert found is not None and found.text == ""


def test_that_nothing_more_comes_is_said_of_one_place_only() -> None:
    known = remembered("def f(a):¦\n\ndef f(a):\n", "")
    assert thought(known, place("def f(a):¦\n\ndef f(a):\n")) is not None
    assert thought(known, place("def f(a):\n\ndef f(a):¦\n")) is None


def test_a_later_draft_of_the_same_run_takes_the_place_of_the_one_before() -> None:
    memory = Memory()
    for text, done in (("f", False), ("fo", False), ("foo", True), ("bar", True)):
        memory.remember(URI, suggestion("x = ¦\n", text, done=done))
    assert [one.text for one in memory.of(URI)] == ["foo", "bar"]


def test_so_many_suggestions_of_so_many_documents_are_kept() -> None:
    memory, one = Memory(), suggestion("x = ¦\n", "foo")
    for number in range(DOCUMENTS + 3):
        for _ in range(SUGGESTIONS + 3):
            memory.remember(f"file:///{number}.py", one)
    kept = [len(memory.of(f"file:///{number}.py")) for number in range(DOCUMENTS + 3)]
    assert kept == [0] * 3 + [SUGGESTIONS] * DOCUMENTS


def test_what_was_given_out_does_not_change() -> None:
    memory = Memory()
    before = memory.of(URI)
    memory.remember(URI, suggestion("x = ¦\n", "foo"))
    assert before == ()


def test_of_a_long_document_little_is_kept_and_its_length_counts() -> None:
    long, line = "# filler\r\n" * 5000, "# filler\r\n"
    known = remembered(f"{long}x = ¦\r\n{long}", "foo(a)")
    assert len(known[0].place.before) == len(known[0].place.behind) == NEAR_CHARS
    assert rest(known, place(f"{long}x = fo¦\r\n{long}")).text == "o(a)"
    assert start(known, place(f"{long}x = fo¦\r\n{long}")) is not None
    for before, behind in ((long + line, long), (long, long + line), (line, long), (long, "")):
        assert rest(known, place(f"{before}x = fo¦\r\n{behind}")).text == ""
        assert start(known, place(f"{before}x = fo¦\r\n{behind}")) is None or behind == ""


@settings(deadline=None, max_examples=300)
@given(TEXT, TEXT, TEXT, TEXT, TEXT)
def test_the_rest_is_what_comparing_whole_texts_gives(
    before: str, text: str, behind: str, now_before: str, now_behind: str
) -> None:
    then, now = whole(before, behind), whole(now_before, now_behind)
    assert rest_of(Suggestion(then, Draft(1, text, (), 1.0, 1, True), text), text, now) == compared(
        before, text, behind, now_before, now_behind
    )


def whole(before: str, behind: str) -> Around:
    return Around(len(before), before[-NEAR_CHARS:], len(behind), behind[:NEAR_CHARS])


def compared(known_before: str, text: str, known_after: str, before: str, after: str) -> str | None:
    """What `rest_of` means, with whole texts."""
    said = known_before + text + known_after
    inside = len(known_before) <= len(before) <= len(known_before) + len(text)
    if not inside or not said.startswith(before) or not said.endswith(after):
        return None
    rest = said[len(before) : max(len(before), len(said) - len(after))]
    return rest if len(rest) <= len(text) else None
