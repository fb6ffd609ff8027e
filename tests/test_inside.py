"""Code, comment or string: every language, whole and while it is written."""

from __future__ import annotations

import pytest

from lsp_server.suggest.holes import plan_at
from lsp_server.text import inside, languages
from lsp_server.text.documents import Snapshot, snapshot
from lsp_server.text.inside import SCAN_CHARS, inside_at, where_is
from tests.places import BROKEN, WHOLE

MARKS = {"◇": "code", "◆": "comment", "●": "string"}
# Places that are read wrongly if nothing follows them: strings in the code of a string with the same quotes, raw
# strings, heredocs, %q and regular expressions, which only a grammar can tell.
KNOWN_TO_BE_WRONG = {
    "python": 2, "javascript": 3, "typescriptreact": 1, "rust": 2, "cpp": 1, "csharp": 1, "ruby": 5, "php": 4,
    "shellscript": 4,
}  # fmt: skip


def marked(code: str) -> tuple[str, list[tuple[int, str]]]:
    """The text without its marks, and where they stand."""
    text, places = "", []
    for char in code:
        if char in MARKS:
            places.append((len(text), MARKS[char]))
        else:
            text += char
    return text, places


def wrong(taken: Snapshot, places: list[tuple[int, str]]) -> list[str]:
    """The places that are read as something else, each with its line."""
    found = []
    for offset, what in places:
        if (said := where_is(taken, offset)) != what:
            start, end = taken.line_start(offset), taken.line_end(offset)
            found.append(f"{taken.text[start:offset]}¦{taken.text[offset:end]} is {what}, not {said}")
    return found


@pytest.mark.parametrize("language", WHOLE)
def test_code_comments_and_strings_of_a_whole_file(language: str) -> None:
    text, places = marked(WHOLE[language])
    taken = snapshot("file:///a", text, language)
    assert taken.tree is not None and not taken.tree.root_node.has_error
    assert wrong(taken, places) == []


@pytest.mark.parametrize(("language", "code"), BROKEN)
def test_a_comment_or_string_that_is_not_closed_yet_is_one(language: str, code: str) -> None:
    text, places = marked(code)
    assert places
    assert wrong(snapshot("file:///a", text, language), places) == []


@pytest.mark.parametrize("language", WHOLE)
def test_an_error_further_down_changes_nothing(language: str) -> None:
    text, places = marked(WHOLE[language])
    assert wrong(snapshot("file:///a", text + "\n)]} ( {", language), places) == []


@pytest.mark.parametrize("language", WHOLE)
def test_with_nothing_behind_the_cursor_nearly_all_places_are_read_rightly(language: str) -> None:
    text, places = marked(WHOLE[language])
    found = [wrong(snapshot("file:///a", text[: place[0]], language), [place]) for place in places]
    assert sum(map(bool, found)) <= KNOWN_TO_BE_WRONG.get(language, 0), found


def test_the_table_has_every_language_in_code_comments_and_strings() -> None:
    assert WHOLE.keys() == languages.BY_ID.keys()
    assert {language for language, _ in BROKEN} >= languages.BY_ID.keys() - {"javascriptreact", "typescriptreact"}
    for language, code in WHOLE.items():
        expected = set(MARKS.values()) - ({"comment"} if language == "json" else set())  # it has none
        assert {what for _, what in marked(code)[1]} == expected


@pytest.mark.parametrize("language", ["markdown", "plaintext", "unheard-of"])
def test_text_of_a_language_without_a_row_is_code(language: str) -> None:
    text = "# A title\n\nIt's 'quoted' // and /* so on\n"
    taken = snapshot("file:///a", text, language)
    assert {where_is(taken, offset) for offset in range(len(text) + 1)} == {"code"}


def test_a_file_so_long_that_it_is_not_read_from_its_beginning_is_judged_by_its_line() -> None:
    text = "/* a\n" + "b\n" * SCAN_CHARS + "x('c"
    taken = snapshot("file:///a.c", text, "c")
    assert where_is(taken, 4) == "comment"
    assert where_is(taken, len(text)) == "string"


def test_a_regular_expression_opens_no_string_where_code_is_broken() -> None:
    text = "const quotes = /[`'\"]/;\nif (x {\n  f(\n"
    assert where_is(snapshot("file:///a.js", text, "javascript"), len(text) - 1) == "code"


@pytest.mark.parametrize(
    ("language", "code", "quote"),
    [
        ("python", "x = f'a {b} ¦'", "'"), ("python", 'x = """a \'b\' ¦"""', '"""'), ("python", "x = rb'¦'", "'"),
        ("python", "x = f\"{a[\"b\"]} ¦\"", '"'), ("lua", "x = [[a 'b' ¦]]", "]]"), ("ruby", "x = %q(it's ¦)", ""),
        ("javascript", "x = `a ${b} ¦`", "`"), ("csharp", 'class A { string x = "a ¦"; }', '"'),
        ("rust", 'fn f() { let x = r#"a ¦"#; }', '"#'), ("html", '<a href="b ¦">', '"'),
    ],
)  # fmt: skip
def test_the_quote_that_closes_the_string(language: str, code: str, quote: str) -> None:
    taken = snapshot("file:///a", code.replace("¦", ""), language)
    assert inside_at(taken, code.index("¦")) == inside.Inside("string", quote)
    found = plan_at(taken, code.index("¦"))
    assert found is not None and found.quote == quote


def test_a_docstring_is_a_comment_that_is_filled_as_a_string() -> None:
    taken = snapshot("file:///a.py", 'def f():\n    """Do """\n', "python")
    offset = taken.text.index('"""\n')
    assert inside_at(taken, offset) == inside.Inside("string", '"""', is_docstring=True)
    found = plan_at(taken, offset)
    assert found is not None and found.kept == '"""'
