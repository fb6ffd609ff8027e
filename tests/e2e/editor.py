"""An editor for tests: pygls's own client around the real server process over stdio."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from lsprotocol import types
from pygls.lsp.client import LanguageClient
from scripts import Script

SERVER = (sys.executable, "-m", "lsp_server", "--stdio")
PATIENCE_S = float(os.environ.get("PATIENCE_S", 300))  # only ends a test that would hang


class Editor(LanguageClient):
    """Collects what the server sends, and says the usual things shortly."""

    def __init__(self) -> None:
        super().__init__("test-editor", "1")
        self.drafts: list[Any] = []
        self.messages: list[str] = []
        self.states: list[str] = []
        self.statuses: list[Any] = []
        self.settings: Any = None
        self.registered: list[str] = []
        self._status_event = asyncio.Event()
        self.progress: list[Any] = []
        self.draft_came = asyncio.Event()
        self.versions: dict[str, int] = {}

        @self.feature("mezzotint/draft")
        def draft(params: Any) -> None:
            self.drafts.append(params)
            self.draft_came.set()

        @self.feature("mezzotint/status")
        def status(params: Any) -> None:
            self.states.append(params.state)
            self.statuses.append(params)
            self._status_event.set()

        @self.feature(types.WORKSPACE_CONFIGURATION)
        def configuration(params: types.ConfigurationParams) -> list[Any]:
            return [self.settings if item.section == "mezzotint" else None for item in params.items]

        @self.feature(types.CLIENT_REGISTER_CAPABILITY)
        def register(params: types.RegistrationParams) -> None:
            self.registered += [one.method for one in params.registrations]

        @self.feature(types.WINDOW_SHOW_MESSAGE)
        def message(params: types.ShowMessageParams) -> None:
            self.messages.append(params.message)

        @self.feature(types.WINDOW_WORK_DONE_PROGRESS_CREATE)
        def create(params: types.WorkDoneProgressCreateParams) -> None:
            return None

        @self.feature(types.PROGRESS)
        def progress(params: types.ProgressParams) -> None:
            self.progress.append(params.value)

    async def status_came(self) -> None:
        """Wait for the next status."""
        self._status_event.clear()
        await asyncio.wait_for(self._status_event.wait(), PATIENCE_S)

    def open(self, uri: str, text: str, language: str = "python") -> None:
        self.versions[uri] = 1
        item = types.TextDocumentItem(uri=uri, language_id=language, version=1, text=text)
        self.text_document_did_open(types.DidOpenTextDocumentParams(item))

    def close(self, uri: str) -> None:
        del self.versions[uri]
        self.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))

    def close_all(self) -> None:
        for uri in list(self.versions):
            self.close(uri)

    def change(self, uri: str, start: tuple[int, int], end: tuple[int, int], text: str, version: int = 0) -> None:
        self.versions[uri] += 1
        change = types.TextDocumentContentChangePartial(types.Range(types.Position(*start), types.Position(*end)), text)
        identifier = types.VersionedTextDocumentIdentifier(uri=uri, version=version or self.versions[uri])
        self.text_document_did_change(types.DidChangeTextDocumentParams(identifier, [change]))

    def ask(
        self,
        uri: str,
        line: int,
        character: int,
        token: str | None = None,
        id: str | None = None,
        kind: types.InlineCompletionTriggerKind = types.InlineCompletionTriggerKind.Automatic,
        entry: types.SelectedCompletionInfo | None = None,
    ) -> Any:
        """Request inline completion; the result is a future."""
        self.draft_came.clear()
        params = types.InlineCompletionParams(
            context=types.InlineCompletionContext(trigger_kind=kind, selected_completion_info=entry),
            text_document=types.TextDocumentIdentifier(uri),
            position=types.Position(line, character),
            work_done_token=token,
        )
        return asyncio.wrap_future(self.protocol.send_request(types.TEXT_DOCUMENT_INLINE_COMPLETION, params, msg_id=id))

    async def items(self, uri: str, line: int, character: int, token: str | None = None) -> list[Any]:
        answer = await asyncio.wait_for(self.ask(uri, line, character, token), PATIENCE_S)
        return list(answer.items)

    async def stats(self) -> Any:
        return await self.protocol.send_request_async("mezzotint/stats", {})


@asynccontextmanager
async def editor(
    options: dict[str, Any] | None = None,
    encoding: str = "utf-16",
    inline: bool = True,
    script: Script | None = None,
    workspace: types.WorkspaceClientCapabilities | None = None,
) -> AsyncIterator[Editor]:
    """Start the server, with the model or a scripted engine, initialize it, and end it as an editor does."""
    client = Editor()
    await client.start_io(*SERVER, *(script.options if script else ()))
    try:
        client.answer = await client.initialize_async(  # type: ignore[attr-defined]
            types.InitializeParams(
                capabilities=types.ClientCapabilities(
                    general=types.GeneralClientCapabilities(position_encodings=[types.PositionEncodingKind(encoding)]),
                    text_document=types.TextDocumentClientCapabilities(
                        inline_completion=types.InlineCompletionClientCapabilities() if inline else None
                    ),
                    workspace=workspace,
                    notebook_document=types.NotebookDocumentClientCapabilities(
                        types.NotebookDocumentSyncClientCapabilities()
                    ),
                    window=types.WindowClientCapabilities(work_done_progress=True),
                ),
                initialization_options={"drafts": True, **(options or {})},
            )
        )
        client.initialized(types.InitializedParams())
        yield client
        await asyncio.wait_for(client.shutdown_async(None), PATIENCE_S)
        client.exit(None)
        await asyncio.wait_for(client.stop(), PATIENCE_S)
    finally:
        process = client._server
        if process is not None and process.returncode is None:
            process.kill()
