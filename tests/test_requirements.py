"""Declared minimum versions have what we use; found by `uv pip compile --resolution lowest-direct` and the tests."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lsp_server import __version__
from lsp_server.suggest.holes import plan_at
from lsp_server.text import languages, syntax
from lsp_server.text.documents import snapshot

ROOT = Path(__file__).parents[1]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
NEEDED = PYPROJECT.partition("dependencies = [")[2].partition("\n]")[0]
REQUIREMENT = re.compile(r'"([\w-]+)(?:\[\w+\])?>=([\d.]+)')
MINIMUM = dict(REQUIREMENT.findall(NEEDED))
ALL = dict(REQUIREMENT.findall(PYPROJECT))
PINS = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))

FIRST_THAT_HAS_IT = {
    "tree-sitter": "0.25",  # QueryCursor; 0.24 also crashes in our queries
    "tree-sitter-go": "0.25",  # the node statement_list
    "pygls": "2.0",  # pygls.io_, types in lsprotocol 2025
}


def number(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def test_torch_is_no_requirement_of_those_who_complete() -> None:
    assert "torch" in ALL and "torch" not in MINIMUM
    assert re.findall(r'^(train|dev) = \[\s*"mezzotint\[torch\]"', PYPROJECT, re.MULTILINE) == ["train", "dev"]


def test_every_requirement_of_development_is_pinned_within_its_bounds() -> None:
    assert set(ALL) - set(PINS) == {"scikit-build-core"}  # of the build alone, which knows no constraints
    assert [name for name in PINS if name in ALL and number(PINS[name]) < number(ALL[name])] == []


def test_the_version_is_the_same_everywhere() -> None:
    emacs = (ROOT / "editors/emacs/mezzotint.el").read_text(encoding="utf-8")
    code = json.loads((ROOT / "editors/vscode/package.json").read_text(encoding="utf-8"))
    lock = json.loads((ROOT / "editors/vscode/package-lock.json").read_text(encoding="utf-8"))
    assert re.findall("^;; Version: (.*)$", emacs, re.MULTILINE) == [__version__]
    assert {code["version"], lock["version"], lock["packages"][""]["version"]} == {__version__}
    assert 'dynamic = ["version"]' in PYPROJECT and "\nversion = " not in PYPROJECT


def test_an_error_of_the_compiler_fails_the_installation() -> None:
    assert "if.failed" not in PYPROJECT  # scikit-build-core would build a package without the library and say nothing


@pytest.mark.parametrize("package", FIRST_THAT_HAS_IT)
def test_no_version_is_allowed_that_lacks_what_we_use(package: str) -> None:
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


def test_the_public_workflow_calls_targets_that_there_are() -> None:
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    called = re.findall(r"run: make ([a-z -]+?)(?: [A-Z$]|\n)", workflow)
    called += re.findall(r"target: \[(.*)\]", workflow)[0].split(", ")
    targets = {word for line in called for word in line.split() if "=" not in word}
    made = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets and targets <= made
    assert "NOT been run" in workflow.splitlines()[0]
