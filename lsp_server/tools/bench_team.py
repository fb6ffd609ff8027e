"""`mezzotint bench team`: simulated typists against a real Ray cluster on this machine, measured from their side.

Rule: no internals. A real `mezzotint serve` is started, every typist has a token, a file, connections and the client
that the language server has. A key asks if a request is still running (which it cancels), else as often as keys do for
which nothing is known yet (`ASKED_SHARE`, measured by `mezzotint bench lsp`). The table is for people, the last line of
stdout is one JSON object.

    mezzotint bench team --users 20 --replicas 2 --seconds 60 --kill --batch 4
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from diffusion.backends.fallback import Fallback
from diffusion.backends.link import Address, Link
from diffusion.backends.remote import RemoteEngine
from diffusion.request import Draft, Hole, InfillRequest
from lsp_server.tools.team_counts import Counts

ASKED_SHARE = 0.24  # of keys behind which the model is asked, where nothing runs (docs/performance.md)
KEY_S = (0.2, 0.08)  # between two keys: mean and deviation
THOUGHT_S = 1.5  # in front of a line
AROUND_CHARS = (8000, 4000)  # what the server's options send
START_S = 180.0


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
    """Somebody who types in a file of their own."""

    def __init__(self, number: int, url: str, token: str, text: str, counts: Counts) -> None:
        self.rng, self.text, self.counts, self.name = random.Random(number), text, counts, f"file{number}.py"
        self.remote = RemoteEngine(Link(Address.of(url), token), patience_ms=10_000)
        self.engine = Fallback(self.remote, lambda: Here(counts))
        self.cancel = threading.Event()
        self.running: threading.Thread | None = None

    def type(self, until_s: float) -> None:
        """Write the ends of lines again until the time is over."""
        self.engine.start()
        lines = [at for at in range(len(self.text)) if self.text.startswith(" = ", at)]
        while time.monotonic() < until_s:
            time.sleep(self.rng.expovariate(1 / THOUGHT_S))
            at = self.rng.choice(lines) + 3
            end = self.text.find("\n", at)
            for column in range(at, end):
                if time.monotonic() >= until_s:
                    break
                self.key(column, end)
                time.sleep(max(0.03, self.rng.gauss(*KEY_S)))
        self.stop()

    def key(self, column: int, end: int) -> None:
        """Press a key, behind which the model may have to be asked."""
        runs = self.running is not None and self.running.is_alive()
        if runs or self.rng.random() < ASKED_SHARE:
            self.stop()
            self.cancel = threading.Event()
            before, after = AROUND_CHARS
            prefix, suffix = self.text[max(0, column - before) : column], self.text[end : end + after]
            request = InfillRequest(prefix, suffix, (Hole(16),), deadline_ms=5000, path=self.name)
            self.running = threading.Thread(target=self.ask, args=(request, self.cancel), daemon=True)
            self.running.start()

    def stop(self) -> None:
        """Cancel what runs, as the next key does."""
        self.cancel.set()
        if self.running is not None:
            self.running.join()

    def ask(self, request: InfillRequest, cancel: threading.Event) -> None:
        """One request, timed."""
        self.counts.add(requests=1)
        began_s, last, first = time.perf_counter(), None, (0.0, 0)
        try:
            for draft in self.engine.infill(request, cancel.is_set):
                ms = (time.perf_counter() - began_s) * 1000
                if last is None:
                    self.counts.add(first_ms=ms)
                    first = ms, draft.forward_passes
                if draft.done:
                    self.counts.add(final_ms=ms, passes=draft.forward_passes)
                    if draft.forward_passes > first[1]:
                        self.counts.add(pass_ms=(ms - first[0]) / (draft.forward_passes - first[1]))
                last = draft
        except Exception as error:
            print(f"a typist saw {type(error).__name__}: {error}", file=sys.stderr)
            self.counts.add(errors=1)
        if last is None or not last.done:
            self.counts.add(cancelled=1)
        elif cost := json.loads(self.remote.last_line or b"{}").get("cost"):
            self.counts.add(context_tokens=cost["contextTokens"], encoded_tokens=cost["encodedTokens"])
            self.counts.add(begun=(first[0] - cost["waitedMs"], first[1], cost["encodedTokens"]))


@contextmanager
def server(settings: dict[str, Any], folder: Path) -> Iterator[str]:
    """A real server with these settings; its URL."""
    file = folder / "serve.json"
    file.write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-P" if sys.version_info >= (3, 11) else "-I", "-m", "lsp_server.cli", "serve"]
    process = subprocess.Popen([*command, "--config", str(file)], stderr=subprocess.PIPE, text=True)
    watchdog = threading.Timer(START_S, process.kill)
    watchdog.daemon = True  # nobody waits for it
    watchdog.start()
    try:
        assert process.stderr is not None
        found = (re.search(r"mezzotint serve: (http://\S+)", line) for line in process.stderr)
        url = next((match[1] for match in found if match), None)
        watchdog.cancel()
        if url is None:
            raise OSError("the server did not start; `mezzotint serve --config` says why")
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield url
    finally:
        watchdog.cancel()
        process.send_signal(signal.SIGTERM)
        process.wait()


def replica_of(url: str, token: str) -> int:
    """The process of some replica."""
    exchange = Link(Address.of(url), token).start("GET", "/v1/models")
    while exchange.next(30) is not None:
        pass
    headers = {name.lower(): value for name, value in exchange.headers.items()}
    return int(headers["mezzotint-replica"].split(".")[-1])


def texts() -> list[str]:
    """Real files that every Python has, with lines to go on with."""
    import argparse as a
    import ast as b
    import dataclasses as c
    import inspect
    import textwrap as e
    import zipfile as d

    return [inspect.getsource(module) for module in (a, b, c, d, e)]


class Plan(NamedTuple):
    """What one run is."""

    users: int
    by_document: bool = True
    killed: bool = False
    batch: int = 1


def plans(args: argparse.Namespace) -> list[Plan]:
    """The runs that the command line asks for: each number of typists, and with the last one what else is compared."""
    numbers = [int(number) for number in args.users.split(",")]
    found = [Plan(number) for number in numbers]
    found += [Plan(numbers[-1], batch=args.batch)] if args.batch > 1 else []
    found += [Plan(numbers[-1], by_document=False)] if args.anywhere else []
    return found + ([Plan(numbers[-1], killed=True)] if args.kill else [])


def measure(args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """One run of a cluster and its typists."""
    from diffusion.serve.users import add_user

    users = plan.users
    counts, files = Counts(), texts()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokens = [add_user(folder / "users", f"user{n}") for n in range(users)]
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        model = {"name": "bench", "model": args.model, "threads": args.threads, "replicas": args.replicas, "cpus": 0.1}
        model |= {"batch": plan.batch}
        settings = {"port": port, "users": str(folder / "users"), "models": [model], "byDocument": plan.by_document}
        with server(settings, folder) as url:
            until_s = time.monotonic() + args.seconds
            typists = [Typist(n, url, tokens[n], files[n % len(files)], counts) for n in range(users)]
            threads = [threading.Thread(target=typist.type, args=(until_s,)) for typist in typists]
            for thread in threads:
                thread.start()
            if plan.killed:
                time.sleep(args.seconds / 2)
                os.kill(replica_of(url, tokens[0]), signal.SIGKILL)
            for thread in threads:
                thread.join()
    return {**plan._asdict(), **counts.figures(args.seconds)}


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="mezzotint bench team", description=__doc__)
    parser.add_argument("--users", default="20", metavar="N,N", help="typists, one run for each number (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="length of a run (%(default)s)")
    parser.add_argument("--replicas", type=int, default=2, help="replicas of the model (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a replica (%(default)s)")
    parser.add_argument("--model", default="", metavar="FOLDER", help="model folder (default: the embedded model)")
    parser.add_argument("--batch", type=int, default=1, help="also with so many requests at once in a replica")
    parser.add_argument("--anywhere", action="store_true", help="also without routing a document to its replica")
    parser.add_argument("--kill", action="store_true", help="also with a replica killed in the middle of a run")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Print the table and the JSON line; 1 and one line on stderr if the server does not start."""
    args = make_parser().parse_args(argv)
    runs = []
    try:
        for plan in plans(args):
            runs.append(measure(args, plan))
            print(*(f"{name} {value}" for name, value in runs[-1].items()), sep="  ", file=sys.stderr, flush=True)
    except (ValueError, OSError) as error:
        print(f"mezzotint bench team: {error}", file=sys.stderr)
        return 1
    for name in runs[0]:
        print(f"{name:16}", *(f"{run[name]!s:>10}" for run in runs))
    print(
        json.dumps(
            {"model": args.model or "embedded", "replicas": args.replicas, "seconds": args.seconds, "runs": runs}
        )
    )
    return 0
