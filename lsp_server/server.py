"""The language server: every LSP method it answers, each a thin shell over `Session`.

    editor -> server.py -> session.py (text/documents) -> worker.py -> suggest/completion.py (holes, context, related)
           -> engine.infill -> Draft -> suggest/ (candidates, judging, drafts) -> session.py -> editor

Rule: nothing here imports torch; the model thread does, after `initialize` has been answered.

    serve("stdio")
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lsp_server import __version__, quickstart  # noqa: F401  (quickstart before lsprotocol)

# isort: split
from lsprotocol import types
from pygls.exceptions import JsonRpcParseError
from pygls.lsp.server import LanguageServer

from lsp_server import freed, logs, notebook_sync, own_messages, remote, settings, transports, user_config
from lsp_server.options import Options
from lsp_server.protocol import Protocol, at_once
from lsp_server.session import Session
from lsp_server.suggest import drafts
from lsp_server.suggest.place import Question
from lsp_server.text.lines import Edit, Point
from lsp_server.text.uris import key_of

if TYPE_CHECKING:
    from lsp_server.admission import Door
    from lsp_server.worker import Infiller

logger = logging.getLogger(__name__)

LOAD_TOKEN = "mezzotint/load"
SWITCH_S = 0.001  # a message goes through three threads, each of which waits so long for a model thread that plans
List = TypeVar("List")
Answer = Coroutine[Any, Any, List | None]
Where = types.InlineCompletionParams | types.CompletionParams


def load_engine(options: Options) -> Infiller:
    """Load the model that the options name (in the model thread: this may import torch)."""
    from diffusion.engine import Engine
    from diffusion.hub.cache import folder_of

    folder, adapter = folder_of(options.model), Path(options.adapter) if options.adapter else None
    device, threads = options.device, options.threads or None
    return Engine.load(folder, device=device, threads=threads, refresh=options.refresh, adapter=adapter)


def load_scripted(engine: str, options: Options) -> Infiller:
    """Load the engine that `--engine` names, which says what a test wants it to."""
    from lsp_server import scripted

    return scripted.load(engine)


class Server(LanguageServer):
    """The pygls server with its session."""

    protocol: Protocol

    def __init__(self, load: Callable[[Options], Infiller] = load_engine, log_level: str | None = None) -> None:
        """Take the loader of the engine, and a log level that no client changes."""
        cells = notebook_sync.sync_options()
        kinds: Any = {"protocol_cls": Protocol, "max_workers": 1}  # who reads stdin: a pool makes more, one by one
        super().__init__("mezzotint", __version__, notebook_document_sync=cells, **kinds)
        self.session = Session(load, self.protocol.notify, self.show_error, self.load_state)
        self.log_level = log_level
        self.exit_status = 0
        self._loading = True  # until the model thread says otherwise
        self._progress_open = False
        texts = (types.TEXT_DOCUMENT_DID_OPEN, types.TEXT_DOCUMENT_DID_CHANGE, types.TEXT_DOCUMENT_DID_CLOSE)
        for method in (*texts, *notebook_sync.HANDLERS):
            self.protocol.fm.builtin_features.pop(method, None)  # documents.py keeps the text, not pygls

    def show_error(self, message: str) -> None:
        """Show a message to the user."""
        self.window_show_message(types.ShowMessageParams(type=types.MessageType.Error, message=message))

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log what pygls could not handle; the protocol has answered the client already."""
        logger.warning("%s: %s", getattr(source, "__name__", "error"), type(error).__name__)
        if isinstance(error, (ValueError, RecursionError)):  # not JSON, not UTF-8, or nested without end
            self.protocol.reject(JsonRpcParseError("the message is not JSON"))

    def load_state(self, state: str, detail: str) -> None:
        """Show the state of the model's loading to the client."""
        if state in ("failed", "kept"):
            self.session.tell_once(f"Mezzotint: {detail}")
        logger.info("model: %s %s", state, detail)
        self._loading = state == "loading"
        if self._progress_open and not self._loading:
            end = types.WorkDoneProgressEnd(message=f"model {state}")
            self.progress(types.ProgressParams(token=LOAD_TOKEN, value=end))

    async def show_loading(self) -> None:
        """Show that the model is being loaded, if the client shows progress and it still is."""
        window = self.client_capabilities.window
        if window is None or not window.work_done_progress:
            return
        try:
            params = types.WorkDoneProgressCreateParams(token=LOAD_TOKEN)
            await self.window_work_done_progress_create_async(params)
            if self._loading:
                begin = types.WorkDoneProgressBegin(title="Mezzotint", message="loading the model", cancellable=False)
                self.progress(types.ProgressParams(token=LOAD_TOKEN, value=begin))
                self._progress_open = True
        except Exception as error:  # a client may refuse; loading goes on without a progress bar
            logger.info("the client shows no progress: %s", error)


def initialize(ls: Server, params: types.InitializeParams) -> None:
    """Take the client's options."""
    encoding = ls.workspace.position_encoding
    ls.session.configure(params.initialization_options, str(getattr(encoding, "value", encoding) or "utf-16"))
    logs.set_level(ls.log_level or ls.session.options.log_level)
    if params.process_id is not None:
        transports.exit_with(params.process_id)


async def initialized(ls: Server, params: types.InitializedParams) -> None:
    """Begin to load the model."""
    ls.session.start()
    await ls.show_loading()
    await settings.register(ls)


def did_open(ls: Server, params: types.DidOpenTextDocumentParams) -> None:
    """Take a document."""
    document = params.text_document
    ls.session.opened(document.uri, document.version, document.language_id, document.text)


def did_change(ls: Server, params: types.DidChangeTextDocumentParams) -> None:
    """Apply changes to a document."""
    document = params.text_document
    edits: Any = params.content_changes  # in our own words already: protocol.py reads them so
    ls.session.changed(key_of(document.uri), document.version, edits)


def _points(span: types.Range) -> tuple[Point, Point]:
    """Return the ends of a range in our own words."""
    return (span.start.line, span.start.character), (span.end.line, span.end.character)


def did_close(ls: Server, params: types.DidCloseTextDocumentParams) -> None:
    """Forget a document."""
    ls.session.closed(key_of(params.text_document.uri))


@at_once
def inline_completion(ls: Server, params: types.InlineCompletionParams) -> Answer[types.InlineCompletionList]:
    """Answer with suggestions, best first: one if the client asks by itself; null if a newer request superseded it."""
    context, selected = params.context, params.context.selected_completion_info
    invoked = context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
    entry = None if selected is None else Edit(*_points(selected.range), selected.text)
    return _answer(ls, _look(ls, params, invoked, entry), drafts.inline_list)


@at_once
def completion(ls: Server, params: types.CompletionParams) -> Answer[types.CompletionList]:
    """Answer clients that know no inline completion."""
    return _answer(ls, _look(ls, params), drafts.completion_list)


def _look(ls: Server, params: Where, invoked: bool = False, entry: Edit | None = None) -> Question | None:
    """Return what is asked, of the documents as they are while it is read: changes that follow may be here already."""
    try:
        uri, position = key_of(params.text_document.uri), params.position
        where = uri, position.line, position.character
        return ls.session.look(*where, params.work_done_token, invoked=invoked, entry=entry)
    except Exception as error:
        _failed(ls, error)
        return None


async def _answer(
    ls: Server, question: Question | None, as_list: Callable[[list[drafts.Suggestion]], List]
) -> List | None:
    """Complete at a position."""
    try:
        suggestions = await ls.session.complete(question)
        return None if suggestions is None else as_list(suggestions)
    except Exception as error:
        _failed(ls, error)
        return as_list([])


def _failed(ls: Server, error: Exception) -> None:
    """Turn an unforeseen error of a completion into a log line and one message; the answer is an empty list."""
    logger.error("completion failed", exc_info=error)
    ls.session.tell_once(f"Mezzotint: completion failed ({type(error).__name__}); see the server's log.")


def shutdown(ls: Server, params: Any = None) -> None:
    """Stop what runs; the process ends with `exit`."""
    ls.session.worker.end(0)


def exit(ls: Server, params: Any = None) -> None:
    """Note with which status the process ends: 1 without a `shutdown` before."""
    ls.exit_status = ls.protocol.exit_status


def build(load: Callable[[Options], Infiller] = load_engine, log_level: str | None = None) -> Server:
    """Return a server with all its handlers."""
    server = Server(load, log_level)
    handlers: dict[str, Callable[..., Any]] = {
        types.INITIALIZE: initialize,
        types.INITIALIZED: initialized,
        types.SHUTDOWN: shutdown,
        types.EXIT: exit,
        types.TEXT_DOCUMENT_DID_OPEN: did_open,
        types.TEXT_DOCUMENT_DID_CHANGE: did_change,
        types.TEXT_DOCUMENT_DID_CLOSE: did_close,
        types.WORKSPACE_DID_CHANGE_CONFIGURATION: settings.did_change,
        **notebook_sync.HANDLERS,
        **own_messages.HANDLERS,
    }
    for method, handler in handlers.items():
        server.feature(method)(handler)
    # without options pygls does not announce inline completion, and editors never ask
    server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())(inline_completion)
    server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions())(completion)
    return server


def serve(
    transport: str = "stdio",
    door: Door | None = None,
    log_level: str | None = None,
    engine: str | None = None,
) -> int:
    """Serve one client, by a scripted engine if one is named; return the process's exit status."""
    logs.to_stderr(log_level or Options.log_level)
    sys.setswitchinterval(SWITCH_S)
    freed.keep_large_apart()
    load = load_engine if engine is None else partial(load_scripted, engine)
    server = build(partial(remote.load, load), log_level)
    server.session.defaults, server.session.complaints = user_config.read()
    try:
        if door is None:
            transports.run_stdio(server)
        else:
            from lsp_server import sockets

            (sockets.run_tcp if transport == "tcp" else sockets.run_ws)(server, door)
    except (ValueError, OSError) as error:
        print(f"mezzotint lsp: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, SystemExit):
        pass
    logs.end()
    if not server.session.worker.end():  # a thread inside torch's import cannot be ended, and must not be torn down
        logging.shutdown()
        os._exit(server.exit_status)
    return server.exit_status
