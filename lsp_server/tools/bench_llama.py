"""llama.cpp as `mezzotint bench lsp --llama` measures it: its server over HTTP, as editors use it for completion.

Rule: the same keys at the same places as ours gets. It is asked for the rest of a line behind the text before the
cursor, greedily, and streams; where its model knows fill-in-the-middle tokens, FIM says how a prompt is made of prefix
and suffix. What it has read before it keeps: the longest common beginning.

    with Llama(Path("model.gguf"), text) as subject: subject.ask(3, 12)
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from lsp_server.tools.bench_keys import Asked

PREFIX_CHARS, SUFFIX_CHARS = 3_000, 1_000  # about what our model reads of a file
MAX_TOKENS, LONG = 16, 64  # of the rest of a line; of a request that is given up
START_S = 120


class Llama:
    """One open file, and a server that is asked about it."""

    def __init__(self, gguf: Path, text: str, fim: str = "{prefix}", python: str = sys.executable) -> None:
        """Start the server of `python`'s llama-cpp-python; ValueError if it does not come up."""
        self.lines, self.fim, self.began = text.split("\n"), fim, time.perf_counter()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        threads = str(os.cpu_count() or 1)
        options = {"model": str(gguf), "n_ctx": "2048", "host": "127.0.0.1", "port": str(self.port)}
        options |= {"n_threads": threads, "n_threads_batch": threads, "verbose": "False"}
        command = [python, "-m", "llama_cpp.server"]
        for name, value in options.items():
            command += [f"--{name}", value]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pid = self.process.pid
        self._wait_until_ready()
        self.ready_ms = (time.perf_counter() - self.began) * 1000

    def __enter__(self) -> Llama:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()

    def _wait_until_ready(self) -> None:
        """Wait until it says which models it has."""
        while time.perf_counter() - self.began < START_S:
            if self.process.poll() is not None:
                raise ValueError(
                    "llama.cpp's server has ended: is llama-cpp-python[server] installed, and the model there?"
                )
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_S)
                connection.request("GET", "/v1/models")
                if connection.getresponse().read():
                    return
            except OSError:
                time.sleep(0.02)
        self.process.kill()
        raise ValueError(f"llama.cpp's server did not answer within {START_S} s")

    def change(self, line: int, start: int, stop: int, new: str) -> None:
        """Put `new` in place of the columns [start, stop) of a line."""
        self.lines[line] = self.lines[line][:start] + new + self.lines[line][stop:]

    def ask(self, line: int, column: int, by_hand: bool = False) -> Asked:
        """Ask and wait; there is one way to ask."""
        began, first_ms = time.perf_counter(), None
        with closing(self._post(line, column, MAX_TOKENS)) as connection:
            response = connection.getresponse()
            while piece := response.readline():
                if first_ms is None and said(piece):
                    first_ms = (time.perf_counter() - began) * 1000
        return Asked(first_ms, (time.perf_counter() - began) * 1000)

    def give_up(self, line: int, column: int) -> float | None:
        """Ask for much, hang up behind the first token; no answer is due."""
        with closing(self._post(line, column, LONG, stop=False)) as connection:
            response = connection.getresponse()
            while (piece := response.readline()) and not said(piece):
                pass
        return None

    def storm(self, line: int, column: int, keys: str) -> None:
        """Type keys, ask behind each and hang up on the request before, wait for the last answer."""
        connection = None
        for at, key in enumerate(keys, column):
            self.change(line, at, at, key)
            if connection is not None:
                connection.close()
            connection = self._post(line, at + 1, MAX_TOKENS)
        if connection is not None:
            connection.getresponse().read()
            connection.close()

    def _post(self, line: int, column: int, max_tokens: int, stop: bool = True) -> http.client.HTTPConnection:
        """Send a request."""
        before, behind = self.lines[line][:column], self.lines[line][column:]
        prefix = cropped("\n".join([*self.lines[:line], before]))
        suffix = "\n".join([behind, *self.lines[line + 1 :]])[:SUFFIX_CHARS]
        prompt = self.fim.replace("{prefix}", prefix).replace("{suffix}", suffix)
        body = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "stream": True}
        if stop:
            body["stop"] = ["\n"]
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_S)
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        return connection


def cropped(prefix: str) -> str:
    """The end of a prefix: whole lines, and the same first one while its last line is typed."""
    head, line_end, line = prefix.rpartition("\n")
    if len(head) > PREFIX_CHARS:
        head = head[head.find("\n", len(head) - PREFIX_CHARS) + 1 :]
    return head + line_end + line


def said(piece: bytes) -> bool:
    """Whether a line of the stream brings text."""
    if not piece.startswith(b"data: {"):
        return False
    return bool(json.loads(piece[len(b"data: ") :])["choices"][0].get("text"))
