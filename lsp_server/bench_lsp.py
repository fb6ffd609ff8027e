"""`mezzotint bench lsp`: starts the real server over stdio as an editor would, and measures it from outside.

Rule: no internals. Every number comes from messages and from the operating system; medians over several servers.
The table is for people, the last line of stdout is one JSON object.

    mezzotint bench lsp --runs 5
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lsp_server.client import Client

URI = "file:///bench.py"
N_COMPLETIONS = 100
LABELS = {
    "initialize_ms": "process start to `initialize` answered, ms",
    "first_completion_ms": "process start to the first completion, ms",
    "first_draft_ms": "request to first draft, ms",
    "final_ms": "request to final completion, ms",
    "forward_passes": "forward passes per completion",
    "rss_mb": f"resident memory after {N_COMPLETIONS} completions, MB",
}


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    except (OSError, StopIteration):  # not Linux
        kib = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
    return int(kib) / 1024


def sample_text() -> str:
    """A real file that every Python has."""
    import textwrap

    return inspect.getsource(textwrap)


def cursor_positions(text: str, n: int) -> list[tuple[int, int]]:
    """(line, character) in the middle of `n` lines of code, the same on every run; short files give lines again."""
    lines = text.split("\n")
    good = [i for i, line in enumerate(lines) if " = " in line and "#" not in line and '"' not in line]
    random.Random(0).shuffle(good)
    return [(i, lines[i].index(" = ") + 3) for i in itertools.islice(itertools.cycle(good), n)]


def cut_line(text: str, line: int, column: int) -> str:
    """The file as it is while its author writes that line."""
    lines = text.split("\n")
    lines[line] = lines[line][:column]
    return "\n".join(lines)


def initialize(client: Client) -> float:
    """Say hello; milliseconds from the start of the process to the answer."""
    options = {"drafts": True, "logLevel": "error"}
    params = {"processId": os.getpid(), "rootUri": None, "capabilities": {}, "initializationOptions": options}
    client.call("initialize", params)
    ms = (time.perf_counter() - client.began) * 1000
    client.notify("initialized", {})
    return ms


def complete(client: Client, version: int, text: str, line: int, column: int) -> tuple[list[float], float]:
    """(ms to every draft, ms to the answer) of one completion right behind an edit."""
    changes = [{"text": cut_line(text, line, column)}]
    client.notify(
        "textDocument/didChange", {"textDocument": {"uri": URI, "version": version}, "contentChanges": changes}
    )
    drafts: list[float] = []
    began = time.perf_counter()

    def heard(method: str, params: Any) -> None:
        if method == "mezzotint/draft":
            drafts.append((time.perf_counter() - began) * 1000)

    where = {"textDocument": {"uri": URI}, "position": {"line": line, "character": column}}
    params = {**where, "context": {"triggerKind": 1}, "workDoneToken": f"bench-{version}"}
    client.call("textDocument/inlineCompletion", params, heard)
    return drafts, (time.perf_counter() - began) * 1000


def measure_once(text: str, positions: list[tuple[int, int]]) -> dict[str, list[float]]:
    """Start one server, complete at every position, look at its memory."""
    numbers: dict[str, list[float]] = {name: [] for name in LABELS}
    with Client() as client:
        numbers["initialize_ms"].append(initialize(client))
        document = {"uri": URI, "languageId": "python", "version": 0, "text": text}
        client.notify("textDocument/didOpen", {"textDocument": document})
        complete(client, 1, text, *positions[0])  # waits for the model to load
        numbers["first_completion_ms"].append((time.perf_counter() - client.began) * 1000)
        for version, (line, column) in enumerate(positions[1:], 2):
            drafts, final_ms = complete(client, version, text, line, column)
            numbers["first_draft_ms"] += drafts[:1]
            numbers["final_ms"].append(final_ms)
            numbers["forward_passes"].append(client.call("mezzotint/stats", {})["lastForwardPasses"])
        numbers["rss_mb"].append(resident_mb(client.process.pid))
        client.call("shutdown", None)
        client.notify("exit", {})
    return numbers


def main(argv: list[str] | None = None) -> int:
    """Print the table and the JSON line; 1 and one line on stderr if the server fails."""
    about = "Start the server several times over stdio and measure it from outside."
    parser = argparse.ArgumentParser(prog="mezzotint bench lsp", description=about)
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="servers to start (default %(default)s)")
    args = parser.parse_args(argv)
    text = sample_text()
    positions = cursor_positions(text, N_COMPLETIONS + 1)
    gathered: dict[str, list[float]] = {name: [] for name in LABELS}
    try:
        for run in range(args.runs):
            print(f"\rserver {run + 1} of {args.runs}", end="", file=sys.stderr, flush=True)
            for name, values in measure_once(text, positions).items():
                gathered[name] += values
    except (ValueError, OSError) as error:
        print(f"\nmezzotint bench lsp: {error}", file=sys.stderr)
        return 1
    print(file=sys.stderr)
    medians = {name: round(statistics.median(values), 1) if values else None for name, values in gathered.items()}
    for name, label in LABELS.items():
        print(f"{label:48}{medians[name] if medians[name] is not None else '-':>10}")
    print(json.dumps({**medians, "runs": args.runs, "completions": N_COMPLETIONS}))
    return 0
