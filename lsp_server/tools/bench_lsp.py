"""`mezzotint bench lsp`: starts the real server over stdio, types in it as a person does, and measures from outside.

Rule: no internals. Every number comes from messages and from the operating system; medians over several servers. Typed
keys are one-character changes with a request of trigger kind 2 (automatic) behind each; a request of kind 1 (by hand)
asks for several candidates and is reported apart. The table is for people, the last line of stdout is one JSON object.

    mezzotint bench lsp --runs 5 --model .base/smollm2-135m
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

from lsp_server.tools.client import Client

URI = "file:///bench.py"
N_PLACES, KEYS = 25, 6  # places where a line is gone on with, and keys typed at each
LABELS = {
    "initialize_ms": "process start to `initialize` answered, ms",
    "first_completion_ms": "process start to the first completion, ms",
    "key_to_draft_ms": "typed key to first draft, where the model was asked, ms",
    "key_to_final_ms": "typed key to final, where the model was asked, ms",
    "key_to_final_p90_ms": "the same, 90th percentile, ms",
    "known_key_ms": "typed key to final, answered from memory, ms",
    "asked_share": "share of typed keys for which the model was asked",
    "passes_per_asked_key": "forward passes per key for which it was asked",
    "by_hand_ms": "request by hand to final, ms",
    "by_hand_passes": "forward passes per request by hand",
    "rss_mb": "resident memory at the end, MB",
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


def initialize(client: Client, model: str) -> float:
    """Say hello; milliseconds from the start of the process to the answer."""
    options = {"drafts": True, "logLevel": "error", "model": model}
    params = {"processId": os.getpid(), "rootUri": None, "capabilities": {}, "initializationOptions": options}
    client.call("initialize", params)
    ms = (time.perf_counter() - client.began) * 1000
    client.notify("initialized", {})
    return ms


class Editor:
    """One open file; every change is one range, as editors send them."""

    def __init__(self, client: Client, text: str) -> None:
        self.client, self.lines, self.version = client, text.split("\n"), 0
        document = {"uri": URI, "languageId": "python", "version": 0, "text": text}
        client.notify("textDocument/didOpen", {"textDocument": document})

    def change(self, line: int, start: int, stop: int, new: str) -> None:
        """Put `new` in place of the columns [start, stop) of a line."""
        self.version += 1
        self.lines[line] = self.lines[line][:start] + new + self.lines[line][stop:]
        span = {"start": {"line": line, "character": start}, "end": {"line": line, "character": stop}}
        document = {"uri": URI, "version": self.version}
        changes = [{"range": span, "text": new}]
        self.client.notify("textDocument/didChange", {"textDocument": document, "contentChanges": changes})

    def ask(self, line: int, column: int, kind: int) -> tuple[list[float], float, int]:
        """(ms to every draft, ms to the answer, forward passes) of one request."""
        before = self.client.call("mezzotint/stats", {})["forwardPasses"]
        drafts: list[float] = []
        began = time.perf_counter()

        def heard(method: str, params: Any) -> None:
            if method == "mezzotint/draft":
                drafts.append((time.perf_counter() - began) * 1000)

        where = {"textDocument": {"uri": URI}, "position": {"line": line, "character": column}}
        params = {**where, "context": {"triggerKind": kind}, "workDoneToken": f"bench-{began}"}
        self.client.call("textDocument/inlineCompletion", params, heard)
        ms = (time.perf_counter() - began) * 1000
        return drafts, ms, self.client.call("mezzotint/stats", {})["forwardPasses"] - before


def type_on(editor: Editor, line: int, column: int, numbers: dict[str, list[float]]) -> None:
    """Cut a line at a column, let the model look, then type what stood there, a request behind every key."""
    whole = editor.lines[line]
    editor.change(line, column, len(whole), "")
    editor.ask(line, column, 2)
    for key in whole[column : column + KEYS]:
        editor.change(line, column, column, key)
        column += 1
        drafts, ms, passes = editor.ask(line, column, 2)
        numbers["asked_share"].append(passes > 0)
        numbers["key_to_final_ms" if passes else "known_key_ms"].append(ms)
        if passes:
            numbers["key_to_draft_ms"] += drafts[:1]
            numbers["passes_per_asked_key"].append(passes)
    _, ms, passes = editor.ask(line, column, 1)
    numbers["by_hand_ms"].append(ms)
    numbers["by_hand_passes"].append(passes)
    editor.change(line, 0, len(editor.lines[line]), whole)


def measure_once(text: str, positions: list[tuple[int, int]], model: str) -> dict[str, list[float]]:
    """Start one server, type at every position, look at its memory."""
    numbers: dict[str, list[float]] = {name: [] for name in LABELS}
    with Client() as client:
        numbers["initialize_ms"].append(initialize(client, model))
        editor = Editor(client, text)
        editor.ask(*positions[0], 1)  # waits for the model to load
        numbers["first_completion_ms"].append((time.perf_counter() - client.began) * 1000)
        for line, column in positions[1:]:
            type_on(editor, line, column, numbers)
        numbers["rss_mb"].append(resident_mb(client.process.pid))
        client.call("shutdown", None)
        client.notify("exit", {})
    return numbers


def summary(numbers: dict[str, list[float]]) -> dict[str, float | None]:
    """Medians; means of what is a share or a count, and the 90th percentile."""
    figures: dict[str, float | None] = {}
    for name, values in numbers.items():
        mean = name.endswith(("share", "passes", "key")) and not name.endswith("ms")
        figures[name] = round(statistics.mean(values) if mean else statistics.median(values), 2) if values else None
    final = numbers["key_to_final_ms"]
    figures["key_to_final_p90_ms"] = round(statistics.quantiles(final, n=10)[-1], 2) if len(final) > 1 else None
    return figures


def main(argv: list[str] | None = None) -> int:
    """Print the table and the JSON line; 1 and one line on stderr if the server fails."""
    about = "Start the server several times over stdio and measure it from outside."
    parser = argparse.ArgumentParser(prog="mezzotint bench lsp", description=about)
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="servers to start (default %(default)s)")
    parser.add_argument("--model", default="", metavar="FOLDER", help="model folder (default: the embedded model)")
    args = parser.parse_args(argv)
    text = sample_text()
    positions = cursor_positions(text, N_PLACES + 1)
    gathered: dict[str, list[float]] = {name: [] for name in LABELS}
    try:
        for run in range(args.runs):
            print(f"\rserver {run + 1} of {args.runs}", end="", file=sys.stderr, flush=True)
            for name, values in measure_once(text, positions, args.model).items():
                gathered[name] += values
    except (ValueError, OSError) as error:
        print(f"\nmezzotint bench lsp: {error}", file=sys.stderr)
        return 1
    print(file=sys.stderr)
    figures = summary(gathered)
    for name, label in LABELS.items():
        print(f"{label:60}{figures[name] if figures[name] is not None else '-':>10}")
    keys = len(gathered["asked_share"])
    print(json.dumps({**figures, "model": args.model or "embedded", "runs": args.runs, "typed_keys": keys}))
    return 0
