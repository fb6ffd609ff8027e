from __future__ import annotations

import pytest

from lsp_server.text.brackets import still_open, surplus_closers, unclosed


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
    assert unclosed(code).quote == quote


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


@pytest.mark.parametrize(
    ("language", "code", "kind"),
    [
        ("python", "x = 1  # wh", "comment"), ("python", "x = '# no", "string"), ("python", "x = '# no'", ""),
        ("python", "x = f'{a", "code"), ("python", "x = f'{{a", "string"), ("python", "x = f'{a} ", "string"),
        ("python", "x = f'{a[\"b", "string"), ("python", "x = '{a", "string"), ("python", "x = rf'{f(\")\")", "code"),
        ("python", 'x = """\n# a', "string"), ("python", "x = '\\", "string"), ("python", "it = '\n", ""),
        ("c", "f(); /* wh", "comment"), ("c", "f(); /* what */", ""), ("c", "f(); /* a\n b", "comment"),
        ("css", "a { b", ""), ("javascript", "`a ${b", "code"), ("javascript", "`a ${b} c", "string"),
        ("javascript", "`${b // c", "comment"), ("go", "`${b", "string"),
        ("csharp", '$"{a', "code"), ("csharp", '"{a', "string"), ("java", '"""\n a "b" ', "string"),
        ("ruby", '"#{a', "code"), ("ruby", "'#{a", "string"), ("ruby", "=begin\nit's", "comment"),
        ("php", '"{$a', "code"), ("php", '"{a', "string"), ("shellscript", '"$(a', "code"), ("shellscript", "$#", ""),
        ("lua", "--[[ a\nb", "comment"), ("lua", "--[==[ a ]]", "comment"), ("lua", "[[ a\nb", "string"),
        ("html", "<!-- a\nb", "comment"), ("html", "<!-- a -->", ""),
    ],
)  # fmt: skip
def test_what_code_ends_in(language: str, code: str, kind: str) -> None:
    assert unclosed(code, language).kind == kind
