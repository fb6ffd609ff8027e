"""A client that can send what no client should: bytes over stdio."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from editor import PATIENCE_S


class RawClient:
    """A server process and its two pipes; it is killed if it takes too long."""

    def __init__(
        self, *python_options: str, options: Sequence[str] = (), command: Sequence[str] = (), cwd: Path | None = None
    ) -> None:
        command = command or [sys.executable, *python_options, "-m", "lsp_server", "--stdio", *options]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=cwd, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)
        self.log = b""
        self._drain = threading.Thread(target=self._read_log, daemon=True)
        self._drain.start()
        self._watchdog = threading.Timer(PATIENCE_S, self.process.kill)
        self._watchdog.daemon = True  # nobody waits for it
        self._watchdog.start()
        self._last_id = 0

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *error: object) -> None:
        self._watchdog.cancel()
        self.process.kill()
        self.process.wait()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        while chunk := self.process.stderr.read(4096):
            self.log += chunk

    def ended(self) -> tuple[int, str]:
        """Wait for the process; its status and its log."""
        status = self.process.wait(PATIENCE_S)
        self._drain.join(PATIENCE_S)
        return status, self.log.decode()

    def send_bytes(self, body: bytes) -> None:
        assert self.process.stdin is not None
        message = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        while message:
            message = message[self.process.stdin.write(message) :]

    def notify(self, method: str, params: Any) -> None:
        self.send_bytes(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode())

    def send_request(self, id: int | str, method: str, params: Any) -> None:
        body = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
        self.send_bytes(json.dumps(body).encode())

    def request(self, method: str, params: Any) -> dict[str, Any]:
        self._last_id += 1
        self.send_request(self._last_id, method, params)
        while True:
            answer = self.receive()
            if answer.get("id") == self._last_id:
                return answer

    def receive(self) -> dict[str, Any]:
        """Read one message."""
        assert self.process.stdout is not None
        size = 0
        while line := self._line().strip():
            if line.lower().startswith(b"content-length:"):
                size = int(line.split(b":")[1])
        body = b""
        while len(body) < size:
            body += self.process.stdout.read(size - len(body)) or b""
        return dict(json.loads(body))

    def _line(self) -> bytes:
        assert self.process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            byte = self.process.stdout.read(1)
            if not byte:
                raise EOFError("the server has ended: " + self.log.decode()[-2000:])
            line += byte
        return line
