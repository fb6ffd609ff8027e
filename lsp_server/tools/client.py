"""The least that speaks to a language server over stdio, one message at a time, for benchmarks and the replay.

Rule: the real server process, nothing of it imported; a server that hangs is killed, and then has ended.

    with Client() as client: client.call("initialize", {...}); client.notify("initialized", {})
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from typing import IO, Any

from lsp_server.launch import isolated

TIMEOUT_S = 180


class Client:
    """A server process and the messages to and from it."""

    def __init__(self, timeout_s: float = TIMEOUT_S, environment: dict[str, str] | None = None) -> None:
        """Start the server, by default in this process's environment; it is killed after `timeout_s`."""
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            isolated("lsp", "--stdio"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        self.watchdog = threading.Timer(timeout_s, self.process.kill)  # a server that hangs becomes one that ended
        self.watchdog.daemon = True  # nobody waits for it
        self.watchdog.start()
        self.last_id = 0

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.watchdog.cancel()
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()

    def send(self, message: dict[str, Any]) -> None:
        """Write one message."""
        assert self.process.stdin
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification."""
        self.send({"method": method, "params": params})

    def call(self, method: str, params: Any, heard: Callable[[str, Any], None] = lambda method, params: None) -> Any:
        """Send a request and wait for its answer; `heard` gets the notifications that come before it."""
        self.last_id += 1
        self.send({"id": self.last_id, "method": method, "params": params})
        while True:
            message = read_message(self.process.stdout)
            if "method" in message:
                heard(message["method"], message.get("params"))
                if "id" in message:  # the server asks something, for instance for a progress bar
                    self.send({"id": message["id"], "result": None})
            elif message.get("id") == self.last_id:
                if "error" in message:
                    raise ValueError(f"{method}: {message['error'].get('message')}")
                return message.get("result")


def read_message(stream: IO[bytes] | None) -> dict[str, Any]:
    """The next message of a stream; ValueError at its end."""
    assert stream
    length = 0
    while line := stream.readline().strip():
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    if not length:
        raise ValueError("the server ended without an answer")
    message: dict[str, Any] = json.loads(stream.read(length))
    return message
