"""`mezzotint bench team`: simulated typists against a real Ray cluster on this machine, measured from their side.

Rule: a real `mezzotint serve` is started, every typist (team_typist.py) has a token, a file, connections and the client
that the language server has. What the replicas counted is read from their metrics, processor time from the system. The
table is for people, the last line of stdout is one JSON object, which the simulation reads.

    mezzotint bench team --users 20 --replicas 2 --seconds 60 --kill --batch 4
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from diffusion.contexts import common_prefix
from diffusion.engine import context_of
from diffusion.hub.cache import folder_of
from diffusion.layout import Layout
from diffusion.model.card import open_folder
from diffusion.model.config import EMBEDDED
from diffusion.serve.metrics import PREFIX
from diffusion.serve.users import add_user
from lsp_server.tools.team_counts import ELSEWHERE, KEY, LINE, Counts, around, slices, work
from lsp_server.tools.team_cpu import between, cpu_s
from lsp_server.tools.team_typist import Typist

START_S = 180.0
LOOKS = 200  # at replicas, until each was seen
IDLE_S = 3.0  # of looking at what runs without anybody typing
SETTLE_S = 0.5  # until replicas have counted what was cancelled last


@contextmanager
def server(settings: dict[str, Any], folder: Path) -> Iterator[tuple[str, int]]:
    """A real server with these settings; its URL and process."""
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
        yield url, process.pid
    finally:
        watchdog.cancel()
        process.send_signal(signal.SIGTERM)
        process.wait()


def counted(typists: Sequence[Typist], replicas: int) -> tuple[dict[str, float], list[int]]:
    """What the replicas counted, all together, and how many typists each has."""
    told: dict[str, dict[str, float]] = {}
    homes: list[str] = []
    while len(homes) < len(typists) or (len(told) < replicas and len(homes) < LOOKS):
        replica, text = typists[len(homes) % len(typists)].told("/metrics")
        rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
        told[replica] = {name.removeprefix(PREFIX).removesuffix("_total"): float(value) for name, value in rows}
        homes.append(replica)
    totals = {name: sum(one[name] for one in told.values()) for name in next(iter(told.values()))}
    return totals, [homes[: len(typists)].count(replica) for replica in told]


def new_tokens(typists: Sequence[Typist], model: str) -> dict[str, list[float]]:
    """How many context tokens are new in requests of each kind, where everything before is cached."""
    folder = open_folder(folder_of(model) or EMBEDDED)
    tokenizer, layout = folder.tokenizer(), Layout.of(folder.config.max_context)
    found: dict[str, list[int]] = {KEY: [], LINE: [], ELSEWHERE: []}
    for typist in typists:
        before: tuple[int, ...] = ()
        for kind, request in typist.asked:
            ids = context_of(request, folder.config, tokenizer, layout).ids
            found[kind].append(len(ids) - common_prefix(before, ids))
            before = ids
    return {kind: slices(values) for kind, values in found.items()}


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
    counts, files = Counts(), texts()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokens = [add_user(folder / "users", f"user{n}") for n in range(plan.users)]
        with server(settings_of(args, plan, folder), folder) as (url, pid):
            typists = [
                Typist(n, url, token, files[n % len(files)], counts, args.elsewhere) for n, token in enumerate(tokens)
            ]
            for typist in typists:
                typist.start()
            time.sleep(SETTLE_S)
            first = cpu_s(pid)
            time.sleep(IDLE_S)
            before = cpu_s(pid)
            type_together(typists, args.seconds, plan.killed)
            cpu = between(before, cpu_s(pid))
            idle = {kind: used / IDLE_S for kind, used in between(first, before).items()}
            time.sleep(SETTLE_S)
            told, documents = counted(typists, args.replicas)
    return {
        **plan._asdict(),
        **counts.seen(plan.users, args.seconds),
        **work(told, len(counts.final_ms)),
        **around(cpu, idle, told, counts.requests, args.seconds),
        **{f"{kind}_cpu_s": used for kind, used in cpu.items()},
        "elsewhere_share": args.elsewhere,
        "line_keys": slices(counts.line_keys),
        "documents": documents,
        **new_tokens(typists, args.model),
    }


def settings_of(args: argparse.Namespace, plan: Plan, folder: Path) -> dict[str, Any]:
    """The configuration of a run's server."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    model = {"name": "bench", "model": args.model, "threads": args.threads, "replicas": args.replicas, "cpus": 0.1}
    limits = {"contextMb": args.context_mb}
    found = {"port": port, "users": str(folder / "users"), "byDocument": plan.by_document, "limits": limits}
    return {**found, "models": [{**model, "batch": plan.batch}]}


def type_together(typists: Sequence[Typist], seconds: float, killed: bool) -> None:
    """Let all of them type for so long; with `killed`, the first one's replica dies in the middle."""
    until_s = time.monotonic() + seconds
    threads = [threading.Thread(target=typist.type, args=(until_s,)) for typist in typists]
    for thread in threads:
        thread.start()
    if killed:
        time.sleep(seconds / 2)
        os.kill(int(typists[0].told("/v1/models")[0].split(".")[-1]), signal.SIGKILL)
    for thread in threads:
        thread.join()


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
    parser.add_argument("--elsewhere", type=float, default=0.2, help="share of lines not behind the last (%(default)s)")
    parser.add_argument("--context-mb", type=int, default=512, help="contextMb of a replica (%(default)s)")
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
    for name in (name for name, value in runs[0].items() if not isinstance(value, list)):
        print(f"{name:16}", *(f"{run[name]!s:>10}" for run in runs))
    about = {"model": args.model or "embedded", "replicas": args.replicas, "threads": args.threads}
    print(json.dumps({**about, "cores": cores(), "seconds": args.seconds, "runs": runs}))
    return 0


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
