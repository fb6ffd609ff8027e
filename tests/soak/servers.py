"""Real server processes, each marked in its environment, and what the system says of them.

Rule: Linux (/proc). A mark is inherited, so `living(mark)` finds whatever a server has left behind.

    server = start(folder, "many", engine="script:FILE"); sample(server.pid); living(server.mark)
"""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lsp_server.launch import isolated
from tests.soak.wire import PATIENCE_S, Wire

MARK = "MEZZOTINT_SOAK"
NUMBERS = itertools.count(1)


class Sample(NamedTuple):
    """A process at one moment."""

    rss_mb: float
    threads: int
    descriptors: int


def sample(pid: int) -> Sample:
    """Memory, threads and open files of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return Sample(
        int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"]), len(list(Path(f"/proc/{pid}/fd").iterdir()))
    )


def living(mark: str) -> list[int]:
    """Processes that carry a mark, or one that begins so."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(
                line.startswith(f"{MARK}={mark}".encode()) for line in (folder / "environ").read_bytes().split(b"\0")
            ):
                found.append(int(folder.name))
    return found


def wait_for(what: Callable[[], Any], why: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait until something is so; AssertionError says what never was."""
    until = time.monotonic() + patience_s
    while not (found := what()):
        assert time.monotonic() < until, why
        time.sleep(0.05)
    return found


@dataclass
class Server:
    """A server process and its client's end."""

    mark: str
    process: subprocess.Popen[bytes]
    wire: Wire
    tcp: socket.socket | None = None

    @property
    def pid(self) -> int:
        """The server's process id; with `unshare` or `prlimit` in front of it, it is the same."""
        return self.process.pid

    def hello(self, **options: Any) -> Server:
        """Say `initialize`."""
        given = {"logLevel": "warning", "drafts": True, **options}
        capabilities = {"general": {"positionEncodings": ["utf-16"]}, "window": {"workDoneProgress": True}}
        params = {"processId": os.getpid(), "capabilities": capabilities, "initializationOptions": given}
        self.wire.call("initialize", params)
        self.wire.notify("initialized", {})
        return self

    def bye(self) -> int:
        """End it as editors do; its exit status."""
        self.wire.call("shutdown", None)
        self.wire.notify("exit", None)
        status = self.process.wait(PATIENCE_S)
        self.close()
        return status

    def close(self) -> None:
        """Let go of everything; the process is killed if it still runs."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.tcp):
            if pipe is not None:
                pipe.close()


def start(
    run: str,
    engine: str = "",
    environment: Mapping[str, str] = {},
    before: Sequence[str] = (),
    errors: Path | None = None,
    after: Sequence[str] = (),
) -> Server:
    """Start a server on pipes, behind a command like `prlimit`; `run` begins its mark."""
    mark = f"{run}-{next(NUMBERS)}"
    command = [*before, *isolated("lsp", *(["--engine", engine] if engine else []), *after)]
    with (errors or Path(os.devnull)).open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **environment, MARK: mark},
            bufsize=0,
        )
    assert process.stdin and process.stdout
    return Server(mark, process, Wire(process.stdout.fileno(), process.stdin.fileno()))


def start_tcp(run: str, engine: str, folder: Path) -> Server:
    """Start a server on a socket with a token and be its client; the log tells the port."""
    token, log = folder / "token", folder / "tcp.log"
    options = ("--tcp", "--port", "0", "--token-file", str(token), "--log-level", "info")
    server = start(run, engine, errors=log, after=options)
    line = wait_for(
        lambda: [line for line in log.read_text().splitlines() if "listening on" in line], "no port was named"
    )
    server.tcp = connected(port_of(line[0]))
    server.wire = Wire(server.tcp.fileno(), server.tcp.fileno())
    return server


def port_of(line: str) -> int:
    """The port that a line of the log names."""
    return int(line.rsplit(":", 1)[1])


def connected(port: int) -> socket.socket:
    """A connection to a port of this machine."""
    made = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    made.settimeout(None)  # its descriptor is read
    return made
