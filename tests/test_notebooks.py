from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lsp_server.text.documents import Documents
from lsp_server.text.notebooks import Notebooks

N = "file:///w/n.ipynb"


def cells(*names: str) -> Notebooks:
    notebooks = Notebooks()
    notebooks.open(N, 1, names)
    return notebooks


def order(notebooks: Notebooks, cell: str) -> list[str]:
    above, below = notebooks.around(cell, [])
    return [*above, cell, *below]


def test_a_splice_is_that_of_lsp() -> None:
    notebooks = cells("a", "b", "c", "d")
    notebooks.splice(N, 1, 2, ["x", "y", "z"])
    assert order(notebooks, "a") == ["a", "x", "y", "z", "d"]


def test_a_cell_is_in_one_place_only() -> None:
    notebooks = cells("a", "b", "a")
    notebooks.open("file:///w/other.ipynb", 1, ["c"])
    notebooks.splice(N, 0, 0, ["b", "c"])
    assert order(notebooks, "a") == ["b", "c", "a"]


@given(st.integers(0, 9), st.integers(0, 9), st.lists(st.sampled_from("abcx"), max_size=4))
def test_no_splice_loses_or_doubles_a_cell(start: int, n_deleted: int, new: list[str]) -> None:
    notebooks = cells("a", "b", "c", "d")
    notebooks.splice(N, start, n_deleted, new)
    left = set("abcd"[:start] + "abcd"[start + n_deleted :]) | set(new)
    found = order(notebooks, next(iter(left))) if left else []
    assert sorted(found) == sorted(left)


def test_a_change_of_an_older_version_or_of_no_notebook_is_not_to_be_applied() -> None:
    notebooks = cells("a")
    assert notebooks.takes(N, 3)
    assert notebooks.takes(N, 3)
    assert not notebooks.takes(N, 2)
    assert not notebooks.takes("file:///w/none.ipynb", 9)


def test_a_cell_that_nobody_names_is_among_those_of_its_file_in_the_order_of_opening() -> None:
    first, second, other = (f"vscode-notebook-cell:/w/{name}" for name in ("n.ipynb#W1", "n.ipynb#W0", "m.ipynb#W0"))
    assert Notebooks().around(second, [first, other, second]) == ([first], [])
    assert Notebooks().around("file:///a.py", ["file:///a.py", "file:///a.py#1"]) == ([], [])


def test_a_notebooks_cells_are_no_other_files_and_a_deleted_one_is_not_remembered() -> None:
    documents = Documents()
    documents.notebooks.open(N, 1, ["c:1", "c:2", "c:3"])
    for name in ("c:1", "c:2", "c:3"):
        documents.open(name, 1, "python", name, is_cell=True)
    documents.open("file:///b.py", 1, "python", "b = 1")
    assert [one.text for one in documents.others("c:2", "python")] == ["b = 1"]
    assert [one.text for one in documents.others("file:///b.py", "python")] == ["c:1", "c:2", "c:3"]
    above, below = documents.cells("c:2")
    assert ([one.text for one in above], [one.text for one in below]) == (["c:1"], ["c:3"])
    documents.close("c:3")
    assert [one.text for one in documents.others("file:///b.py", "python")] == ["c:1", "c:2"]
    assert documents.cells("c:2").below == ()
