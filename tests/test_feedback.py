"""Syntax feedback: errors that a candidate brings, and only those."""

from __future__ import annotations

import pytest

from lsp_server.suggest.feedback import broken_spans, brought, errors_of, sound_part
from lsp_server.suggest.holes import plan_at
from lsp_server.text.documents import snapshot


def broken(code: str, text: str, language: str = "python") -> list[str]:
    """The parts of `text` that break the code at the mark."""
    taken = snapshot("file:///a", code.replace("¦", ""), language)
    plan = plan_at(taken, code.index("¦"))
    assert plan is not None
    return [text[start:stop] for start, stop in broken_spans(taken, plan, text)]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("x = ¦\n", "foo(a)"),
        ("def f():\n    ¦\n", "return 1\n"),
        ("x = f(\ny = ¦\n", "1"),  # broken before, elsewhere
        ("x = f(\ny = ¦\n", "(1"),  # as broken as before
        ("x = ¦\nприв = 1\n", "привет()"),
    ],
)
def test_what_breaks_nothing_new_is_sound(code: str, text: str) -> None:
    assert broken(code, text) == []


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("x = 1\ny = 2¦\n", " + )"),
        ("def f():\n    ¦\n    return 1\n", "x = = 2"),
        ("x = 1 ¦\nz = 3\n", "+ («»"),
    ],
)
def test_what_breaks_a_file_that_parsed_is_found(code: str, text: str) -> None:
    assert broken(code, text)


BROKEN_ABOVE = "a = 1 +\nx = 1\n"


@pytest.mark.parametrize(
    ("code", "text", "span"),
    [
        ("class A:\n    def f(self):\n        self.¦\n\n    def g(self):\n        pass\n", "x = = 1", "="),
        ("def f():\n    if x¦\n    return 1\n", ":\n        y = )", "y = )"),
        (BROKEN_ABOVE + "def f():\n    if x¦\n    return 1\n", ":\n        y = )", "y = )"),
        ("const f = () => {\n  g(¦\n}\n", "a); b = ];", "= ]"),
    ],
)
def test_a_text_that_mends_one_error_and_makes_another_is_broken(code: str, text: str, span: str) -> None:
    language = "javascript" if "const" in code else "python"
    assert any(span in part for part in broken(code, text, language))


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (BROKEN_ABOVE + "if y:\n    b = ¦\nc = 2\n", "3"),
        ("b = ¦\nc = 2\n" + BROKEN_ABOVE, "f(3)"),  # the error below moves
        ("def f(a,¦\n", " b,"),  # a header that goes on, as before
        ("const f = () => {\n  if (a¦\n}\n", ") {"),  # the brace is closed later, as it was to be before
        ("x = f(\ny = ¦\n", "1"),
    ],
)
def test_an_error_that_was_there_before_is_not_blamed_on_the_text(code: str, text: str) -> None:
    assert broken(code, text, "javascript" if "const" in code else "python") == []


def test_the_places_of_errors_are_compared_and_not_their_number() -> None:
    hole = (10, 12)
    assert brought([(3, 4), (20, 25)], [(3, 4), (23, 28)], *hole, length=5) == []
    assert brought([(3, 4), (20, 25)], [(11, 12)], *hole, length=5) == [(11, 12)]
    assert brought([(20, 25)], [(30, 31)], *hole, length=5) == [(30, 31)]
    assert brought([(12, 12)], [(15, 15)], *hole, length=5) == []
    assert brought([], [], *hole, length=5) == []


def test_the_broken_span_lies_where_the_error_is() -> None:
    [span] = broken("def f():\n    ¦\n\n\ny = 1\n", "a = 1\n    b = ) 2\n    c = 3")
    assert ")" in span
    assert "a = 1" not in span


@pytest.mark.parametrize("depth", [1, 1500])
def test_an_error_in_deep_brackets_is_found(depth: int) -> None:
    code = "x = " + "(" * depth + "1 +¦ 2" + ")" * depth + "\n"
    assert broken(code, " 3 +") == []
    assert broken(code, " * 3 +") != []


def test_errors_come_in_the_order_of_the_text() -> None:
    taken = snapshot("file:///a.json", "[1, [2 3], {4}, [[5 6], 7 8]]", "json")
    assert taken.tree is not None
    found = list(errors_of(taken.tree.root_node))
    assert len(found) >= 3
    assert found == sorted(found)


def test_the_lines_before_the_error_are_sound() -> None:
    code = "def f():\n    ¦\n\n\ny = 1\n"
    taken = snapshot("file:///a.py", code.replace("¦", ""), "python")
    plan = plan_at(taken, code.index("¦"))
    assert plan is not None
    assert sound_part(taken, plan, "a = 1\n    b = 2\n    c = )", str, words=False) == "a = 1\n    b = 2"
    assert sound_part(taken, plan, "a = )", str, words=False) == ""


def test_the_words_before_what_is_not_finished_are_sound() -> None:
    code = "def f(items):\n    ¦\n\n\ny = 1\n"
    taken = snapshot("file:///a.py", code.replace("¦", ""), "python")
    plan = plan_at(taken, code.index("¦"))
    assert plan is not None
    assert sound_part(taken, plan, "first = items[0].name(", str, words=True) == "first = items[0].name"
    assert sound_part(taken, plan, "a = (", str, words=True) == ""


def test_a_language_without_a_grammar_is_never_judged() -> None:
    taken = snapshot("file:///a.xyz", "x = \n", "xyz")
    plan = plan_at(taken, 4)
    assert plan is not None
    assert broken_spans(taken, plan, "(((") == ()


def test_a_text_behind_which_the_file_has_more_errors_is_broken_though_each_is_at_an_old_place() -> None:
    taken = snapshot("file:///a", '    "]\n}\n\n', "python")
    source = '    "]mment\n}\n\n'
    old, new = (list(errors_of(snapshot("file:///a", text, "python").tree.root_node)) for text in (taken.text, source))  # type: ignore[union-attr]
    assert len(new) > len(old) and not brought(old, new, 6, 6, 5)
    assert broken('    "]¦\n}\n\n', "mment")
