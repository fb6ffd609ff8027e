"""Declared minimum versions have what we use; found by `uv pip compile --resolution lowest-direct` and the tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lsp_server.suggest.holes import plan_at
from lsp_server.text import languages, syntax
from lsp_server.text.documents import snapshot

PYPROJECT = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
MINIMUM = dict(re.findall(r'^    "([\w-]+)(?:\[\w+\])?>=([\d.]+)', PYPROJECT, re.MULTILINE))

FIRST_THAT_HAS_IT = {
    "tree-sitter": "0.25",  # QueryCursor; 0.24 also crashes in our queries
    "tree-sitter-go": "0.25",  # the node statement_list
    "pygls": "2.0",  # pygls.io_, types in lsprotocol 2025
}


@pytest.mark.parametrize("package", FIRST_THAT_HAS_IT)
def test_no_version_is_allowed_that_lacks_what_we_use(package: str) -> None:
    def number(version: str) -> list[int]:
        return [int(part) for part in version.split(".")]

    assert number(MINIMUM[package]) >= number(FIRST_THAT_HAS_IT[package])


def test_every_grammar_is_a_requirement() -> None:
    assert {row.grammar.replace("_", "-") for row in languages.LANGUAGES} <= set(MINIMUM)


def test_a_grammar_that_does_not_know_the_nodes_of_its_query_gives_way_to_line_rules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    odd = languages.Language("odd", grammar="tree_sitter_python", query="go")
    monkeypatch.setitem(languages.BY_ID, "odd", odd)
    assert syntax.parser_for("odd") is None
    taken = snapshot("file:///a.odd", "x = \n", "odd")
    assert taken.tree is None
    assert plan_at(taken, 4) is not None
