"""Somebody at an editor: types, mistypes, pastes, undoes, accepts, closes and opens files, and asks behind every key.

Rule: all that is sent is mirrored in pages, whatever the server makes of it; `check()` asks the server what it has. One
thread a user; who else speaks to their server takes `quiet` first.

    user = User("many", server, pages, keys_per_s=20, seed=1); user.start(); ...; user.check(); user.end()
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

from tests.soak.page import Page
from tests.soak.servers import Server
from tests.soak.wire import PATIENCE_S

ODD = ("é", "漢字", "😀", "e\u0301", "\t", "\u2028", "ﬀ", "🧑‍💻")
RETYPED, ACCEPTED, CANCELLED, BY_HAND, TYPO = 0.9, 0.05, 0.03, 0.01, 0.02
KEY = re.compile(r"\r\n|.", re.DOTALL)
MAX_GROWTH = 2.0  # of a text: then it is reverted


class User(threading.Thread):
    """One user of one server."""

    def __init__(self, name: str, server: Server, pages: Sequence[Page], keys_per_s: float, seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self.server, self.pages, self.keys_per_s = server, list(pages), keys_per_s
        self.rng = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.quiet = threading.RLock()
        self.failure: BaseException | None = None
        self._stop_asked = threading.Event()
        for page in self.pages:
            server.wire.notify("textDocument/didOpen", {"textDocument": page.item()})

    def run(self) -> None:
        """Do one thing after another until told to stop."""
        at_once = (self.paste, self.cut, self.many_cursors, self.revert, self.reopen)
        try:
            while not self._stop_asked.is_set():
                page = self.rng.choice(self.pages)
                self.retype(page) if self.rng.random() < RETYPED else self.odd(page)
                with self.quiet:
                    self.rng.choice(at_once)(page)
        except BaseException as error:
            self.failure = error

    def end(self) -> None:
        """Stop."""
        self._stop_asked.set()
        self.join(PATIENCE_S)

    def change(self, page: Page, *changes: Any) -> None:
        """Send changes, all in one message."""
        self.server.wire.notify("textDocument/didChange", {"textDocument": page.named(), "contentChanges": changes})
        self.counts["changes"] += 1

    def ask(self, page: Page, at: int, kind: int = 2) -> tuple[int, Future[Any]]:
        """Ask for a completion."""
        where = {"textDocument": {"uri": page.uri}, "position": page.position(at), "context": {"triggerKind": kind}}
        self.counts["requests"] += 1
        return self.server.wire.ask("textDocument/inlineCompletion", where)

    def span(self, page: Page, most_lines: int = 4) -> tuple[int, int]:
        """A few whole lines somewhere."""
        starts = page.line_starts()
        first = self.rng.randrange(len(starts))
        behind = first + self.rng.randint(1, most_lines)
        return starts[first], starts[behind] if behind < len(starts) else len(page.text)

    def retype(self, page: Page) -> None:
        """Cut some lines and type them anew."""
        with self.quiet:
            start, stop = self.span(page)
            text = page.text[start:stop]
            self.change(page, page.edit(start, stop, ""))
        at = start
        for key in KEY.findall(text):
            if self._stop_asked.is_set():
                return
            at = self.press(page, at, key)

    def press(self, page: Page, at: int, key: str) -> int:
        """Press one key, ask behind it, and do something with the answer; where the cursor is then."""
        with self.quiet:
            if self.rng.random() < TYPO:
                self.change(page, page.edit(at, at, "q"))
                self.change(page, page.edit(at, at + 1, ""))
            self.change(page, page.edit(at, at, key))
            self.counts["keys"] += 1
            at += len(key)
            id, answer = self.ask(page, at, 1 if self.rng.random() < BY_HAND else 2)
        time.sleep(self.rng.expovariate(self.keys_per_s))  # who waits for `quiet` has it now
        luck = self.rng.random()
        with self.quiet:
            if luck < CANCELLED:
                self.server.wire.notify("$/cancelRequest", {"id": id})
            elif luck < CANCELLED + ACCEPTED:
                return self.accept(page, at, answer)
        return at

    def accept(self, page: Page, at: int, answer: Future[Any]) -> int:
        """Take what is suggested, whatever it is."""
        found = answer.result(PATIENCE_S)
        items = found["items"] if found else []
        if not items:
            return at
        start, stop = (page.offset(items[0]["range"][end]) for end in ("start", "end"))
        self.change(page, page.edit(start, stop, items[0]["insertText"]))
        self.server.wire.notify("mezzotint/didAccept", {"kind": "full"})
        self.counts["accepted"] += 1
        return start + len(items[0]["insertText"])

    def paste(self, page: Page) -> None:
        """Put lines of one file into another."""
        other = self.rng.choice(self.pages)
        start, stop = self.span(other, 40)
        at, _ = self.span(page)
        self.change(page, page.edit(at, at, other.text[start:stop]))

    def cut(self, page: Page) -> None:
        """Delete lines."""
        self.change(page, page.edit(*self.span(page, 20), ""))

    def many_cursors(self, page: Page) -> None:
        """Type at the beginnings of many lines at once."""
        at = self.rng.sample(starts := page.line_starts(), min(50, len(starts)))
        self.change(page, *(page.edit(start, start, "# ") for start in sorted(at, reverse=True)))

    def odd(self, page: Page) -> None:
        """Type what is no ASCII."""
        at, _ = self.span(page)
        for text in ODD:
            at = self.press(page, at, text)

    def revert(self, page: Page) -> None:
        """Take the text as it was on disk."""
        self.change(page, page.replace(page.original))

    def reopen(self, page: Page) -> None:
        """Close a file and open it again."""
        self.server.wire.notify("textDocument/didClose", {"textDocument": {"uri": page.uri}})
        page.version = 1
        if len(page.text) > MAX_GROWTH * len(page.original):
            page.text = page.original
        self.server.wire.notify("textDocument/didOpen", {"textDocument": page.item()})

    def settle(self) -> None:
        """Bring every file to what it was on disk, and ask in each: a state in which memory can be compared."""
        with self.quiet:
            for page in self.pages:
                self.revert(page)
                self.ask(page, page.line_starts()[-1])[1].result(PATIENCE_S)

    def check(self) -> None:
        """AssertionError where the server has a document otherwise than we, or leaves a request unanswered."""
        with self.quiet:
            waiting = list(self.server.wire.waiting.values())
            has = {one["uri"]: one for one in self.server.wire.call("mezzotint/documents", None)}
            for page in self.pages:
                assert page.uri in has, f"{page.uri} is not open"
                assert has[page.uri]["version"] == page.version, f"{page.uri} has another version"
                assert has[page.uri]["sha256"] == page.digest(), f"{page.uri} has another text"
            assert len(has) == len(self.pages), "documents are open that nobody has"
            for future in waiting:
                try:
                    future.result(PATIENCE_S)
                except CancelledError:
                    pass
        self.counts["checks"] += len(self.pages)
        assert self.failure is None, f"the user has ended: {self.failure!r}"
