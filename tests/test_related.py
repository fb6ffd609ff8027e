"""What other places say: definitions and like chunks."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from diffusion.request import OTHER_TOKENS
from lsp_server.suggest import related as related_module
from lsp_server.suggest.related import (
    CHARS_PER_TOKEN,
    MAX_CHUNKS,
    MIN_LIKENESS,
    Indexed,
    Related,
    chunks,
    definitions,
    like_chunks,
    names_in,
    related_to,
)
from lsp_server.text.documents import Snapshot, snapshot

FAR = "# -- -- --\n" * 300  # nothing that has a name
OTHER = "import os\n\ndef read_settings(path):\n    return open(path).read()\n\ndef unlike():\n    pass\n"


def at(text: str) -> tuple[str, int]:
    return text.replace("¦", ""), text.index("¦")


def doc(uri: str, text: str, version: int = 1) -> Snapshot:
    return snapshot(uri, text, "python", version)


def test_definitions_of_names_in_use_are_found_outside_of_the_window() -> None:
    code = (
        f"def load_all(folder, depth):\n    first, second, third = fourth(fifth, sixth, seventh)\n{FAR}x = load_all(¦\n"
    )
    assert related_to(*at(code), []) == ("def load_all(folder, depth):",)


def test_a_definition_comes_once_where_the_chunk_that_holds_it_is_like_the_code_at_the_cursor() -> None:
    code = f"def load_all(folder, depth):\n    return 1\n\n{FAR}x = load_all(¦\n"
    assert related_to(*at(code), []) == ("def load_all(folder, depth):\n    return 1",)


def test_what_the_model_sees_anyway_is_not_repeated() -> None:
    assert related_to(*at("def load_all(folder):\n    return 1\nx = load_all(¦\n"), []) == ()


def test_chunks_of_other_files_that_use_the_same_names_are_found() -> None:
    [chunk] = related_to(*at("settings = read_settings(path¦\n"), [Indexed(OTHER)])
    assert chunk == "def read_settings(path):\n    return open(path).read()"
    assert related_to(*at("completely = different¦\n"), [Indexed(OTHER)]) == ()


def test_chunks_of_the_same_file_that_the_model_does_not_see_are_found() -> None:
    chunk = "def test_read_settings():\n    settings = read_settings(path)"
    near = "settings = read_settings(path¦\n"
    assert related_to(*at(f"{chunk}\n\n{FAR}{near}"), []) == (chunk,)
    assert related_to(*at(f"{near}{FAR}\n\n{chunk}\n"), []) == (chunk,)
    assert related_to(*at(f"{chunk}\n\n{near}\n\n{chunk}\n"), []) == ()


def test_the_budget_holds() -> None:
    others = [Indexed("\n\n".join(f"value_{n} = common_name(other_name, {n}, '{'x' * 40}')" for n in range(50)))]
    found = related_to(*at("common_name(other_name, ¦\n"), others)
    assert 0 < sum(map(len, found)) <= CHARS_PER_TOKEN * OTHER_TOKENS
    more = related_to(*at("common_name(other_name, ¦\n"), others, 4 * OTHER_TOKENS)
    assert CHARS_PER_TOKEN * OTHER_TOKENS < sum(map(len, more)) <= CHARS_PER_TOKEN * 4 * OTHER_TOKENS


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


def test_a_file_is_looked_at_once_for_each_of_its_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def noted(text: str) -> Indexed:
        seen.append(text)
        return Indexed(text)

    monkeypatch.setattr(related_module, "Indexed", noted)
    related, here = Related(), doc("file:///a.py", "x = 1\n" * 100)
    others = [doc(f"file:///{n}.py", f"y = {n}\n") for n in range(5)]
    related.prepare(others, lambda: False)
    for offset in range(0, 600, 6):
        related.choose(here, offset, others)
    assert len(seen) == 5
    others[2] = doc("file:///2.py", "changed\n", 2)
    related.choose(here, 0, others)
    assert seen[5:] == ["changed\n"]
    others[2] = doc("file:///2.py", "opened again\n", 2)
    related.choose(here, 0, others)
    assert seen[6:] == ["opened again\n"]


def test_looking_at_files_stops_when_told_and_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    related, others = Related(), [doc(f"file:///{n}.py", OTHER + str(n)) for n in range(5)]
    asked = iter([False, False, True])
    text, offset = at("settings = read_settings(path¦\n")
    assert related.choose(doc("file:///a.py", text), offset, others, stopped=lambda: next(asked)) == ()
    monkeypatch.setattr(related_module, "Indexed", lambda text: Indexed(text) if text[-1] in "234" else None)
    assert related.choose(doc("file:///a.py", text), offset, others) != ()


def test_definitions_are_found_in_every_piece_of_a_long_text(monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"def first(a):\n{FAR}def second(b):\n{FAR}"
    found = definitions(code, len(code), "first(second(")
    monkeypatch.setattr(related_module, "SCANNED_CHARS", 64)
    assert found == definitions(code, len(code), "first(second(") == ["def second(b):", "def first(a):"]


def test_like_chunks_are_those_that_comparing_all_of_them_gives() -> None:
    rng = random.Random(0)
    names = [f"name_{n}" for n in range(40)]
    for _ in range(40):
        others = ["\n\n".join(" ".join(rng.choices(names, k=6)) for _ in range(30)) for _ in range(3)]
        near = " ".join(rng.choices(names, k=8))
        assert like_chunks(near, [Indexed(other) for other in others]) == compared(near, others)


def compared(near: str, others: list[str]) -> list[str]:
    """What `like_chunks` means, written as plainly as possible."""
    candidates = [(chunk, names_in(chunk)) for other in others for chunk in chunks(other)]
    spread = Counter(name for _, names in candidates for name in names)
    wanted = names_in(near)

    def weight(names: dict[str, None]) -> float:
        return sum(math.log(1 + len(candidates) / spread[name]) if spread[name] else 1.0 for name in names)

    scored = []
    for number, (chunk, names) in enumerate(candidates):
        likeness = weight({name: None for name in names if name in wanted}) / weight(wanted | names)
        scored.append((-likeness, number, chunk))
    return [chunk for score, _, chunk in sorted(scored)[:MAX_CHUNKS] if -score >= MIN_LIKENESS]
