"""The real server as `mezzotint bench lsp` measures it: a process over stdio, and one open file.

Rule: no internals; forward passes are what `mezzotint/stats` says, asked between two requests.

    with Client() as client: subject = Ours(client, text, model=""); subject.ask(3, 12)
"""

from __future__ import annotations

import os
import time
from typing import Any

from lsp_server.tools.bench_keys import Asked
from lsp_server.tools.client import Client, read_message

URI = "file:///bench.py"


class Ours:
    """One open file; every change is one range, as editors send them."""

    def __init__(self, client: Client, text: str, model: str) -> None:
        """Say hello and open the file."""
        self.client, self.lines, self.version = client, text.split("\n"), 0
        self.pid, self.began = client.process.pid, client.began
        options = {"drafts": True, "logLevel": "error", "model": model}
        params = {"processId": os.getpid(), "rootUri": None, "capabilities": {}, "initializationOptions": options}
        client.call("initialize", params)
        self.ready_ms = self._ms(client.began)
        client.notify("initialized", {})
        document = {"uri": URI, "languageId": "python", "version": 0, "text": text}
        client.notify("textDocument/didOpen", {"textDocument": document})

    def change(self, line: int, start: int, stop: int, new: str) -> None:
        """Put `new` in place of the columns [start, stop) of a line."""
        self.version += 1
        self.lines[line] = self.lines[line][:start] + new + self.lines[line][stop:]
        span = {"start": {"line": line, "character": start}, "end": {"line": line, "character": stop}}
        document = {"uri": URI, "version": self.version}
        changes = [{"range": span, "text": new}]
        self.client.notify("textDocument/didChange", {"textDocument": document, "contentChanges": changes})

    def ask(self, line: int, column: int, by_hand: bool = False) -> Asked:
        """Ask and wait."""
        before, began = self._passes(), time.perf_counter()
        drafts: list[float] = []

        def heard(method: str, params: Any) -> None:
            if method == "mezzotint/draft":
                drafts.append(self._ms(began))

        self.client.call("textDocument/inlineCompletion", self._request(line, column, by_hand), heard)
        final_ms = self._ms(began)
        return Asked(drafts[0] if drafts else None, final_ms, self._passes() - before)

    def give_up(self, line: int, column: int) -> float | None:
        """Ask by hand, cancel behind the first draft; ms until the answer, None where the answer was quicker."""
        id = self._send(line, column, True)
        while (message := read_message(self.client.process.stdout)).get("method") != "mezzotint/draft":
            if message.get("id") == id:
                return None
        began = time.perf_counter()
        self.client.notify("$/cancelRequest", {"id": id})
        self._wait_for(id)
        return self._ms(began)

    def storm(self, line: int, column: int, keys: str) -> None:
        """Type keys, ask behind each, wait for the last answer."""
        for at, key in enumerate(keys, column):
            self.change(line, at, at, key)
            last = self._send(line, at + 1, False)
        self._wait_for(last)

    def _send(self, line: int, column: int, by_hand: bool) -> int:
        """Send a request; its number."""
        self.client.last_id += 1
        params = self._request(line, column, by_hand)
        self.client.send({"id": self.client.last_id, "method": "textDocument/inlineCompletion", "params": params})
        return self.client.last_id

    def _wait_for(self, id: int) -> None:
        """Read until a request is answered."""
        while True:
            message = read_message(self.client.process.stdout)
            if message.get("id") == id and "method" not in message:
                return

    def _request(self, line: int, column: int, by_hand: bool) -> dict[str, Any]:
        """What a request says."""
        where = {"textDocument": {"uri": URI}, "position": {"line": line, "character": column}}
        token = f"bench-{time.perf_counter()}"
        return {**where, "context": {"triggerKind": 1 if by_hand else 2}, "workDoneToken": token}

    def _passes(self) -> int:
        """Forward passes so far."""
        return int(self.client.call("mezzotint/stats", {})["forwardPasses"])

    @staticmethod
    def _ms(began: float) -> float:
        """Milliseconds since."""
        return (time.perf_counter() - began) * 1000
