"""What other places say: definitions and like chunks."""

from __future__ import annotations

from lsp_server.suggest.related import BUDGET_CHARS, Related, chunks, related_to
from lsp_server.text.documents import Snapshot, snapshot

FAR = "# filler, which is nothing\n" * 100
OTHER = "import os\n\ndef read_settings(path):\n    return open(path).read()\n\ndef unlike():\n    pass\n"


def at(text: str) -> tuple[str, int]:
    return text.replace("¦", ""), text.index("¦")


def doc(uri: str, text: str, version: int = 1) -> Snapshot:
    return snapshot(uri, text, "python", version)


def test_definitions_of_names_in_use_are_found_outside_of_the_window() -> None:
    code = f"def load_all(folder, depth):\n    return 1\n{FAR}x = load_all(¦\n"
    assert related_to(*at(code), []) == ("def load_all(folder, depth):",)


def test_what_the_model_sees_anyway_is_not_repeated() -> None:
    assert related_to(*at("def load_all(folder):\n    return 1\nx = load_all(¦\n"), []) == ()


def test_chunks_of_other_files_that_use_the_same_names_are_found() -> None:
    [chunk] = related_to(*at("settings = read_settings(path¦\n"), [OTHER])
    assert chunk == "def read_settings(path):\n    return open(path).read()"
    assert related_to(*at("completely = different¦\n"), [OTHER]) == ()


def test_the_budget_holds() -> None:
    others = ["\n\n".join(f"value_{n} = common_name(other_name, {n}, '{'x' * 40}')" for n in range(50))]
    found = related_to(*at("common_name(other_name, ¦\n"), others)
    assert 0 < sum(map(len, found)) <= BUDGET_CHARS


def test_the_choice_stays_while_the_user_types_and_changes_with_the_other_files() -> None:
    related, other = Related(), doc("file:///b.py", OTHER)
    text, offset = at("settings = read_settings(path¦\n")
    first = related.choose(doc("file:///a.py", text), offset, [other])
    typed = text[:offset] + " + completely + different" + text[offset:]
    assert related.choose(doc("file:///a.py", typed, 2), offset + 25, [other]) == first
    assert related.choose(doc("file:///a.py", typed, 2), offset, [doc("file:///b.py", "x = 1\n", 2)]) == ()


def test_chunks_end_at_blank_lines() -> None:
    assert list(chunks("a\nb\n\nc\n")) == ["a\nb", "c"]
    assert [chunk.count("\n") + 1 for chunk in chunks("x\n" * 13)] == [6, 6, 1]
