"""A typist of `mezzotint bench team`: types lines of a real file, asks as the language server does, and counts.

Rule: what is asked is what the language server would ask (its windows, its `stop_below`), with its client. A key asks
if a request is still running (which it cancels), else as often as keys do for which nothing is known yet
(`ASKED_SHARE`, measured by `mezzotint bench lsp`).

    typist = Typist(0, url, token, text, counts); typist.start(); typist.type(until_s)
"""

from __future__ import annotations

import json
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from diffusion.backends.fallback import Fallback
from diffusion.backends.link import Address, Link
from diffusion.backends.remote import RemoteEngine
from diffusion.request import Draft, Hole, InfillRequest
from lsp_server.options import Options
from lsp_server.suggest.context import windows
from lsp_server.tools.team_counts import ELSEWHERE, KEY, LINE, Counts

ASKED_SHARE = 0.24  # of keys behind which the model is asked, where nothing runs (docs/performance.md)
KEY_S = (0.2, 0.08)  # between two keys: mean and deviation
THOUGHT_S = 1.5  # in front of a line
TOLD_S = 30.0
OPTIONS = Options()


class Here:
    """Stands for the model on the typist's machine: it says nothing, and that it was asked is counted."""

    forward_passes = 0
    info: dict[str, object] = {}

    def __init__(self, counts: Counts) -> None:
        self.counts = counts

    def infill(self, request: InfillRequest, cancelled: Callable[[], bool], owner: str = "") -> Iterator[Draft]:
        """Nothing."""
        self.counts.add(here=1)
        yield Draft(0, "", (), 0.0, 0, True, "complete")


class Typist:
    """Somebody who types in a file of their own.

    `elsewhere`: the share of lines that are not behind the one before. `asked`: of each request its kind, and itself.
    """

    def __init__(self, number: int, url: str, token: str, text: str, counts: Counts, elsewhere: float = 0.2) -> None:
        self.rng, self.text, self.counts, self.name = random.Random(number), text, counts, f"file{number}.py"
        self.elsewhere = elsewhere
        self.asked: list[tuple[str, InfillRequest]] = []
        self.remote = RemoteEngine(Link(Address.of(url), token), patience_ms=10_000)
        self.engine = Fallback(self.remote, lambda: Here(counts))
        self.cancel = threading.Event()
        self.running: threading.Thread | None = None
        self.kind = ELSEWHERE  # of the next request

    def start(self) -> None:
        """Greet the server."""
        self.engine.start()

    def type(self, until_s: float) -> None:
        """Write blocks of lines anew until the time is over."""
        lines = places(self.text)
        while time.monotonic() < until_s:
            first, n = self.rng.randrange(len(lines)), 1
            while self.rng.random() > self.elsewhere:
                n += 1
            self.kind = ELSEWHERE
            self.counts.add(blocks=1)
            self.block(lines[first : first + n], until_s)
        self.stop()
        self.counts.add(requests=self.remote.sent)

    def block(self, lines: Sequence[tuple[int, int]], until_s: float) -> None:
        """Write lines, as if what follows the last of them followed the cursor."""
        behind = lines[-1][1]
        for start, end in lines:
            time.sleep(self.rng.expovariate(1 / THOUGHT_S))
            self.counts.add(line_keys=end - start)
            for column in range(start, end):
                if time.monotonic() >= until_s:
                    return
                self.key(column, behind)
                time.sleep(max(0.03, self.rng.gauss(*KEY_S)))
            self.kind = LINE if self.kind == KEY else self.kind

    def key(self, column: int, behind: int) -> None:
        """Press a key, behind which the model may have to be asked."""
        self.counts.add(keys=1)
        runs = self.running is not None and self.running.is_alive()
        if runs or self.rng.random() < ASKED_SHARE:
            self.stop()
            self.cancel = threading.Event()
            request = self.request(column, behind)
            self.asked.append((self.kind, request))
            self.kind = KEY
            self.running = threading.Thread(target=self.ask, args=(request, self.cancel), daemon=True)
            self.running.start()

    def request(self, column: int, behind: int) -> InfillRequest:
        """What the language server asks here."""
        sides = windows(self.text, column, behind, OPTIONS.max_prefix_chars, OPTIONS.max_suffix_chars)
        least = OPTIONS.min_confidence_percent / 100
        return InfillRequest(*sides, (Hole(16),), deadline_ms=OPTIONS.deadline_ms, path=self.name, stop_below=least)

    def stop(self) -> None:
        """Cancel what runs, as the next key does."""
        self.cancel.set()
        if self.running is not None:
            self.running.join()

    def ask(self, request: InfillRequest, cancel: threading.Event) -> None:
        """One request, timed."""
        began_s, last = time.perf_counter(), None
        try:
            for draft in self.engine.infill(request, cancel.is_set):
                ms = (time.perf_counter() - began_s) * 1000
                in_time = draft.step > 0
                self.counts.add(late=not in_time)
                if last is None and in_time:
                    self.counts.add(first_ms=ms)
                if draft.done and in_time:
                    self.counts.add(final_ms=ms)
                last = draft
        except Exception as error:
            print(f"a typist saw {type(error).__name__}: {error}", file=sys.stderr)
            self.counts.add(errors=1)
        if last is None or not last.done:
            self.counts.add(cancelled=1)
        elif cost := json.loads(self.remote.last_line or b"{}").get("cost"):
            self.counts.add(waited_ms=cost["waitedMs"])

    def told(self, path: str) -> tuple[str, str]:
        """The replica of this typist's file, and what it answers to a GET."""
        exchange = self.remote.link.start("GET", path, key=self.remote.key_of(self.name))
        body = b"".join(iter(lambda: exchange.next(TOLD_S) or b"", b""))
        headers = {name.lower(): value for name, value in exchange.headers.items()}
        return headers["mezzotint-replica"], body.decode()


def places(text: str) -> list[tuple[int, int]]:
    """Where the text of each line begins and ends, of those that have some."""
    return [match.span() for match in re.finditer(r"\S.*", text)]
