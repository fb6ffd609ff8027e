"""Live canvas: what is left of a suggestion, and what to start from, after typing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffusion.request import Draft, Start
from lsp_server.documents import snapshot
from lsp_server.holes import plan_at
from lsp_server.live import Known, Memory, is_better, recalled


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
    memory.remember(*place(code), Draft(1, text, (), 1.0, 1, done=done, tokens=tuple(spans)), text)
    return memory


def rests(code: str, text: str) -> Callable[[str], str | None]:
    """What is left of `text`, suggested at the mark of `code`, at the mark of a later code."""
    memory = remembered(code, text)
    return lambda later: (known := memory.rest(*place(later))) and known.text


def test_typing_what_the_suggestion_says_leaves_its_rest() -> None:
    rest = rests("x = ¦\ny = 1\n", "foo(a)")
    assert rest("x = ¦\ny = 1\n") == "foo(a)"
    assert rest("x = fo¦\ny = 1\n") == "o(a)"
    assert rest("x = foo(¦)\ny = 1\n") == "a)"  # the editor has closed the bracket
    assert rest("x = foo(a)¦\ny = 1\n") is None
    assert rest("x = fa¦\ny = 1\n") is None
    assert rest("x =¦\ny = 1\n") is None
    assert rest("x = fo¦\ny = 2\n") is None


def test_typing_through_several_lines() -> None:
    rest = rests("def f():\n    ¦\n", "a = 1\n    return a")
    assert rest("def f():\n    a = 1\n    ¦\n") == "return a"
    assert rest("def f():\r\n    a =¦\r\n") == " 1\n    return a"


def test_deleting_back_to_where_a_suggestion_was_made_brings_it_back() -> None:
    memory = remembered("x = ¦\n", "foo(a)")
    taken, plan = place("x = b¦\n")
    memory.remember(taken, plan, Draft(1, "ar()", (), 1.0, 1, done=True, tokens=((0, 2, 0.5), (2, 4, 0.8))), "ar()")
    assert memory.rest(*place("x = ¦\n")) == Known("foo(a)", 0.9)
    assert memory.rest(*place("x = fo¦\n")) == Known("o(a)", 1.0)  # what is left of the only token
    assert memory.rest(*place("x = ba¦\n")) == Known("r()", 0.8)


def test_a_draft_that_was_not_done_answers_nothing_but_is_a_start() -> None:
    memory = remembered("x = ¦\n", "foo(a)", ("foo", 0.9), ("(a", 0.0), (")", 0.8), done=False)
    assert memory.rest(*place("x = f¦\n")) is None
    assert memory.start(*place("x = f¦\n")) == Start((("oo", 0.9), ("(a", 0.0), (")", 0.8)), closed=False)


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
    assert memory.rest(*place("x = ¦\n")) is None
    assert memory.start(*place("x = ¦\n")) is None


def test_what_is_recalled_replaces_what_is_on_screen_if_it_is_much_likelier_or_says_more() -> None:
    assert is_better(says("other", 0.5), Known("text", 0.1))
    assert not is_better(says("text", 0.5), Known("text", 0.1))
    assert not is_better(says("other", 0.35), Known("text", 0.3))
    assert is_better(says("text and more", 0.3), Known("text", 0.5))
    assert not is_better(says("", 1.0), Known("text", 0.5))


def says(text: str, probability: float) -> Draft:
    return recalled(Start(((text, probability),)))
