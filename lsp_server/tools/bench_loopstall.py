"""`mezzotint bench loopstall`: how long the real server hears nothing while it is given what is hard to digest.

Rule: no internals. A cheap request goes out every few milliseconds on the same connection; the longest wait for its
answer is what the event loop was held, pipes and threads included, less the time in which its thread was ready and
waited for a core (Linux says so). Other programs can only make it longer, so of several runs the shortest counts.
The table is for people, the last line of stdout is one JSON object.

    mezzotint bench loopstall --runs 3
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from lsp_server.tools import slow_disk
from lsp_server.tools.client import Client, read_message
from lsp_server.tools.slow_disk import DELAY_MS, NotPossibleError

EVERY_S = 0.003
LIMIT_MS, PARSING_LIMIT_MS = 50, 150  # the second where tree-sitter alone takes long over one piece of the text
PYTHON = "def read_settings(path, depth):\n    value = other(path)\n    return value  # a comment\n\n"


class Editor:
    """Sends messages, and waits for answers with the clock running."""

    def __init__(self, client: Client) -> None:
        """Say hello, and wait until the model is there."""
        self.client, self.longest_ms = client, 0.0
        self.versions: dict[str, int] = {}
        options = {"logLevel": "error", "drafts": True}
        client.call("initialize", {"processId": os.getpid(), "capabilities": {}, "initializationOptions": options})
        client.notify("initialized", {})
        self.open("file:///first.py", PYTHON)
        self.wait(self.ask("file:///first.py", 1, 12))
        self.longest_ms = 0.0

    def open(self, uri: str, text: str, language: str = "python") -> None:
        """Open a document."""
        self.versions[uri] = 1
        document = {"uri": uri, "languageId": language, "version": 1, "text": text}
        self.client.notify("textDocument/didOpen", {"textDocument": document})

    def change(self, uri: str, *edits: tuple[int, int, int, str]) -> None:
        """Apply edits (line, start, end, new text), all in one message."""
        self.versions[uri] += 1
        changes = []
        for line, start, end, text in edits:
            span = {"start": {"line": line, "character": start}, "end": {"line": line, "character": end}}
            changes.append({"range": span, "text": text})
        document = {"uri": uri, "version": self.versions[uri]}
        self.client.notify("textDocument/didChange", {"textDocument": document, "contentChanges": changes})

    def ask(self, uri: str, line: int, column: int) -> int:
        """Ask for a completion as typing does; return the number of the request."""
        where = {"textDocument": {"uri": uri}, "position": {"line": line, "character": column}}
        return self._send("textDocument/inlineCompletion", {**where, "context": {"triggerKind": 2}})

    def wait(self, wanted: int | None = None) -> None:
        """Ask for the counters again and again, at least once, until a request is answered."""
        answered = wanted is None
        while True:
            began, queued_ms = time.perf_counter(), self._queued_ms()
            ping = self._send("mezzotint/stats", {})
            heard = 0
            while heard != ping:
                message = read_message(self.client.process.stdout)
                heard = message.get("id", 0) if "method" not in message else 0
                answered = answered or heard == wanted
            silence_ms = (time.perf_counter() - began) * 1000
            self.longest_ms = max(self.longest_ms, silence_ms - (self._queued_ms() - queued_ms))
            if answered:
                return
            time.sleep(EVERY_S)

    def _queued_ms(self) -> float:
        """How long the loop's thread, the server's first, has waited for a core so far; 0 where no system tells."""
        pid = self.client.process.pid
        try:
            return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e6
        except (OSError, IndexError):
            return 0.0

    def _send(self, method: str, params: dict[str, Any]) -> int:
        """Send a request; return its number."""
        self.client.last_id += 1
        self.client.send({"id": self.client.last_id, "method": method, "params": params})
        return self.client.last_id


def nothing(editor: Editor, folder: Path) -> None:
    """Ask for what is simple, to know what a wait is made of."""
    editor.wait(editor.ask("file:///first.py", 1, 12))


def one_line(editor: Editor, folder: Path) -> None:
    """Complete in the middle of one endless expression, then type in it."""
    text = "x = " + "+".join(["a.b(c)"] * 60_000) + "\n"
    editor.open("file:///sum.py", text)
    editor.wait()
    for key in range(5):
        editor.wait(editor.ask("file:///sum.py", 0, len(text) // 2 + key))
        editor.change("file:///sum.py", (0, len(text) // 2 + key, len(text) // 2 + key, "a"))


def brackets(editor: Editor, folder: Path) -> None:
    """Complete behind more brackets than anyone opens."""
    editor.open("file:///deep.json", "[" * 50_000 + "\n", "json")
    for key in range(5):
        editor.wait(editor.ask("file:///deep.json", 0, 50_000 + key))
        editor.change("file:///deep.json", (0, 50_000 + key, 50_000 + key, "["))


def long_file(editor: Editor, folder: Path) -> None:
    """Open a file of almost 1 MB, complete and type in it."""
    editor.open("file:///long.py", PYTHON * 11_000)
    for key in range(5):
        editor.wait(editor.ask("file:///long.py", 20_001, 12 + key))
        editor.change("file:///long.py", (20_001, 12 + key, 12 + key, "a"))


def many_edits(editor: Editor, folder: Path) -> None:
    """Replace a name in 5,000 lines of a file of almost 1 MB, in one message."""
    editor.open("file:///many.py", PYTHON * 11_000)
    editor.wait(editor.ask("file:///many.py", 20_001, 12))
    editor.change("file:///many.py", *((4 * line + 1, 4, 9, "result") for line in range(5_000)))
    editor.wait(editor.ask("file:///many.py", 20_001, 12))


def many_files(chars: int) -> Callable[[Editor, Path], None]:
    """Type in one of 60 open files, then in another."""

    def case(editor: Editor, folder: Path) -> None:
        """Open files that differ, and type."""
        for number in range(60):
            text = PYTHON.replace("value", f"value_{number}")
            editor.open(f"file:///open{number}.py", text * (chars // len(text)))
            editor.wait()
        for key in range(10):
            uri = f"file:///open{key // 5}.py"
            editor.change(uri, (101, 12 + key % 5, 12 + key % 5, "a"))
            editor.wait(editor.ask(uri, 101, 13 + key % 5))

    return case


def fifo(editor: Editor, folder: Path) -> None:
    """Complete beside a .gitignore that is a pipe nobody writes to."""
    if not hasattr(os, "mkfifo"):
        raise NotPossibleError("this system has no named pipes")
    os.mkfifo(folder / ".gitignore")
    beside(editor, folder)


def long_gitignore(editor: Editor, folder: Path) -> None:
    """Complete beside a .gitignore of 5,000 lines."""
    (folder / ".gitignore").write_text("".join(f"*.made{n}\n" for n in range(5_000)), encoding="utf-8")
    beside(editor, folder)


def beside(editor: Editor, folder: Path) -> None:
    """Complete in one of two files of a folder."""
    (folder / ".git").mkdir()
    for name in ("a.py", "b.py"):
        editor.open((folder / name).as_uri(), PYTHON)
    editor.wait(editor.ask((folder / "a.py").as_uri(), 1, 12))


def slow(editor: Editor, folder: Path) -> None:
    """Open, complete and type in files of a repository whose disk is slow, with a nested .gitignore that changes."""
    if shutil.which("git") is None:
        raise NotPossibleError("git is not on the PATH")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    package = folder / "package"
    package.mkdir()
    for name in ("a.py", "b.py"):
        (package / name).write_text(PYTHON, encoding="utf-8")
        editor.open((package / name).as_uri(), PYTHON)
    began = time.perf_counter()
    for key in range(5):
        (package / ".gitignore").write_text(f"*.made{key}\n", encoding="utf-8")
        editor.wait(editor.ask((package / "a.py").as_uri(), 1, 12 + key))
        editor.change((package / "a.py").as_uri(), (1, 12 + key, 12 + key, "a"))
    if time.perf_counter() - began < DELAY_MS / 1000:
        raise NotPossibleError("the disk was not slow: what was preloaded had no effect")


class Case(NamedTuple):
    """Something hard to digest."""

    name: str
    label: str
    run: Callable[[Editor, Path], None]
    limit_ms: int = LIMIT_MS
    on_slow_disk: bool = False


CASES = (
    Case("nothing", "nothing special", nothing),
    Case("one_line", "a sum of 420 kB on one line", one_line, PARSING_LIMIT_MS),
    Case("brackets", "50 kB of [ in JSON", brackets, PARSING_LIMIT_MS),
    Case("long_file", "a file of 1 MB", long_file, PARSING_LIMIT_MS),
    Case("many_edits", "5,000 edits at once in a file of 1 MB", many_edits, PARSING_LIMIT_MS),
    Case("files_small", "60 open files, 640 kB in all", many_files(11_000)),
    Case("files_large", "60 open files, 7 MB in all", many_files(120_000)),
    Case("fifo", "a .gitignore that is a pipe", fifo),
    Case("gitignore", "a .gitignore of 5,000 lines", long_gitignore),
    Case("slow_disk", f"a repository where each look takes {DELAY_MS} ms", slow, on_slow_disk=True),
)


def longest_ms(case: Case) -> float:
    """The longest that a new server heard nothing."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made, "opened")
        folder.mkdir()
        environment = slow_disk.environment(folder, build=Path(made)) if case.on_slow_disk else None
        with Client(environment=environment) as client:
            editor = Editor(client)
            case.run(editor, folder)
            return editor.longest_ms


def measure(case: Case, runs: int, figures: dict[str, float]) -> None:
    """Add a case to the figures and print its line, or print why this machine cannot measure it."""
    try:
        figures[case.name] = round(min(longest_ms(case) for _ in range(runs)), 1)
    except NotPossibleError as error:
        print(f"{case.label:50}  not measured: {error}", flush=True)
        return
    late = "  too long" if figures[case.name] > case.limit_ms else ""
    print(f"{case.label:50}{figures[case.name]:8.1f}{case.limit_ms:8}{late}", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Print the table and the JSON line; 1 where the loop was held for too long, or the server fails."""
    about = "Give the real server what is hard to digest and measure for how long it hears nothing."
    parser = argparse.ArgumentParser(prog="mezzotint bench loopstall", description=about)
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="servers for each case (default %(default)s)")
    parser.add_argument("--only", choices=[case.name for case in CASES], help="one case alone")
    args = parser.parse_args(argv)
    figures: dict[str, float] = {}
    print(f"{'longest silence, ms; the shortest of ' + str(args.runs) + ' runs':50}{'held':>8}{'limit':>8}")
    try:
        for case in CASES:
            if args.only in (None, case.name):
                measure(case, args.runs, figures)
    except (ValueError, OSError) as error:
        print(f"mezzotint bench loopstall: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"longest_ms": figures, "limits_ms": {case.name: case.limit_ms for case in CASES}}))
    return int(any(figures.get(case.name, 0) > case.limit_ms for case in CASES))
