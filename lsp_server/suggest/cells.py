"""A notebook as one text: what the model sees around the cell that is completed.

Rule: pure but for what refusals ask of the disk, in the model thread. Cells above come before the cell and cells below
behind it, in their order, with an empty line between. Those of another language are comments. The cell itself is there
as it is, so that a plan for it is one for the whole but for where it begins; what is replaced stays in the cell.

    whole, plan = joined(snapshot, cells, plan, options)
"""

from __future__ import annotations

from lsp_server.options import Options
from lsp_server.suggest import refusals
from lsp_server.suggest.holes import Plan
from lsp_server.text import documents, languages, magics
from lsp_server.text.documents import Snapshot
from lsp_server.text.notebooks import Cells

GAP = "\n\n"
MAX_COMMENT_CHARS = 200  # of a line; a picture in a markdown cell is one line without end


def joined(snapshot: Snapshot, cells: Cells, plan: Plan, options: Options) -> tuple[Snapshot, Plan]:
    """Return a cell with its notebook around it, and its plan there; any other document as it is."""
    above = _texts(cells.above, snapshot.language, options)
    below = _texts(cells.below, snapshot.language, options)
    if not above and not below:
        return snapshot, plan
    head = "".join(text + GAP for text in above)
    text = head + snapshot.text + "".join(GAP + text for text in below)
    whole = documents.snapshot(snapshot.uri, text, snapshot.language, snapshot.version, snapshot.encoding)
    shift = len(head)
    places = {name: getattr(plan, name) + shift for name in ("start", "end", "statement")}
    return whole, plan._replace(**places)


def _texts(cells: tuple[Snapshot, ...], language: str, options: Options) -> list[str]:
    """Return what is to be seen of cells; nothing of one that is refused."""
    found = (as_seen(cell, language) for cell in cells if not refusals.refusal(cell, options))
    return [text for text in found if text.strip()]


def as_seen(cell: Snapshot, language: str) -> str:
    """Return a cell's text for the model that completes a language, "" where it cannot be said in it."""
    has_magics = languages.of(language).has_magics
    if cell.language == language and not (has_magics and magics.is_foreign(cell.text)):
        return cell.text.strip("\r\n")
    leaders = languages.BY_ID[language].lexis.comments if language in languages.BY_ID else ()
    lines = cell.text.strip().splitlines() if leaders else []
    return "\n".join(f"{leaders[0]} {line}"[:MAX_COMMENT_CHARS].rstrip() for line in lines)
