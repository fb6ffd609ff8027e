"""A model server as an engine: the same calls as `diffusion.engine.Engine`, answered elsewhere (docs/protocol.md).

Rule: for one thread at a time. One try; why there is no answer is a `RemoteError`, and who asks decides what then. What
goes out is what `wire.request_body` says, cut to what a server takes.

    engine = RemoteEngine(Link(Address.of("http://127.0.0.1:8000"), token), patience_ms=1000)
    for draft in engine.infill(request, cancelled): ...
"""

from __future__ import annotations

import dataclasses
import hashlib
import queue
import secrets
import time
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

from diffusion.backends.link import Exchange, Link, RemoteError
from diffusion.fields import FieldError, Fields
from diffusion.request import Draft, InfillRequest
from diffusion.wire import MAX_BODY_BYTES, MAX_CHUNKS, MAX_NAME_CHARS, MAX_TEXT_CHARS, read_draft, request_body

POLL_S = 0.005  # between two looks at `cancelled`
HELLO_S = 3.0  # how long the server may take to say what it has
GRACE_MS = 300  # behind the deadline, for the way
UNSEEN = 6  # requests in a row that were cancelled before their first draft: keys are faster than the server
PAUSE_S = 0.3  # then the next one goes out when the typist stops for so long
TOLD = {"policy": str, "other_tokens": int, "max_context": int, "parameters": int, "weights": str}


class RemoteEngine:
    """Drafts from a model server."""

    def __init__(self, link: Link, patience_ms: float, model: str = "") -> None:
        self.link, self.patience_ms, self.model = link, patience_ms, model
        self.forward_passes = 0
        self.last_line = b""  # with what the server adds to the last draft: what it cost
        self.info: dict[str, object] = {}
        self.sent = 0  # requests for drafts that went out
        self._unseen = 0
        self._secret = secrets.token_bytes(16)

    @property
    def where(self) -> str:
        """The server's name, for people."""
        return self.link.address.host

    def hello(self) -> None:
        """Learn what the server has; RemoteError says why not."""
        exchange = self.link.start("GET", "/v1/models")
        body = b"".join(lines_of(exchange, lambda: False, HELLO_S * 1000, HELLO_S * 1000))
        try:
            [*_, last] = Fields.of(body, "the list of models", MAX_BODY_BYTES).each("data", 1000, dict, [])
            info = Fields(last.get("info", {}), "info").left
        except (FieldError, ValueError, TypeError):
            raise RemoteError("what it says of its models is not what this version understands") from None
        known = {name: info[name] for name, kind in TOLD.items() if isinstance(info.get(name), kind)}
        name = str(last.get("id", ""))[:MAX_NAME_CHARS]
        self.info = {"model": name, "backend": "remote", "device": self.where, **known}

    def infill(self, request: InfillRequest, cancelled: Callable[[], bool], owner: str = "") -> Iterator[Draft]:
        """Drafts as they come; ends without a done one when cancelled, and with a RemoteError when it breaks off.

        Where keys come faster than drafts, only a pause asks: what every key asks would be answered to nobody.
        """
        if self._unseen >= UNSEEN and not paused(cancelled):
            return
        self.sent, self._unseen = self.sent + 1, self._unseen + 1
        try:
            for draft in self._drafts(request, cancelled):
                self._unseen = 0
                yield draft
        except RemoteError:
            self._unseen = 0
            raise

    def _drafts(self, request: InfillRequest, cancelled: Callable[[], bool]) -> Iterator[Draft]:
        """Ask at once."""
        deadline_ms = None if request.deadline_ms is None else request.deadline_ms + GRACE_MS
        exchange = self._post("/v1/infill", request)
        passes = 0
        for line in lines_of(exchange, cancelled, self.patience_ms, deadline_ms):
            try:
                draft = read_draft(line)
            except FieldError as error:
                raise RemoteError(f"{self.where}: {error}") from None
            self.forward_passes += max(0, draft.forward_passes - passes)
            passes, self.last_line = draft.forward_passes, line
            if draft.done:
                exchange.leave()
            yield draft
            if draft.done:
                return
        if not cancelled():
            raise RemoteError(f"{self.where}: the answer broke off", again=True)

    def prepare(self, request: InfillRequest, cancelled: Callable[[], bool], owner: str = "") -> None:
        """Have the context encoded ahead of time; a server that is busy does not."""
        for _ in lines_of(self._post("/v1/prepare", request), cancelled, None, None):
            pass

    def _post(self, path: str, request: InfillRequest) -> Exchange:
        """Send a request to the replica that has the document's context; the document's name does not go out."""
        return self.link.start("POST", path, request_body(within(request), self.model), self.key_of(request.path))

    def key_of(self, path: str) -> str:
        """What a document is called on the way."""
        return hashlib.sha256(self._secret + path.encode("utf-8", "replace")).hexdigest()[:32]


def paused(cancelled: Callable[[], bool]) -> bool:
    """Wait for a pause; False if a cancellation comes first."""
    until_s = time.perf_counter() + PAUSE_S
    while not cancelled() and time.perf_counter() < until_s:
        time.sleep(POLL_S)
    return not cancelled()


def lines_of(
    exchange: Exchange, cancelled: Callable[[], bool], patience_ms: float | None, deadline_ms: float | None
) -> Iterator[bytes]:
    """Lines as they come; none any more when cancelled. RemoteError when the first, or the last, comes too late."""
    began_s = time.perf_counter()
    limit_ms, ended = patience_ms, False
    try:
        while not cancelled():
            passed_ms = (time.perf_counter() - began_s) * 1000
            for most_ms in (limit_ms, deadline_ms):
                if most_ms is not None and passed_ms > most_ms:
                    raise RemoteError(f"{exchange.link.address.host} is slow: no answer in {passed_ms:.0f} ms")
            try:
                line = exchange.next(POLL_S)
            except queue.Empty:
                continue
            except RemoteError:
                ended = True
                raise
            if line is None:
                ended = True
                return
            limit_ms = None
            yield line
    finally:
        if not ended:
            exchange.abort()


def within(request: InfillRequest) -> InfillRequest:
    """The request, cut to what a server takes: the least relevant goes first."""
    sizes = accumulate(len(chunk) for chunk in reversed(request.other_files))
    n_chunks = sum(size <= MAX_TEXT_CHARS for size in sizes)
    chunks = request.other_files[max(0, len(request.other_files) - min(n_chunks, MAX_CHUNKS)) :]
    fits = request.start is None or len(request.start.text) <= MAX_TEXT_CHARS
    changes: dict[str, Any] = {
        "prefix": request.prefix[-MAX_TEXT_CHARS:],
        "suffix": request.suffix[:MAX_TEXT_CHARS],
        "other_files": chunks,
        "start": request.start if fits else None,
        "language": request.language[:MAX_NAME_CHARS],
    }
    return dataclasses.replace(request, **changes)
