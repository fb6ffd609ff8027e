"""`notebookDocument/*`: what a client says of notebooks, put into the session's documents.

Rule: a cell is a document like any other, `text/notebooks.py` has the order; nothing here is answered, and whatever a
client says of cells that are not there changes nothing.

    for method, handler in HANDLERS.items(): server.feature(method)(handler)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from lsp_server.text import languages
from lsp_server.text.uris import key_of

if TYPE_CHECKING:
    from lsp_server.server import Server

JUPYTER, MARKDOWN = "jupyter-notebook", "markdown"


def sync_options() -> types.NotebookDocumentSyncOptions:
    """Return what is announced: all cells of Jupyter's notebooks, of others those of the languages that are known."""
    cells = [types.NotebookCellLanguage(one) for one in (*languages.BY_ID, *languages.BY_ALIAS, MARKDOWN)]
    jupyter = types.NotebookDocumentFilterWithNotebook(JUPYTER)
    others = types.NotebookDocumentFilterWithNotebook("*", cells)  # lsprotocol cannot read a filter without a notebook
    return types.NotebookDocumentSyncOptions([jupyter, others], save=True)


def did_open(ls: Server, params: types.DidOpenNotebookDocumentParams) -> None:
    """Take a notebook and its cells; the first one's context is encoded ahead."""
    notebook = params.notebook_document
    ls.session.documents.notebooks.open(notebook.uri, notebook.version, [cell.document for cell in notebook.cells])
    _open(ls, params.cell_text_documents)
    code = [one.uri for one in params.cell_text_documents if one.language_id != MARKDOWN]
    if code:
        ls.session.encode_ahead(code[0])


def did_change(ls: Server, params: types.DidChangeNotebookDocumentParams) -> None:
    """Apply a change: cells that come, go and move, then their texts. The order is kept where the version is old."""
    notebook, cells = params.notebook_document, params.change.cells
    is_new = ls.session.documents.notebooks.takes(notebook.uri, notebook.version)
    if cells is None:
        return
    if cells.structure is not None and is_new:
        _restructure(ls, notebook.uri, cells.structure)
    for text in cells.text_content or ():
        edits: Any = text.changes  # in our own words already: protocol.py reads them so
        ls.session.changed(key_of(text.document.uri), text.document.version, edits)


def _restructure(ls: Server, notebook: str, change: types.NotebookDocumentCellChangeStructure) -> None:
    """Put cells in place of others. One that changes its language is closed and opened, in one message or in two."""
    array = change.array
    new = [cell.document for cell in array.cells or ()]
    ls.session.documents.notebooks.splice(notebook, array.start, array.delete_count, new)
    for gone in change.did_close or ():
        ls.session.closed(key_of(gone.uri))
    _open(ls, change.did_open or ())


def did_save(ls: Server, params: types.DidSaveNotebookDocumentParams) -> None:
    """Do nothing: what is open counts, not what is saved."""


def did_close(ls: Server, params: types.DidCloseNotebookDocumentParams) -> None:
    """Forget a notebook with all its cells, whether they are named or not."""
    cells = ls.session.documents.notebooks.close(params.notebook_document.uri)
    named = [key_of(cell.uri) for cell in params.cell_text_documents]
    for cell in dict.fromkeys((*cells, *named)):
        if ls.session.documents.get(cell) is not None:
            ls.session.closed(cell)


def _open(ls: Server, cells: Sequence[types.TextDocumentItem]) -> None:
    """Take the texts of cells."""
    for cell in cells:
        ls.session.take(cell.uri, cell.version, cell.language_id, cell.text, is_cell=True)


HANDLERS: dict[str, Callable[[Server, Any], None]] = {
    types.NOTEBOOK_DOCUMENT_DID_OPEN: did_open,
    types.NOTEBOOK_DOCUMENT_DID_CHANGE: did_change,
    types.NOTEBOOK_DOCUMENT_DID_SAVE: did_save,
    types.NOTEBOOK_DOCUMENT_DID_CLOSE: did_close,
}
