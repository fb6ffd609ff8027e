"""Which comments and strings are completed."""

from __future__ import annotations

import itertools

import pytest

from lsp_server.options import Options
from lsp_server.suggest import prose
from lsp_server.suggest.prose import refusal
from lsp_server.suggest.reasons import ALLOWED, Refusal
from lsp_server.text.documents import Snapshot, snapshot

SETTINGS = ("on", "manual", "off")


def looked_at(code: str, language: str = "python", invoked: bool = False, **options: str) -> Refusal:
    """Why nothing is offered at the mark."""
    taken = snapshot("file:///a", code.replace("¦", ""), language)
    return refusal(taken, code.index("¦"), Options(**options), invoked)  # type: ignore[arg-type]


@pytest.mark.parametrize(("comments", "strings"), list(itertools.product(SETTINGS, SETTINGS)))
@pytest.mark.parametrize("invoked", [True, False])
def test_each_setting_is_for_its_own_kind_of_text(comments: str, strings: str, invoked: bool) -> None:
    allowed = {"on": True, "manual": invoked, "off": False}
    for code, setting in (("# ¦", comments), ('"""¦"""', comments), ("x = '¦'", strings)):
        said = looked_at(code, invoked=invoked, comments=comments, strings=strings)
        assert (said == ALLOWED) == allowed[setting], said
    assert looked_at("x = ¦", invoked=invoked, comments=comments, strings=strings) == ALLOWED


def test_the_reason_names_what_it_is() -> None:
    assert looked_at("# ¦").message == "comments are completed when asked by hand only"
    assert looked_at("x = '¦", strings="off").message == "strings are not completed"


def test_by_default_comments_are_completed_by_hand_and_strings_always() -> None:
    assert looked_at("# ¦") and not looked_at("# ¦", invoked=True)
    assert not looked_at("x = '¦'")


@pytest.mark.parametrize("language", ["markdown", "plaintext", "xyz"])
def test_a_file_without_a_grammar_is_completed_everywhere(language: str) -> None:
    for code in ("# Title¦\n", "it's ¦", "// a ¦"):
        assert looked_at(code, language, comments="off", strings="off") == ALLOWED


def test_where_everything_is_wanted_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    def looks(snapshot: Snapshot, offset: int) -> str:
        raise AssertionError

    monkeypatch.setattr(prose, "where_is", looks)
    assert looked_at("# ¦", comments="on", strings="on") == ALLOWED
    assert looked_at("# ¦", invoked=True) == ALLOWED
