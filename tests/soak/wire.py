"""One connection to a server, over pipes or a socket: a thread reads, slowly or not at all where it is told to.

Rule: what the server sends is counted and answered, never interpreted; a request's answer is a future. Writing waits
where the server does not read.

    wire = Wire(process.stdout.fileno(), process.stdin.fileno()); wire.call("shutdown", None)
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from concurrent.futures import Future
from typing import Any

PATIENCE_S = 120
SIP_BYTES = 256  # that a slow reader takes at a time


class Wire:
    """Messages to and from one server."""

    def __init__(self, read: int, write: int) -> None:
        """Take two descriptors, which may be one socket's."""
        self._read, self._write = read, write
        self._lock = threading.Lock()
        self._last_id = 0
        self._buffer = b""
        self.waiting: dict[int, Future[Any]] = {}
        self.heard: Counter[str] = Counter()
        self.told: list[str] = []  # messages to the user
        self.reads = threading.Event()
        self.reads.set()
        self.sip_s = 0.0  # what a slow reader waits between two sips
        self.ended = False
        threading.Thread(target=self._listen, name="reader", daemon=True).start()

    def notify(self, method: str, params: Any) -> None:
        """Send a notification."""
        self._send({"method": method, "params": params})

    def ask(self, method: str, params: Any) -> tuple[int, Future[Any]]:
        """Send a request; its number and its answer to come."""
        with self._lock:
            self._last_id += 1
            id = self._last_id
            self.waiting[id] = future = Future()
        self._send({"id": id, "method": method, "params": params})
        return id, future

    def call(self, method: str, params: Any) -> Any:
        """Send a request and wait for its answer."""
        return self.ask(method, params)[1].result(PATIENCE_S)

    def _send(self, message: dict[str, Any]) -> None:
        """Write one message."""
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        rest = memoryview(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        with self._lock:
            while rest:
                rest = rest[os.write(self._write, rest) :]

    def _listen(self) -> None:
        """Read until the server has ended; what waits then is told so."""
        try:
            while (message := self._message()) is not None:
                self._take(message)
        except OSError:
            pass
        self.ended = True
        for future in list(self.waiting.values()):
            future.set_exception(EOFError("the server has ended"))

    def _take(self, message: dict[str, Any]) -> None:
        """Note one message, and answer what the server asks."""
        method = message.get("method")
        if method is None:
            future = self.waiting.pop(message["id"], None)
            if future is not None:
                future.set_result(message.get("result"))
            return
        self.heard[method] += 1
        if method == "window/showMessage":
            self.told.append(message["params"]["message"])
        if "id" in message:
            self._send({"id": message["id"], "result": None})

    def _message(self) -> dict[str, Any] | None:
        """The next message."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._more():
                return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-l"))
        while len(self._buffer) < length:
            if not self._more():
                return None
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return dict(json.loads(body))

    def _more(self) -> bytes:
        """Read some, when reading is allowed."""
        self.reads.wait()
        if self.sip_s:
            time.sleep(self.sip_s)
        data = os.read(self._read, SIP_BYTES if self.sip_s else 1 << 16)
        self._buffer += data
        return data
