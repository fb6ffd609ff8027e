"""`mezzotint bench parse`: what a keystroke in a long file costs before the model is asked: edit, parse, mask.

Rule: the server's own Document and mask, on real source of 5,000 lines; keys of several kinds, broken code included.
The table is for people, the last line of stdout is one JSON object.

    mezzotint bench parse --lines 5000
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import random
import statistics
import time

from lsp_server.suggest.holes import plan_at
from lsp_server.text.documents import Document
from lsp_server.text.lines import Edit
from lsp_server.text.trees import Trees

MODULES = ("argparse", "typing", "inspect", "subprocess", "tarfile", "zipfile", "pathlib", "logging", "unittest.mock")
KEYS = {"letter": "a", "line break": "\n    ", "bracket": "(", "quote": '"', "three quotes": '"""'}


def long_file(n_lines: int) -> str:
    """Real source of so many lines."""
    text = "\n".join(inspect.getsource(importlib.import_module(name)) for name in MODULES)
    lines = text.split("\n")
    while len(lines) < n_lines:
        lines += lines
    return "\n".join(lines[:n_lines]) + "\n"


def keystroke(document: Document, version: int, edit: Edit, offset: int) -> tuple[float, float, float]:
    """Milliseconds of one key: edit, parse, mask."""
    times = [time.perf_counter()]
    document.change(version, [edit])
    times.append(time.perf_counter())
    snapshot = document.snapshot()
    assert snapshot.tree is not None  # parsed by looking at it
    times.append(time.perf_counter())
    plan_at(snapshot, offset)
    times.append(time.perf_counter())
    first, second, third = (1000 * (b - a) for a, b in zip(times, times[1:], strict=False))
    return first, second, third


def measure(text: str, key: str, n: int) -> list[tuple[float, float, float]]:
    """Type `key` at `n` places of code, and delete it again."""
    document = Document("file:///bench.py", 0, Trees("python"), text, "utf-32", 10_000_000)
    opened = document.snapshot()
    assert opened.tree is not None
    starts = opened.lines
    rng, lines, found = random.Random(0), text.split("\n"), []
    code = [i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith(("#", '"'))]
    for number in range(n):
        line = rng.choice(code)
        column = len(lines[line])
        offset = starts[line] + column
        found.append(keystroke(document, 2 * number + 1, Edit((line, column), (line, column), key), offset + len(key)))
        after = (line + key.count("\n"), len(key) - key.rfind("\n") - 1 if "\n" in key else column + len(key))
        document.change(2 * number + 2, [Edit((line, column), after, "")])
        assert document.snapshot().tree is not None
    return found


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="mezzotint bench parse", description=__doc__)
    parser.add_argument("--lines", type=int, default=5000, metavar="N", help="length of the file (5000)")
    parser.add_argument("--keys", type=int, default=100, metavar="N", help="keys of each kind (100)")
    args = parser.parse_args(argv)
    text = long_file(args.lines)
    print(f"{args.lines:,} lines, {len(text):,} characters; ms, medians; all is their sum for each key\n")
    print(f"{'key':14}{'edit':>8}{'parse':>8}{'mask':>8}{'all':>8}{'p99':>8}")
    results, everything = {}, []
    for name, key in KEYS.items():
        times = measure(text, key, args.keys)
        sums = [sum(parts) for parts in times]
        everything += sums
        edit, parse, mask = (statistics.median(part) for part in zip(*times, strict=True))
        p99 = statistics.quantiles(sums, n=100)[-1]
        results[name] = {"edit": edit, "parse": parse, "mask": mask, "all": statistics.median(sums), "p99": p99}
        print(f"{name:14}" + "".join(f"{value:8.2f}" for value in results[name].values()))
    whole = {"median": statistics.median(everything), "p99": statistics.quantiles(everything, n=100)[-1]}
    print(f"{'all keys':14}{whole['median']:32.2f}{whole['p99']:8.2f}")
    print(json.dumps({"lines": args.lines, "keys": results, **whole}))
    return 0
