from __future__ import annotations

import pytest

from lsp_server.options import Options
from lsp_server.suggest.cells import MAX_COMMENT_CHARS, as_seen, joined
from lsp_server.suggest.holes import plan_at
from lsp_server.text.documents import Snapshot, snapshot
from lsp_server.text.notebooks import Cells


def cell(text: str, language: str = "python") -> Snapshot:
    return snapshot("vscode-notebook-cell:/n.ipynb#W0", text, language)


@pytest.mark.parametrize(
    ("language", "text", "wanted", "seen"),
    [
        ("python", "x = 1\r\n\n", "python", "x = 1"),
        ("markdown", "# T\n\nit\n", "python", "# # T\n#\n# it"),
        ("markdown", "# T\n", "typescript", "// # T"),
        ("sql", "select 1", "python", "# select 1"),
        ("python", "%%bash\nls", "python", "# %%bash\n# ls"),
        ("markdown", "# T\n", "json", ""),
        ("python", "x = 1", "markdown", ""),
        ("markdown", "a", "markdown", "a"),
    ],
)
def test_a_cell_is_seen_as_code_as_a_comment_or_not_at_all(language: str, text: str, wanted: str, seen: str) -> None:
    assert as_seen(cell(text, language), wanted) == seen


def test_a_picture_in_a_markdown_cell_is_cut() -> None:
    assert len(as_seen(cell("![](data:" + "a" * 9000, "markdown"), "python")) == MAX_COMMENT_CHARS


def test_the_plan_is_of_the_same_text_in_the_whole() -> None:
    here = cell("x = foo(a, b)\n")
    plan = plan_at(here, 7)
    assert plan is not None
    whole, there = joined(here, Cells((cell("é = 1"),), (cell("y"),)), plan, Options())
    assert whole.text == "é = 1\n\nx = foo(a, b)\n\n\ny"
    assert here.text[plan.start : plan.end] == whole.text[there.start : there.end] == ""
    assert whole.text[there.statement :].startswith("x = foo(")


def test_a_document_without_cells_around_it_stays_as_it_is() -> None:
    here = cell("x = ")
    plan = plan_at(here, 4)
    assert plan is not None
    assert joined(here, Cells(), plan, Options()) == (here, plan)
    assert joined(here, Cells((cell("\n"),)), plan, Options()) == (here, plan)
