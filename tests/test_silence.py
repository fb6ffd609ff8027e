"""Where a person who types wants no suggestion: the rules, each at its places and beside them."""

from __future__ import annotations

import pytest

from lsp_server.suggest import silence
from lsp_server.suggest.holes import plan_at
from lsp_server.text.documents import snapshot
from lsp_server.tools.silence import Answer, position, shares
from lsp_server.tools.silence_places import PLACES

STATEMENT, NUMBER = "behind a complete statement", "inside a number"
COLON, BLOCK = "behind a colon that opens no block", "behind a header that has its block"
SHORT, TORN, REPEATS = "too short", "the word at the cursor would be torn", "repeats the lines beside it"


def rule_at(code: str, language: str = "python") -> str:
    """The rule that keeps the mark silent."""
    taken = snapshot("file:///a", code.replace("¦", ""), language)
    plan = plan_at(taken, code.index("¦"))
    return silence.at(taken, plan) if plan else ""


def rule_of(code: str, text: str, language: str = "python") -> str:
    """The rule that keeps a text from being shown at the mark."""
    taken = snapshot("file:///a", code.replace("¦", ""), language)
    plan = plan_at(taken, code.index("¦"))
    assert plan is not None
    return silence.of(taken, plan, text)


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("behind a call", STATEMENT),
        ("behind a semicolon", STATEMENT),
        ("behind a colon by habit", COLON),
        ("behind a header that has its block", BLOCK),
        ("inside a number", NUMBER),
    ],
)
def test_every_place_of_the_suite_that_a_rule_is_for_is_silent_by_that_rule(kind: str, rule: str) -> None:
    assert {code: rule_at(code, language) for language, code in PLACES[kind]} == {
        code: rule for _, code in PLACES[kind]
    }


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "def f(x):¦\n"),
        ("python", "def f(x):\n    ¦\n"),
        ("python", "rows = read(¦\n"),
        ("python", "rows = read(¦)\n"),
        ("python", "rows = [¦]\n"),
        ("python", "rows = ¦\n"),
        ("python", "return na¦\n"),
        ("python", "if ready(x)¦\n"),
        ("python", "def f(x)¦\n    return x\n"),
        ("python", "rows.¦\n"),
        ("python", "x1¦\n"),
        ("python", "width:¦\n"),
        ("python", "rows = {'a':¦\n"),
        ("python", "rows = {\n    'a':¦\n}\n"),
        ("python", "rows[1:¦\n"),
        ("python", "key = lambda row:¦\n"),
        ("python", "f(a)¦, b\n"),
        ("python", "x = '(a)¦'\n"),
        ("javascript", "function f(a) {¦\n"),
        ("javascript", "if (ready(x)¦\n"),
        ("javascript", "const rows = {¦\n"),
        ("javascript", "switch (x) {\n  case f(1):¦\n"),
        ("typescript", "function size(rows: string[]):¦\n"),
        ("css", "a {\n  color:¦\n}\n"),
    ],
)
def test_beside_those_places_the_model_is_asked(language: str, code: str) -> None:
    assert rule_at(code, language) == ""


def test_a_text_adds_at_least_three_visible_characters_to_what_is_on_the_line() -> None:
    assert rule_of("x = ¦\n", "ab") == rule_of("x = ¦\n", " a b ") == SHORT
    assert rule_of("x = ¦\n", "abc") == ""
    assert rule_of("print(¦)\n", "ab)") == SHORT
    assert rule_of("print(¦)\n", "abc)") == ""
    assert rule_of("def f(¦):\n", "a):\n    b") == SHORT
    assert rule_of("def f(¦):\n", "a):\n    return a") == ""


def test_amid_a_word_only_what_ends_as_the_word_does_is_shown() -> None:
    assert rule_of("x = na¦me\n", "rrow(x)") == TORN
    assert rule_of("x = na¦me\n", " = name") == TORN
    assert rule_of("x = na¦me\n", "rrow_name(x)") == ""
    assert rule_of("x = na¦\n", "rrow(x)") == ""


def test_a_text_that_makes_the_lines_beside_it_once_more_is_not_shown() -> None:
    assert rule_of("    load(path)\n    lo¦\n", "ad(path)") == REPEATS
    assert rule_of("lo¦\nload(path)\n", "ad(path)") == REPEATS
    assert rule_of("\n\nload(path)\n\n¦\n", "load(path)") == REPEATS
    assert rule_of("a = read()\nload(a)\n¦\n", "a = read()\nload(a)") == REPEATS
    assert rule_of("load(path)\nlo¦\n", "ad(name)") == ""
    assert rule_of("if x:\n        load(path)\n    lo¦\n", "ad(path)") == ""


def test_a_text_that_says_what_is_left_of_the_cursor_once_more_is_not_shown() -> None:
    assert rule_of("print(os.path¦)\n", "print(os.path)") == "repeats what is left of it"
    assert not rule_of("print(os.path¦)\n", ".join(a, b)")
    assert not rule_of("x = max(¦)\n", "max(a, b), c")
    assert not rule_of("max(¦)\n", "max(a, b), c)")


def test_a_hundred_places_ten_of_each_kind_each_with_one_cursor() -> None:
    assert {len(places) for places in PLACES.values()} == {10} and len(PLACES) == 10
    codes = [code for places in PLACES.values() for _, code in places]
    assert len(set(codes)) == 100 and {code.count("¦") for code in codes} == {1}


def test_the_share_of_silence_is_counted_for_each_kind_and_the_mark_is_where_it_is_asked() -> None:
    found = [Answer(kind, *place, "said" if kind == "amid a word" else "") for kind in PLACES for place in PLACES[kind]]
    assert shares(found) == {kind: float(kind != "amid a word") for kind in PLACES}
    assert position("a = 1\nb¦ = 2\n") == {"line": 1, "character": 1}
    assert position("¦a") == {"line": 0, "character": 0}
