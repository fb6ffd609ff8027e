from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsp_server.text import documents, lines, syntax
from lsp_server.text.documents import Documents
from lsp_server.text.lines import Edit, Lines, line_starts

PLACE = st.tuples(st.integers(-1, 5), st.integers(-1, 9))
TEXT = st.text(st.sampled_from(list("ab\n\r🜂é")), max_size=12)


@settings(deadline=None, max_examples=300)
@given(TEXT, st.lists(st.builds(Edit, PLACE, PLACE, TEXT), max_size=6), st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_many_edits_in_one_go_are_the_same_as_one_after_the_other(text: str, edits: list[Edit], encoding: str) -> None:
    slow = Documents(encoding).open("file:///a.py", 1, "python", text)
    quick = Documents(encoding).open("file:///a.py", 1, "python", text)
    for edit in edits:
        slow.change(2, [edit])
    with mock.patch.object(documents, "MANY_EDITS", 0):
        quick.change(2, edits)
    assert quick.snapshot().text == slow.snapshot().text
    assert list(quick.snapshot().lines) == list(slow.snapshot().lines)


def counting(work: Counter[str], what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that counts its calls, or the characters that it is given."""

    def counted(first: str, *rest: Any) -> Any:
        work[what] += len(first) if what == "characters" else 1
        return function(first, *rest)

    return counted


@pytest.mark.parametrize("order", ["from the end", "from the beginning", "anyhow"])
def test_the_work_of_many_edits_grows_with_the_text_not_with_their_product(
    order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work: Counter[str] = Counter()
    for module, name in [(module, name) for module in (documents, lines) for name in ("line_starts", "count_chars")]:
        monkeypatch.setattr(module, name, counting(work, "characters", getattr(module, name)))
    monkeypatch.setattr(syntax, "parse", counting(work, "parses", syntax.parse))
    text = "value = other(value)  # a comment\n" * 3000
    rows = random.Random(0).sample(range(3000), 2000)
    if order != "anyhow":
        rows.sort(reverse=order == "from the end")
    document = Documents().open("file:///a.py", 1, "python", text)
    assert document.snapshot().tree is not None
    document.change(2, [Edit((row, 8), (row, 13), "another") for row in rows])
    assert document.snapshot().text.count("another") == 2000
    assert document.snapshot().tree is not None
    assert work["characters"] < 10 * len(text)
    assert work["parses"] == 2


def test_lines_know_where_they_begin_after_every_edit() -> None:
    rng = random.Random(0)
    for _ in range(500):
        edited = Lines("".join(rng.choices("ab\n\r", k=rng.randrange(8))), "utf-16")
        for _ in range(3):
            start, end = ((rng.randrange(4), rng.randrange(4)) for _ in range(2))
            edited.replace(Edit(start, end, "".join(rng.choices("a\n\r", k=rng.randrange(3)))))
            assert edited.starts == line_starts(str(edited))


def test_after_a_whole_text_only_later_edits_count() -> None:
    document = Documents().open("file:///a.py", 1, "python", "x\n")
    document.change(2, [Edit((0, 0), (0, 1), "y"), "z\n", Edit((0, 0), (0, 0), "a"), "b\n", Edit((9, 0), (9, 0), "c")])
    assert document.snapshot().text == "b\nc"
