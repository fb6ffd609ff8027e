"""A model server that does what a test says, right or wrong: plain sockets, so that it can break off anywhere."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from diffusion.request import Draft
from diffusion.wire import draft_line

MODELS = {"data": [{"id": "big", "info": {"policy": "verdict", "other_tokens": 9, "max_context": 512}}]}


class Asked:
    """One request as it came, and ways to answer it."""

    def __init__(self, head: bytes, body: bytes, connection: socket.socket, server: FakeServer) -> None:
        lines = head.decode().split("\r\n")
        self.method, self.path, _ = lines[0].split(" ")
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        self.body, self.connection, self.server = body, connection, server

    def json(self, content: Any, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))

    def begin(self) -> None:
        self.connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

    def line(self, line: bytes) -> None:
        self.connection.sendall(b"%x\r\n%b\r\n" % (len(line), line))

    def draft(self, text: str, masked: tuple[tuple[int, int], ...] = (), done: bool = False, passes: int = 1) -> None:
        reason = "complete" if done else ""
        tokens = ((0, len(text), 0.0 if masked else 0.9),)
        self.line(draft_line(Draft(1, text, masked, 0.9, passes, done, reason, tokens)))

    def end(self) -> None:
        self.connection.sendall(b"0\r\n\r\n")

    def gone(self) -> bool:
        """Wait until the client has gone."""
        return self.connection.recv(1) == b""


class FakeServer:
    """Answers every request as `answer` says; it greets by itself unless told otherwise."""

    def __init__(self, answer: Callable[[Asked], object]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.connections = 0
        self.greets = True
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as file:
            while asked := self._read(file, connection):
                if asked.path == "/v1/models" and self.greets:
                    asked.json(MODELS)
                    continue
                self.asked.append(asked)
                try:
                    if self.answer(asked) == "break":
                        return
                except OSError:
                    return

    def _read(self, file: Any, connection: socket.socket) -> Asked | None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            try:
                line = file.readline()
            except OSError:
                return None
            if not line:
                return None
            head += line
        length = next((int(row.split(b":")[1]) for row in head.split(b"\r\n") if row.startswith(b"Content-Length")), 0)
        return Asked(head[:-4], file.read(length), connection, self)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
        self._listener.close()


@contextmanager
def fake_server(answer: Callable[[Asked], object]) -> Iterator[FakeServer]:
    server = FakeServer(answer)
    try:
        yield server
    finally:
        server.close()
