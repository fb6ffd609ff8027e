"""An answer is kept for a moment, by a clock that the tests turn."""

from __future__ import annotations

import pytest

from lsp_server.text import recent
from lsp_server.text.recent import FRESH_S, MAX_ANSWERS, for_a_moment


def test_what_was_asked_a_moment_ago_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, asked = 0.0, []
    monkeypatch.setattr(recent.time, "monotonic", lambda: now_s)

    @for_a_moment
    def length(text: str) -> int:
        asked.append(text)
        return len(text)

    assert [length("a"), length("a"), length("bc"), length("a")] == [1, 1, 2, 1]
    assert asked == ["a", "bc"]
    now_s = FRESH_S
    assert length("a") == 1
    assert asked == ["a", "bc", "a"]


def test_only_so_many_answers_are_kept() -> None:
    asked: list[str] = []
    note = for_a_moment(asked.append)
    for number in range(MAX_ANSWERS + 1):
        note(str(number))
    note("0")
    assert asked[-1] == "0"
    assert len(asked) == MAX_ANSWERS + 2
