"""Drafts as they would be typed at their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.request import Draft
from lsp_server.suggest.fitting import converted, fitted, fitted_draft, moved, unit_of


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("def f():\n\tif a:\n\t\tb()\n", "\t"),
        ("def f():\n    if a:\n        b()\n", "    "),
        ("a {\n  b {\n    c\n  }\n}\n", "  "),
        ("def f():\n\ta()\ndef g():\n    b()\n", ""),  # both
        ("def f():\n\ta(b,\n\t  c)\n", ""),  # aligned by spaces
        ("a\nb\n", ""),
    ],
)
def test_the_unit_of_a_document(text: str, unit: str) -> None:
    assert unit_of(text.splitlines()) == unit


@pytest.mark.parametrize(
    ("text", "base", "expected"),
    [
        ("a = 1\n    b = 2", "\t", "a = 1\n\tb = 2"),
        ("if a:\n        b()\n    c()", "\t", "if a:\n\t\tb()\n\tc()"),
        ("if a:\n    b()\n  c()", "\t", "if a:\n\t\tb()\n\tc()"),  # two spaces a level
        ("if a:\n    b()", "", "if a:\n\tb()"),
        ("f(\n    a,\n)", "", "f(\n\ta,\n)"),
        ("a = 1\n\n    b = 2", "\t", "a = 1\n\n\tb = 2"),
        ("a = 1\n\tb = 2", "\t", "a = 1\n\tb = 2"),  # is right
        ("a = 1\n     b = 2", "\t", "a = 1\n     b = 2"),  # five spaces are no level
        ("a = 1\n            b = 2", "\t", "a = 1\n            b = 2"),  # below nothing that opens a block
        ("a = 1", "\t", "a = 1"),
    ],
)
def test_in_a_file_of_tabs_lines_of_spaces_become_lines_of_tabs(text: str, base: str, expected: str) -> None:
    assert converted(text, "\t", base) == expected


@pytest.mark.parametrize(
    ("text", "base", "expected"),
    [
        ("a = 1\n\tb = 2", "    ", "a = 1\n    b = 2"),
        ("if a:\n\t\tb()\n\tc()", "    ", "if a:\n        b()\n    c()"),
        ("if a:\n\t\t\tb()", "    ", "if a:\n\t\t\tb()"),
        ("if a:\n\tb()", "  \t", "if a:\n\tb()"),  # the line itself is mixed
    ],
)
def test_in_a_file_of_spaces_lines_of_tabs_become_lines_of_spaces(text: str, base: str, expected: str) -> None:
    assert converted(text, "    ", base) == expected


def test_spans_and_tokens_stay_on_their_text() -> None:
    text = "if a:\n        b(c)\n    d()"
    at = text.index("b(c)"), text.index("d()")
    tokens = ((0, 5, 0.9), (5, at[0], 0.8), (at[0], at[0] + 4, 0.7), (at[0] + 4, len(text), 0.6))
    draft = fitted_draft(Draft(1, text, ((at[0], at[0] + 4), at), 0.5, 1, tokens=tokens), "\t", "\t")
    assert draft.text == "if a:\n\t\tb(c)\n\td()"
    assert [draft.text[a:b] for a, b in draft.masked] == ["b(c)", "b(c)\n\t"]
    assert [draft.text[a:b] for a, b, _ in draft.tokens] == ["if a:", "\n\t\t", "b(c)", "\n\td()"]


@pytest.mark.parametrize(
    ("left", "text", "expected"),
    [
        ("for i in ", "  range(3)", "range(3)"),
        ("total = ", "total = add(a)", "add(a)"),
        ("    return ", "return a", "a"),
        ("    return ", "returned", "returned"),
        ("x = ", "x = 1", "x = 1"),  # too little to tell
        ("max(", "max(a, b), c)", "max(a, b), c)"),
        ("    ", "    a = 1", "    a = 1"),  # a deeper line
        ("x =", " 1", " 1"),
        ("", "a", "a"),
    ],
)
def test_what_the_line_says_already_is_not_said_again(left: str, text: str, expected: str) -> None:
    assert fitted(text, left, "    ") == expected


def test_spans_stay_on_their_text_where_its_beginning_goes() -> None:
    tokens = ((0, 5, 0.9), (5, 8, 0.8), (8, 12, 0.7), (12, 14, 0.6))
    draft = fitted_draft(Draft(1, "total = add(a)", ((0, 5), (12, 14)), 0.5, 1, tokens=tokens), "total = ", "")
    assert draft.text == "add(a)"
    assert draft.masked == ((4, 6),)
    assert [draft.text[a:b] for a, b, _ in draft.tokens] == ["add(", "a)"]


@given(st.text(" \ta:(\n", max_size=40), st.sampled_from(["\t", "  ", "    "]), st.sampled_from(["", "\t", "    "]))
def test_only_the_blanks_that_lines_begin_with_change_and_places_stay_in_order(text: str, unit: str, base: str) -> None:
    new = converted(text, unit, base)
    assert [line.lstrip(" \t") for line in new.split("\n")[1:]] == [line.lstrip(" \t") for line in text.split("\n")[1:]]
    places = moved(text, new)
    assert len(places) == len(text) + 1 and places == sorted(places) and places[-1] == len(new)
    assert converted(new, unit, base) == new
