"""A model server of a test's own: the real process, and a client that can send what no client should."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from editor import PATIENCE_S

from diffusion.request import InfillRequest
from diffusion.wire import request_body


class Answer(NamedTuple):
    """A status, the headers and what came."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def said(self) -> str:
        """The sentence of a refusal."""
        return str(json.loads(self.body)["error"]["message"])

    @property
    def lines(self) -> list[Any]:
        """The lines of a stream."""
        return [json.loads(line) for line in self.body.splitlines()]


class Service:
    """A server process; it is killed if a test takes too long."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "lsp_server.cli", "serve", *options]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, env=env, text=True)
        self._watchdog = threading.Timer(PATIENCE_S, self.process.kill)
        self._watchdog.daemon = True  # nobody waits for it
        self._watchdog.start()
        assert self.process.stderr is not None
        self.token, self.log, self.port = "", "", 0
        for line in self.process.stderr:
            self.log += line
            if found := re.search("the token (.*)", line):
                self.token = found[1]
            if found := re.search(r"http://.*:(\d+)", line):
                self.port = int(found[1])
                break
        self._drain = threading.Thread(target=self._read_log, daemon=True)
        self._drain.start()
        assert self.port, self.log

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def headers(self, **more: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", **more}

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """One request on a connection of its own."""
        connection = self.connect()
        try:
            connection.request(method, path, body, self.headers() if headers is None else headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def infill(self, prefix: str, suffix: str = "", **more: Any) -> Answer:
        return self.ask("POST", "/v1/infill", request_body(InfillRequest(prefix, suffix, **more)))

    def begin(self, prefix: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """A request whose drafts are read by the caller."""
        connection = self.connect()
        connection.request("POST", "/v1/infill", request_body(InfillRequest(prefix, "")), self.headers())
        return connection, connection.getresponse()

    def count(self, name: str) -> float:
        """What the server says that it counted."""
        text = self.ask("GET", "/metrics").body.decode()
        return float(re.findall(rf"^mezzotint_{name} (\S+)$", text, re.MULTILINE)[0])

    def end(self) -> int:
        """Stop it as a supervisor does; its status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE_S)
        self._drain.join(PATIENCE_S)
        self._watchdog.cancel()
        return status


@contextmanager
def service(*options: str) -> Iterator[Service]:
    """A server that is gone afterwards."""
    running = Service(*options)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        running._watchdog.cancel()


def local(script: Sequence[str], *more: str) -> Any:
    """A server in one process whose engine says what a script says."""
    return service("--local", "--port", "0", *script, *more)


def config(folder: Path, **fields: Any) -> str:
    """A configuration file."""
    path = folder / "serve.json"
    path.write_text(json.dumps(fields))
    return str(path)
