"""Mezzotint's own messages: what a client may say and ask that LSP has no word for.

Rule: thin shells over `Session`, as all handlers; `HANDLERS` is the table of them. docs/protocol.md describes each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pygls.exceptions import JsonRpcInvalidParams

from lsp_server import snooze
from lsp_server.text.uris import key_of

if TYPE_CHECKING:
    from lsp_server.server import Server


def did_move(ls: Server, params: Any) -> None:
    """Have the context encoded of the place where the cursor rests, on this machine only: nobody has asked yet."""
    try:
        uri, line, column = params.textDocument.uri, params.position.line, params.position.character
        good = isinstance(uri, str) and all(type(number) is int and number >= 0 for number in (line, column))
    except AttributeError:
        good = False
    if good and not ls.session.options.remote:
        ls.session.encode_ahead(key_of(uri), line, column)


def did_show(ls: Server, params: Any) -> None:
    """Count a shown suggestion."""
    ls.session.counts["shown"] += 1


def did_accept(ls: Server, params: Any) -> None:
    """Count an accepted suggestion, or the accepted line or word of one."""
    ls.session.accepted[str(getattr(params, "kind", "full"))] += 1


def pause(ls: Server, params: Any) -> dict[str, Any]:
    """Offer nothing by itself for some minutes; return until when."""
    try:
        return ls.session.snooze.set(snooze.minutes_of(params))
    except ValueError as error:
        raise JsonRpcInvalidParams(str(error)) from None


def stats(ls: Server, params: Any) -> dict[str, Any]:
    """Return the session's counters."""
    return ls.session.stats()


def documents(ls: Server, params: Any) -> list[dict[str, Any]]:
    """Return versions and hashes of the open documents."""
    return ls.session.digests()


HANDLERS: dict[str, Callable[[Server, Any], Any]] = {
    "mezzotint/didMove": did_move,
    "mezzotint/didShow": did_show,
    "mezzotint/didAccept": did_accept,
    "mezzotint/stats": stats,
    "mezzotint/documents": documents,
    "mezzotint/snooze": pause,
}
