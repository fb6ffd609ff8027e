from __future__ import annotations

import pytest

from lsp_server.text.brackets import in_comment, open_quote, still_open, surplus_closers


@pytest.mark.parametrize(
    ("code", "left_open"),
    [
        ("", ""), ("f(a", "("), ("f(a[1]", "("), ("f(a[1", "(["), ("f(')')", ""), ("f('(", "("), ("# (\n[", "["),
        ('x = """(\n[""" + (', "("), ("{'a': [1, (2, 3)]", "{"), ("f(a]", "("), (r"'\'(' + [", "["),
    ],
)  # fmt: skip
def test_still_open(code: str, left_open: str) -> None:
    assert still_open(code) == left_open


def test_surplus_closers() -> None:
    assert surplus_closers("a), b]\n") == ")]"
    assert surplus_closers("(a), '}'\n") == ""


@pytest.mark.parametrize(
    ("code", "quote"),
    [
        ("x = 'ab", "'"), ("x = '", "'"), ("x = ''", ""), ("x = 'ab'", ""), ("x = 'ab' + y", ""), ("x = \"it's", '"'),
        ("x = \'\'\'a'b", "\'\'\'"), ("# it's", ""), ("x = 'a\n", ""), ("", ""), ("f(", ""),
    ],
)  # fmt: skip
def test_the_quote_of_an_open_string(code: str, quote: str) -> None:
    assert open_quote(code) == quote


@pytest.mark.parametrize(
    ("language", "code", "brackets"),
    [
        ("javascript", "f(`(${a}`, // (", "("), ("rust", "fn f<'a>(x: &'a str", "("), ("c", "/* ( */ g(')'", "("),
        ("lua", "f( -- (", "("), ("css", "a { b: url('(')", "{"), ("json", '{"a": [1, "["', "{["),
        ("shellscript", "f() { # {", "{"), ("go", "x := `(`; f(", "("), ("unheard-of", "f(a, '(', [", "(["),
    ],
)  # fmt: skip
def test_every_language_has_its_own_strings_and_comments(language: str, code: str, brackets: str) -> None:
    assert still_open(code, language) == brackets


def test_comments_of_a_line() -> None:
    assert in_comment("x = 1  # wh", "python")
    assert not in_comment("x = '# no", "python")
    assert in_comment("f(); /* wh", "c")
    assert not in_comment("f(); /* what */", "c")
    assert not in_comment("a { b", "css")
