"""`mezzotint eval replay`: plays the writing of held-out functions through the real server, key by key.

Rule: a user with a fixed seed: types, makes typos and deletes them, accepts a suggestion when it is all right. What is
counted is what that user would notice. The table is for people, the last line of stdout is one JSON object.

    mezzotint eval replay --functions 50 --compare liveCanvas
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diffusion.evaluate.cases import SourceFile, read_folder
from diffusion.grammars import language_of
from diffusion.held_out import PYTHON_FOLDERS, SCRIPT_FOLDERS
from lsp_server.suggest.feedback import errors_of
from lsp_server.text import syntax
from lsp_server.text.brackets import surplus_closers
from lsp_server.tools.client import Client
from lsp_server.tools.typist import Typist

LANGUAGES = {"python": ("python",), "javascript": ("javascript", "typescript")}
FUNCTIONS = ("function_definition", "function_declaration", "method_definition")
LINES, MAX_CHARS = range(3, 16), 420  # of a function that is worth its time
SERVER_TIMEOUT_S = 3600


@dataclass(frozen=True)
class Task:
    """A function to write: the file before and after it, its text, and files that are open beside it."""

    name: str
    before: str
    truth: str
    after: str
    beside: tuple[SourceFile, ...] = ()


@dataclass
class Counts:
    """What was seen; `figures` makes rates of it."""

    keystrokes: int = 0
    requests: int = 0
    shown: int = 0
    accepted: int = 0
    truth_chars: int = 0
    accepted_chars: int = 0
    shown_chars: int = 0
    right_chars: int = 0
    followed: int = 0
    flickers: int = 0
    suggestions: int = 0
    broken: int = 0
    doubled: int = 0
    forward_passes: int = 0
    ms: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """The rates that the table shows."""
        return {
            "keystrokes": self.keystrokes,
            "saved_share": self.accepted_chars / max(1, self.truth_chars),
            "shown_rate": self.shown / max(1, self.requests),
            "accepted_rate": self.accepted / max(1, self.suggestions),
            "right_prefix_share": self.right_chars / max(1, self.shown_chars),
            "flicker_rate": self.flickers / max(1, self.followed),
            "forward_passes_per_keystroke": self.forward_passes / max(1, self.keystrokes),
            "ms_median": statistics.median(self.ms or [0.0]),
            "ms_p95": statistics.quantiles(self.ms, n=20)[-1] if len(self.ms) > 1 else 0.0,
            "suggestions": self.suggestions,
            "doubled_closers": self.doubled,
            "broken_parses": self.broken,
            "broken_share": self.broken / max(1, self.suggestions),
        }


def tasks(files: list[SourceFile], n: int, seed: int, n_beside: int) -> list[Task]:
    """`n` functions, at most one of a file, drawn evenly; `n_beside` files of the same folder are open as well."""
    rng = random.Random(seed)
    order = list(files)
    rng.shuffle(order)
    found: list[Task] = []
    for file in order:
        if len(found) < n and (here := functions(file)):
            folder = [other for other in files if Path(other.name).parent == Path(file.name).parent and other != file]
            beside = rng.sample(folder, min(n_beside, len(folder)))
            found.append(replace(rng.choice(here), beside=tuple(beside)))
    return found


def functions(file: SourceFile) -> list[Task]:
    """The functions of a file that parses, if they are neither too short nor too long."""
    source = file.text.encode()
    tree = syntax.parse(language_of(file.name), source)
    assert tree is not None
    nodes, found = [tree.root_node], []
    while nodes and not tree.root_node.has_error:
        node = nodes.pop()
        nodes.extend(node.children)
        text = source[node.start_byte : node.end_byte].decode()
        if node.type in FUNCTIONS and text.count("\n") + 1 in LINES and len(text) <= MAX_CHARS:
            before, after = source[: node.start_byte].decode(), source[node.end_byte :].decode()
            found.append(Task(file.name, before, text, after))
    return found


def n_errors(text: str, language: str) -> int:
    """Errors that the parser finds in a file."""
    tree = syntax.parse(language, text.encode())
    assert tree is not None
    return sum(1 for _ in errors_of(tree.root_node))


class Replay:
    """One server, and what its user sees."""

    def __init__(self, client: Client, counts: Counts, seed: int) -> None:
        self.client, self.counts, self.seed = client, counts, seed
        self.uri, self.version = "", 0

    def play(self, number: int, task: Task) -> None:
        """Write one function."""
        typist = Typist(task.before, task.truth, task.after, random.Random(f"{self.seed} {number}"), number % 2 == 0)
        self.uri, self.version = f"file:///replay/{number}/{task.name}", 1
        for other in task.beside:
            self.open(f"file:///replay/{number}/{other.name}", other.text)
        self.open(self.uri, typist.text)
        self.counts.truth_chars += len(task.truth)
        shown = remembered = judged = ""
        for key in typist.keys():
            self.counts.keystrokes += 1
            if key.why == "typo":
                remembered = shown
            expected = (
                remembered if key.why == "undo" else shown[len(key.typed) :] if shown.startswith(key.typed) else ""
            )
            self.change(typist, key.start, key.stop, key.new, key.typed)
            shown, end = self.ask(typist)
            if expected.strip() and key.why != "typo":
                self.counts.followed += 1
                self.counts.flickers += shown != expected
            if shown and shown not in (expected, judged):
                self.judge(typist, shown, end)
            judged = shown
            if shown and typist.agrees(shown):
                self.counts.accepted += 1
                self.counts.accepted_chars += len(shown)
                self.change(typist, len(typist.before), end, shown, shown)
                shown = ""
        for uri in (self.uri, *(f"file:///replay/{number}/{other.name}" for other in task.beside)):
            self.client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})

    def open(self, uri: str, text: str) -> None:
        """Open a file in the editor."""
        document = {"uri": uri, "languageId": language_of(uri), "version": 1, "text": text}
        self.client.notify("textDocument/didOpen", {"textDocument": document})

    def change(self, typist: Typist, start: int, stop: int, new: str, typed: str) -> None:
        """Send an edit of the document as it is on the server: offsets into the text before the edit."""
        self.version += 1
        span = {"start": typist.point(start), "end": typist.point(stop)}
        typist.splice(start, stop, new, typed)
        document = {"uri": self.uri, "version": self.version}
        changes = [{"range": span, "text": new}]
        self.client.notify("textDocument/didChange", {"textDocument": document, "contentChanges": changes})

    def ask(self, typist: Typist) -> tuple[str, int]:
        """Request a suggestion: its text ("" for none) and the end of what it replaces."""
        where = {"textDocument": {"uri": self.uri}, "position": typist.point(len(typist.before))}
        began = time.perf_counter()
        answer = self.client.call("textDocument/inlineCompletion", {**where, "context": {"triggerKind": 2}})
        self.counts.ms.append((time.perf_counter() - began) * 1000)
        self.counts.requests += 1
        items = answer["items"] if answer else []
        self.counts.shown += bool(items)
        return (items[0]["insertText"], typist.offset(items[0]["range"]["end"])) if items else ("", 0)

    def judge(self, typist: Typist, shown: str, end: int) -> None:
        """Count what a new suggestion would do if it were accepted, right or wrong."""
        counts, at = self.counts, len(typist.before)
        counts.suggestions += 1
        counts.shown_chars += len(shown)
        counts.right_chars += typist.right_chars(shown)
        after = typist.text[:at] + shown + typist.text[end:]
        counts.doubled += len(surplus_closers(after)) > len(surplus_closers(typist.text))
        language = language_of(self.uri)
        counts.broken += n_errors(after, language) > n_errors(typist.text, language)


def run(chosen: list[Task], options: dict[str, Any], seed: int, label: str) -> Counts:
    """Play all functions through one server."""
    counts = Counts()
    with Client(SERVER_TIMEOUT_S) as client:
        params = {
            "processId": os.getpid(),
            "rootUri": None,
            "capabilities": {"general": {"positionEncodings": ["utf-32"]}},
        }
        client.call("initialize", {**params, "initializationOptions": options})
        client.notify("initialized", {})
        replay = Replay(client, counts, seed)
        for number, task in enumerate(chosen):
            print(f"\r{label}: {number}/{len(chosen)} functions", end="", file=sys.stderr, flush=True)
            replay.play(number, task)
        counts.forward_passes = client.call("mezzotint/stats", {})["forwardPasses"]
    print(f"\r{label}: {len(chosen)} functions   {counts.figures()}", file=sys.stderr)
    return counts


def setting(text: str) -> tuple[str, Any]:
    """An option of the server as the command line gives it: liveCanvas=false."""
    name, _, value = text.partition("=")
    return name, json.loads(value)


def make_parser() -> argparse.ArgumentParser:
    """The command line of `mezzotint eval replay`."""
    parser = argparse.ArgumentParser(prog="mezzotint eval replay", description=__doc__)
    parser.add_argument("--holdout", type=Path, default=Path(".corpus/heldout"), metavar="DIR", help="(%(default)s)")
    parser.add_argument(
        "--language", choices=LANGUAGES, default="python",
        help="of the held-out packages (%(default)s; javascript is TypeScript too)",
    )  # fmt: skip
    parser.add_argument("--functions", type=int, default=50, metavar="N", help="functions to write (50)")
    parser.add_argument("--seed", type=int, default=0, help="other seeds write other functions (0)")
    parser.add_argument("--beside", type=int, default=0, metavar="N", help="other open files of the same folder (0)")
    parser.add_argument("--set", type=setting, action="append", default=[], metavar="OPTION=JSON", help="server option")
    parser.add_argument("--compare", action="append", default=[], metavar="OPTION", help="also run with it off")
    return parser


def runs(args: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and server options of the runs wanted."""
    options = {"logLevel": "error", **dict(args.set)}
    yield "as set", options
    for name in args.compare:
        yield f"{name} off", {**options, name: False}


def main(argv: list[str] | None = None) -> int:
    """Run the replay; 2 and one line on stderr if the held-out packages are missing."""
    args = make_parser().parse_args(argv)
    packages = PYTHON_FOLDERS if args.language == "python" else SCRIPT_FOLDERS
    files = read_folder(args.holdout, packages, LANGUAGES[args.language])
    chosen = tasks(files, args.functions, args.seed, args.beside)
    if not chosen:
        print(
            f"mezzotint eval replay: no held-out functions in {args.holdout}; `make holdout` fetches them",
            file=sys.stderr,
        )
        return 2
    results = {name: run(chosen, options, args.seed, name).figures() for name, options in runs(args)}
    width = max(len(name) for name in results)
    names = list(next(iter(results.values())))
    print(" " * 30, *(f"{name:>{width}}" for name in results))
    for name in names:
        print(f"{name:30}", *(f"{figures[name]:{width}.3f}" for figures in results.values()))
    print(json.dumps({"functions": len(chosen), "seed": args.seed, **results["as set"], "compared": {
        name: figures for name, figures in results.items() if name != "as set"
    }}))  # fmt: skip
    return 0
