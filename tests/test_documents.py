from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsp_server.text import syntax
from lsp_server.text.documents import MAX_OTHER_CHARS, MAX_OTHERS, Documents, snapshot
from lsp_server.text.lines import Edit, count_chars, count_units, line_starts

WIDTH = {"utf-8": lambda c: len(c.encode()), "utf-16": lambda c: 1 + (ord(c) > 0xFFFF), "utf-32": lambda c: 1}
CODE = st.text(st.sampled_from(list("ab(): \"'\n\r\t#é😀🜂=0")), max_size=40)
SNIPPET = st.one_of(CODE, st.sampled_from(["def f(a):\n    ", "\r\n", "x = [\n", '"""', "class A:\r\n  pass\r\n", ""]))


def reference_point(text: str, offset: int, encoding: str) -> tuple[tuple[int, int], int]:
    """An LSP position and the offset it means, written as plainly as possible."""
    line = start = index = 0
    while index < offset:
        if text[index : index + 2] == "\r\n":
            if index + 1 == offset:
                offset = index  # nobody can point between CR and LF
                break
            index += 2
        elif text[index] in "\r\n":
            index += 1
        else:
            index += 1
            continue
        line, start = line + 1, index
    return (line, sum(WIDTH[encoding](c) for c in text[start:offset])), offset


@settings(deadline=None, max_examples=150)
@given(
    SNIPPET,
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), SNIPPET), max_size=6),
    st.sampled_from(sorted(WIDTH)),
    st.booleans(),
)
def test_edits_give_the_same_text_and_tree_as_the_full_text(
    text: str, edits: list[tuple[float, float, str]], encoding: str, look: bool
) -> None:
    documents = Documents(encoding)
    document = documents.open("file:///a.py", 1, "python", text)
    for version, (a, b, new) in enumerate(edits, 2):
        first, last = sorted((round(a * len(text)), round(b * len(text))))
        (start, first), (end, last) = (reference_point(text, offset, encoding) for offset in (first, last))
        text = text[:first] + new + text[last:]
        if look:
            assert document.snapshot().tree is not None
        documents.change("file:///a.py", version, [Edit(start, end, new)])
    got = document.snapshot()
    assert got.text == text
    assert got.version == len(edits) + 1
    assert list(got.lines) == line_starts(text)
    fresh = syntax.parse("python", text.encode())
    assert got.tree is not None and fresh is not None
    assert str(got.tree.root_node) == str(fresh.root_node)


@settings(deadline=None)
@given(SNIPPET, st.floats(0, 1), st.sampled_from(sorted(WIDTH)))
def test_positions_and_offsets_are_inverse(text: str, where: float, encoding: str) -> None:
    point, offset = reference_point(text, round(where * len(text)), encoding)
    taken = snapshot("file:///a.txt", text, "text", encoding=encoding)
    assert taken.offset_at(*point) == offset
    assert taken.point_at(offset) == point


def test_a_position_inside_a_character_is_its_beginning() -> None:
    assert count_chars("a🜂b", 2, "utf-16") == 1
    assert count_chars("a🜂b", 3, "utf-16") == 2
    assert count_chars("aéb", 2, "utf-8") == 1
    assert count_units("a🜂b", "utf-8") == 6


def test_past_the_end_of_a_line_is_its_end_and_past_the_last_line_is_nothing() -> None:
    taken = snapshot("file:///a.py", "ab\r\ncd", "python")
    assert taken.offset_at(0, 99) == 2
    assert taken.offset_at(1, 99) == 6
    assert taken.offset_at(2, 0) is None


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        ((0, -3), (0, 0), "!abc\nde"), ((1, -1), (1, 1), "abc\n!e"), ((-1, 0), (0, 1), "!bc\nde"),
        ((-9, -9), (99, 99), "!"), ((1, -5), (-1, 2), "ab!de"),
    ],
)  # fmt: skip
def test_negative_positions_are_the_beginning(start: tuple[int, int], end: tuple[int, int], text: str) -> None:
    document = Documents().open("file:///a.py", 1, "python", "abc\nde")
    assert document.snapshot().tree is not None
    document.change(2, [Edit(start, end, "!")])
    taken = document.snapshot()
    assert taken.text == text
    assert taken.offset_at(0, -3) == 0
    assert taken.tree is not None and taken.tree.root_node.end_byte == len(text)


def test_older_versions_and_unknown_documents_are_ignored() -> None:
    documents = Documents()
    document = documents.open("file:///a.py", 5, "python", "x = 1\n")
    documents.change("file:///a.py", 4, ["y"])
    documents.change("file:///other.py", 9, ["y"])
    documents.close("file:///other.py")
    assert (document.snapshot().text, document.version) == ("x = 1\n", 5)


def test_a_snapshot_is_not_touched_by_later_edits() -> None:
    documents = Documents()
    document = documents.open("file:///a.py", 1, "python", "x = 1\n")
    old = document.snapshot()
    documents.change("file:///a.py", 2, [Edit((0, 0), (0, 0), "def f():\n    return 3\n")])
    assert document.snapshot().text.startswith("def")
    assert old.text == "x = 1\n"
    assert old.tree is not None
    assert str(old.tree.root_node).count("assignment") == 1


def test_a_text_over_the_limit_is_dropped_until_a_whole_new_one_comes() -> None:
    documents = Documents(max_bytes=10)
    document = documents.open("file:///a.py", 1, "python", "x = 1\n")
    documents.change("file:///a.py", 2, [Edit((0, 0), (0, 0), "é" * 5)])
    assert document.too_large
    assert document.snapshot().text == ""
    documents.change("file:///a.py", 3, [Edit((0, 0), (0, 1), "")])
    assert document.too_large
    documents.change("file:///a.py", 4, ["x\n"])
    assert (document.too_large, document.snapshot().text) == (False, "x\n")


def test_lone_surrogates_become_replacement_characters() -> None:
    assert snapshot("file:///a.py", "a\ud800b\ud83d\ude00", "python").text == "a\ufffdb😀"


def test_nothing_is_parsed_before_a_tree_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr(syntax, "parse", never)
    documents = Documents()
    document = documents.open("file:///a.py", 1, "python", "x = 1\n")
    documents.change("file:///a.py", 2, [Edit((0, 0), (0, 0), "y = 2\n")])
    assert document.snapshot().offset_at(1, 2) == 8
    assert document.snapshot() is document.snapshot()
    documents.close("file:///a.py")
    assert [one.text for one in documents.others("file:///b.py", "python")] == ["y = 2\nx = 1\n"]


def test_other_documents_are_those_of_the_language_in_the_order_they_were_opened() -> None:
    documents = Documents()
    for name, language in (("a", "python"), ("b", "json"), ("c", "python"), ("d", "python")):
        documents.open(f"file:///{name}", 1, language, name)
    documents.change("file:///c", 2, ["changed"])
    assert [one.text for one in documents.others("file:///d", "python")] == ["a", "changed"]


def test_of_many_or_large_other_documents_those_that_were_used_last_are_given() -> None:
    documents = Documents(max_bytes=2 * MAX_OTHER_CHARS)
    for number in range(MAX_OTHERS + 10):
        documents.open(f"file:///{number}", 1, "python", f"{number}")
    documents.change("file:///3", 2, ["changed"])
    texts = [one.text for one in documents.others("file:///7", "python")]
    assert texts == ["changed", *map(str, range(11, MAX_OTHERS + 10))]
    documents.open("file:///large", 1, "python", "x" * MAX_OTHER_CHARS)
    assert [one.uri for one in documents.others("file:///7", "python")] == ["file:///large"]


def test_any_spelling_of_its_uri_finds_a_document_and_the_client_keeps_its_own() -> None:
    documents = Documents()
    documents.open("file:///C%3A/a%20b.py", 1, "python", "x = 1\n")
    documents.change("file:///c:/a b.py", 2, [Edit((0, 4), (0, 5), "2")])
    document = documents.get("file:///c%3a/a%20b.py")
    assert document is not None
    taken = document.snapshot()
    assert (taken.uri, taken.client_uri) == ("file:///c:/a%20b.py", "file:///C%3A/a%20b.py")
    assert taken.text == "x = 2\n"
    assert documents.others("file:///C:/a%20b.py", "python") == ()
    assert [one.text for one in documents.others("file:///c.py", "python")] == ["x = 2\n"]
    documents.close("FILE:///c:/a b.py")
    assert documents.get("file:///C%3A/a%20b.py") is None
    documents.open("file:///c%3A/a%20b.py", 1, "python", "x = 3\n")
    assert [one.text for one in documents.others("file:///c.py", "python")] == ["x = 3\n"]
