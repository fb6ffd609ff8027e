"""Live canvas: what is left of a suggestion, and what to start from, after typing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from diffusion.request import Draft, Start
from lsp_server.suggest.holes import plan_at
from lsp_server.suggest.live import Memory
from lsp_server.text.documents import snapshot


def place(marked: str) -> tuple[Any, Any]:
    """The document and the plan at the mark."""
    taken = snapshot("file:///a.py", marked.replace("¦", ""), "python")
    plan = plan_at(taken, marked.index("¦"))
    assert plan is not None
    return taken, plan


def remembered(code: str, text: str, *tokens: tuple[str, float], done: bool = True) -> Memory:
    """The memory after `text` was suggested at the mark of `code`."""
    spans, at = [], 0
    for token, probability in tokens or ((text, 0.9),):
        spans.append((at, at + len(token), probability))
        at += len(token)
    memory = Memory()
    memory.remember(*place(code), Draft(1, text, (), 1.0, 1, done, "complete" if done else "", tuple(spans)), text)
    return memory


def rests(code: str, text: str) -> Callable[[str], str]:
    """What is left of `text`, suggested at the mark of `code`, at the mark of a later code."""
    memory = remembered(code, text)
    return lambda later: memory.rest(*place(later))


def test_typing_what_the_suggestion_says_leaves_its_rest() -> None:
    rest = rests("x = ¦\ny = 1\n", "foo(a)")
    assert rest("x = ¦\ny = 1\n") == "foo(a)"
    assert rest("x = fo¦\ny = 1\n") == "o(a)"
    assert rest("x = foo(¦)\ny = 1\n") == "a)"  # the editor has closed the bracket
    assert rest("x = foo(a)¦\ny = 1\n") == ""
    assert rest("x = fa¦\ny = 1\n") == ""
    assert rest("x =¦\ny = 1\n") == ""
    assert rest("x = fo¦\ny = 2\n") == ""


def test_typing_through_several_lines() -> None:
    rest = rests("def f():\n    ¦\n", "a = 1\n    return a")
    assert rest("def f():\n    a = 1\n    ¦\n") == "return a"
    assert rest("def f():\r\n    a =¦\r\n") == " 1\n    return a"


def test_deleting_back_to_where_a_suggestion_was_made_brings_it_back() -> None:
    memory = remembered("x = ¦\n", "foo(a)")
    taken, plan = place("x = b¦\n")
    memory.remember(taken, plan, Draft(1, "ar()", (), 1.0, 1, done=True, tokens=((0, 2, 0.5), (2, 4, 0.8))), "ar()")
    assert memory.rest(*place("x = ¦\n")) == "foo(a)"
    assert memory.rest(*place("x = fo¦\n")) == "o(a)"
    assert memory.rest(*place("x = ba¦\n")) == "r()"


def test_a_draft_that_was_not_done_answers_nothing_but_is_a_start() -> None:
    memory = remembered("x = ¦\n", "foo(a)", ("foo", 0.9), ("(a", 0.0), (")", 0.8), done=False)
    assert memory.rest(*place("x = f¦\n")) == ""
    assert memory.thought(*place("x = f¦\n")) is None
    start = memory.start(*place("x = f¦\n"))
    assert start is not None and not start.closed
    assert [(text, probability > 0) for text, probability in start.pieces] == [("oo", True), ("(a", False), (")", True)]


def test_what_is_not_sure_is_masked_again() -> None:
    memory = remembered("x = ¦\n", "foo(a)", ("foo", 0.9), ("(a", 0.2), (")", 0.8))
    assert memory.start(*place("x = ¦\n")) == Start((("foo", 0.9), ("(a", 0.0), (")", 0.8)))


def test_typing_something_else_starts_from_masks() -> None:
    memory = remembered("x = ¦\n", "foo(a)")
    assert memory.start(*place("x = b¦\n")) is None
    assert memory.start(*place("x = fox¦\n")) is None
    assert memory.start(*place("y = ¦\n")) is None


def test_documents_are_forgotten() -> None:
    memory = remembered("x = ¦\n", "foo(a)")
    memory.forget("file:///a.py")
    assert memory.rest(*place("x = ¦\n")) == ""
    assert memory.start(*place("x = ¦\n")) is None


def test_what_was_not_shown_is_a_thought_that_typing_confirms_or_contradicts() -> None:
    tokens = (0, 5, 0.3), (5, 6, 0.9), (6, 10, 0.2)
    whole = Draft(1, "value.name", (), 1.0, 1, True, "complete", tokens)
    memory = Memory()
    memory.remember(*place("x = ¦\n"), dataclasses.replace(whole, text="", tokens=(), whole=whole), "")
    thought = memory.thought(*place("x = v¦\n"))
    assert thought is not None and thought.text == "alue.name"
    assert thought.tokens[0][2] > 0.6
    assert thought.tokens[1:] == ((4, 5, 0.9), (5, 9, 0.2))
    assert memory.rest(*place("x = v¦\n")) == ""
    assert memory.thought(*place("x = w¦\n")) is None


def test_the_end_that_the_model_sees_is_a_thought_too() -> None:
    memory = remembered("x = ¦\n", "foo(a)")
    thought = memory.thought(*place("x = foo(a)¦\n"))
    assert thought is not None and thought.text == ""


def test_that_nothing_more_comes_is_said_of_one_place_only() -> None:
    memory = remembered("def f(a):¦\n\ndef f(a):\n", "")
    assert memory.thought(*place("def f(a):¦\n\ndef f(a):\n")) is not None
    assert memory.thought(*place("def f(a):\n\ndef f(a):¦\n")) is None
