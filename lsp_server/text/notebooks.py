"""Notebooks: which cells each has, and in which order.

Rule: pure state, keys in and keys out; texts are in `documents.py`, where every cell is a document. A client may say
anything here: unknown notebooks, numbers outside and cells named twice change what they can and raise nothing.

    notebooks = Notebooks(); notebooks.open("file:///n.ipynb", 1, ["c1", "c2"])
    notebooks.splice("file:///n.ipynb", 0, 1, ["c3"]); notebooks.around("c2", [])   # ["c3"], []
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lsp_server.text.uris import NOTEBOOK_CELL, key_of, scheme_of

if TYPE_CHECKING:
    from lsp_server.text.documents import Snapshot

logger = logging.getLogger(__name__)


class Cells(NamedTuple):
    """The other cells of a document's notebook, in order."""

    above: tuple[Snapshot, ...] = ()
    below: tuple[Snapshot, ...] = ()


ALONE = Cells()


@dataclass
class Notebook:
    """One open notebook."""

    version: int
    cells: list[str]


class Notebooks:
    """All open notebooks, and what is said of a cell's place."""

    def __init__(self) -> None:
        """Start with none."""
        self._open: dict[str, Notebook] = {}

    def open(self, uri: str, version: int, cells: Iterable[str]) -> None:
        """Take a notebook that the editor opened (again)."""
        keys = list(dict.fromkeys(map(key_of, cells)))
        self._let_go(keys)
        self._open[key_of(uri)] = Notebook(version, keys)

    def splice(self, uri: str, start: int, n_deleted: int, cells: Iterable[str]) -> None:
        """Put cells in place of others. A number outside is the nearest inside; a cell is in one place only."""
        notebook = self._open.get(key_of(uri))
        if notebook is None:
            return
        new = list(dict.fromkeys(map(key_of, cells)))
        head, tail = notebook.cells[:start], notebook.cells[start + n_deleted :]
        self._let_go(new)
        notebook.cells = [*_without(head, new), *new, *_without(tail, new)]

    def takes(self, uri: str, version: int) -> bool:
        """Tell whether a change of this version is to be applied, and note the version."""
        notebook = self._open.get(key_of(uri))
        if notebook is None:
            logger.warning("a change of a notebook that is not open: ignored")
            return False
        if version < notebook.version:
            logger.warning("a notebook's version %d, but version %d is known: ignored", version, notebook.version)
            return False
        notebook.version = version
        return True

    def close(self, uri: str) -> list[str]:
        """Forget a notebook; return the cells that it had."""
        notebook = self._open.pop(key_of(uri), None)
        if notebook is None:
            logger.warning("didClose for a notebook that is not open: ignored")
        return [] if notebook is None else notebook.cells

    def around(self, cell: str, opened: Iterable[str]) -> tuple[list[str], list[str]]:
        """Return the cells above and below a document, none where it is no cell.

        `opened`: all open documents, in the order in which they were opened. That is the order of cells whose client
        tells of no notebooks: VS Code's URIs say which cells belong together, and nothing of their order.
        """
        key = key_of(cell)
        cells = next((one.cells for one in self._open.values() if key in one.cells), None)
        if cells is None and scheme_of(key) == NOTEBOOK_CELL:
            known = {one for notebook in self._open.values() for one in notebook.cells}
            cells = [one for one in opened if one not in known and notebook_of(one) == notebook_of(key)]
        if cells is None or key not in cells:
            return [], []
        at = cells.index(key)
        return cells[:at], cells[at + 1 :]

    def _let_go(self, cells: list[str]) -> None:
        """Take cells out of the notebooks that they are in."""
        for notebook in self._open.values():
            notebook.cells = _without(notebook.cells, cells)


def notebook_of(cell: str) -> str:
    """Return what the keys of the cells of one notebook share, where their fragment tells them apart."""
    return cell.partition("#")[0]


def _without(cells: list[str], gone: list[str]) -> list[str]:
    """Return those cells that are not among others."""
    names = set(gone)
    return [one for one in cells if one not in names]
