"""pygls's protocol, repaired: quick `initialize`, an answer to every broken request, quiet lost clients.

Rule: whatever bytes arrive, a request that has an id gets an answer, and the server goes on. A request sees the
documents as they were when it was sent, however many messages have arrived behind it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInvalidRequest, JsonRpcServerNotInitialized
from pygls.protocol import LanguageServerProtocol
from pygls.protocol.language_server import lsp_method

from lsp_server.settings import Ways, ways_of
from lsp_server.suggest.drafts import DRAFT
from lsp_server.text.lines import Edit, Point
from lsp_server.writers import QuietWriter

logger = logging.getLogger(__name__)

Handler = TypeVar("Handler", bound=Callable[..., Any])

# The client capabilities that this server reads. cattrs compiles a function for every class it meets, and the 250
# classes of a full set would take longer than everything else before the answer to `initialize`.
_CAPABILITIES_READ = {
    "general": ("positionEncodings",),
    "window": ("workDoneProgress",),
    "textDocument": ("inlineCompletion",),
    "notebookDocument": ("synchronization",),
}

_CHANGE = types.TextDocumentContentChangePartial | types.TextDocumentContentChangeWholeDocument
_LARGEST = 2**31 - 1  # of LSP's numbers


def read_change(data: Any, _: object = None) -> Edit | str:
    """Read a content change as documents take it: "replace all" sends thousands in one message."""
    if "range" not in data:
        return str(data["text"])
    return Edit(_point(data["range"]["start"]), _point(data["range"]["end"]), str(data["text"]))


def _point(data: Any) -> Point:
    """Read a position; a number outside of what LSP allows is the nearest inside.

    A `didChange` that is rejected would leave a document that no editor has.
    """
    line, character = int(data["line"]), int(data["character"])
    if 0 <= line <= _LARGEST and 0 <= character <= _LARGEST:
        return line, character
    return min(max(line, 0), _LARGEST), min(max(character, 0), _LARGEST)


def read_position(data: Any, _: object = None) -> types.Position:
    """Read a position, likewise."""
    return types.Position(*_point(data))


def read_capabilities(capabilities: Any) -> dict[str, Any]:
    """Return the few client capabilities that this server reads."""
    read: dict[str, Any] = {}
    for group, names in _CAPABILITIES_READ.items():
        given = capabilities.get(group) if isinstance(capabilities, dict) else None
        found = {name: given[name] for name in names if name in given} if isinstance(given, dict) else {}
        if found:
            read[group] = found
    return read


def at_once(handler: Handler) -> Handler:
    """Mark a handler that returns a coroutine: it is called, not only scheduled, before the next message is read."""
    handler.at_once = True  # type: ignore[attr-defined]
    return handler


class Protocol(LanguageServerProtocol):
    """What pygls does with bytes and messages, repaired."""

    def __init__(self, server: Any, converter: Any) -> None:
        """Take pygls's converter, and read positions and changes as we do."""
        converter.register_structure_hook(types.Position, read_position)
        converter.register_structure_hook(_CHANGE, read_change)
        super().__init__(server, converter)
        self.ways = Ways()

    def notify(self, method: str, params: Any | None = None) -> None:
        """Send a notification; a client that does not keep up gets no drafts but the done ones."""
        if method == DRAFT and params is not None and not params["done"] and getattr(self.writer, "is_full", False):
            logger.debug("a draft is left out: the client does not keep up")
        else:
            super().notify(method, params)

    def set_writer(self, writer: Any, include_headers: bool = True) -> None:
        """Write through a QuietWriter."""
        super().set_writer(QuietWriter(writer), include_headers)

    def structure_message(self, data: dict[str, Any]) -> Any:
        """Turn JSON into a message; a request that cannot be read is answered with an error."""
        if "jsonrpc" not in data:  # an object inside a message: each is shown to us, and there may be thousands
            return data
        if data.get("method") == types.INITIALIZE and isinstance(data.get("params"), dict):
            self.ways = ways_of(data["params"].get("capabilities"))
            data["params"]["capabilities"] = read_capabilities(data["params"].get("capabilities"))
        if "method" in data and self.get_message_type(str(data["method"])) is None:
            data.setdefault("params", None)  # JSON-RPC lets a message leave them out
        try:
            return super().structure_message(data)
        except JsonRpcException as error:
            if "id" in data and "method" in data:
                self._send_response(data["id"], error=error.to_response_error())
            raise

    def handle_message(self, message: Any) -> None:
        """Handle a message; what is no JSON-RPC at all is answered as an invalid request."""
        method = getattr(message, "method", None)
        if not hasattr(message, "jsonrpc"):
            self.reject(JsonRpcInvalidRequest("not a JSON-RPC 2.0 message"))
        elif method is not None and method != types.EXIT and (error := self._out_of_order(method)):
            if hasattr(message, "id"):
                self.reject(error, message.id)
        else:
            super().handle_message(message)

    def _execute_handler(self, msg_id: Any, handler: Any, callback: Any, args: Any = None, kwargs: Any = None) -> None:
        """Run a handler; of one that is marked so, what comes before its coroutine is run now."""
        if not getattr(getattr(handler, "func", handler), "at_once", False):
            super()._execute_handler(msg_id, handler, callback, args, kwargs)
            return
        future = asyncio.ensure_future(handler(*(args or ()), **(kwargs or {})))
        self._request_futures[msg_id] = future
        future.add_done_callback(callback)

    def _out_of_order(self, method: str) -> JsonRpcException | None:
        """Return what is wrong with a message of this method now, in the life cycle that LSP has."""
        if self._shutdown:
            return JsonRpcInvalidRequest("the server has been shut down")
        if self._workspace is None:
            is_first = method == types.INITIALIZE
            return None if is_first else JsonRpcServerNotInitialized("the server has not been initialized")
        return JsonRpcInvalidRequest("the server is initialized already") if method == types.INITIALIZE else None

    def reject(self, error: JsonRpcException, id: int | str | None = None) -> None:
        """Answer something that is not handled, and that may have no id."""
        self._send_data({"jsonrpc": self.VERSION, "id": id, "error": {"code": error.code, "message": error.message}})

    @property
    def exit_status(self) -> int:
        """Return the status that LSP wants when the client says `exit`."""
        return 0 if self._shutdown else 1

    @lsp_method(types.INITIALIZE)
    def lsp_initialize(self, params: types.InitializeParams) -> Generator[Any, Any, types.InitializeResult]:
        """Initialize; clients with inline completion are not offered plain completion as well."""
        result: types.InitializeResult = yield from super().lsp_initialize(params)
        documents = params.capabilities.text_document
        if documents is not None and documents.inline_completion is not None:
            result.capabilities.completion_provider = None
        return result
