"""Trees of a document's versions: parsed late, in any order, from the newest before."""

from __future__ import annotations

import weakref

import pytest

from lsp_server.text import syntax, trees
from lsp_server.text.documents import Documents
from lsp_server.text.lines import Edit
from lsp_server.text.trees import Trees


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of every parse, whether it went out from an older tree."""
    seen: list[bool] = []
    parse = syntax.parse

    def noted(language: str, source: bytes, old: object = None) -> object:
        seen.append(old is not None)
        return parse(language, source, old)  # type: ignore[arg-type]

    monkeypatch.setattr(syntax, "parse", noted)
    return seen


def typed(document: object, n: int, first_version: int = 2) -> None:
    """Type at the beginning of the document."""
    for version in range(first_version, first_version + n):
        document.change(version, [Edit((0, 0), (0, 0), "a")])  # type: ignore[attr-defined]


def test_versions_between_are_not_parsed_and_the_next_goes_out_from_the_last_that_was(parsed: list[bool]) -> None:
    document = Documents().open("file:///a.py", 1, "python", " = 1\n")
    first = document.snapshot()
    assert first.tree is first.tree
    typed(document, 5)
    last = document.snapshot()
    assert last.tree is not None and str(last.tree.root_node) == str(syntax.parse("python", b"aaaaa = 1\n").root_node)  # type: ignore[union-attr]
    assert first.tree is not None and first.tree.root_node.end_byte == len(" = 1\n")
    assert parsed == [False, True, False]


def test_an_older_version_that_is_asked_for_late_is_parsed_by_itself(parsed: list[bool]) -> None:
    document = Documents().open("file:///a.py", 1, "python", "x = 1\n")
    old = document.snapshot()
    typed(document, 1)
    new = document.snapshot()
    assert new.tree is not None and old.tree is not None
    assert (new.tree.root_node.end_byte, old.tree.root_node.end_byte) == (7, 6)
    typed(document, 1, 3)
    assert document.snapshot().tree is not None
    assert parsed == [False, False, True]  # the last from the new one, not from the old


def test_a_whole_new_text_and_edits_without_end_are_parsed_anew(
    parsed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "MAX_EDITS", 3)
    document = Documents().open("file:///a.py", 1, "python", "x = 1\n")
    assert document.snapshot().tree is not None
    document.change(2, ["y = 2\n"])
    assert document.snapshot().tree is not None
    typed(document, 4, 3)
    assert document.snapshot().tree is not None
    assert parsed == [False, False, False]


def test_edits_that_come_while_a_version_is_parsed_are_not_lost() -> None:
    document = Documents().open("file:///a.py", 1, "python", "x = 1\n")
    snapshot = document.snapshot()
    typed(document, 2)  # before the model thread comes to parse
    assert snapshot.tree is not None
    typed(document, 2, 4)
    tree = document.snapshot().tree
    assert tree is not None and tree.root_node.end_byte == len("aaaax = 1\n")


def test_a_language_without_a_grammar_has_no_trees() -> None:
    assert Trees("cobol").tree(0, b"MOVE A TO B.") is None


def test_of_a_large_text_no_tree_is_made(parsed: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "MAX_PARSED_BYTES", 10)
    assert Documents().open("file:///a.py", 1, "python", "x = 1\n").snapshot().tree is not None  # type: ignore[union-attr]
    assert Documents().open("file:///b.py", 1, "python", "x = 1000\ny = 2\n").snapshot().tree is None  # type: ignore[union-attr]
    assert len(parsed) == 1


def test_the_trees_of_the_documents_asked_for_last_stay_and_the_others_are_made_anew(
    parsed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "MAX_KEPT", 2)
    documents = Documents()
    a, b, c = (documents.open(f"file:///{name}.py", 1, "python", "x = 1\n") for name in "abc")
    for document in (a, b, a, b):
        assert document.snapshot().tree is not None  # type: ignore[union-attr]
    assert parsed == [False, False]
    for document in (c, b):
        typed(document, 1)
        assert document.snapshot().tree is not None  # type: ignore[union-attr]
    assert parsed == [False, False, False, True]
    typed(a, 1)
    assert a.snapshot().tree.root_node.end_byte == 7  # type: ignore[union-attr]
    assert parsed == [False, False, False, True, False]


def test_a_snapshot_and_what_was_made_of_it_go_with_the_last_who_has_it() -> None:
    document = Documents().open("file:///a.py", 1, "python", "x = 1\n")
    assert document is not None
    first = document.snapshot()
    assert first.tree is not None and document.snapshot() is first
    held = weakref.ref(first)
    del first
    assert held() is None and document.snapshot().text == "x = 1\n"
