"""`mezzotint bench lsp`: starts the real server over stdio, types in it as a person does, and measures from outside.

Rule: no internals. Every number comes from messages and from the operating system; percentiles over all keys of several
servers. Typed keys are one-character changes with a request of trigger kind 2 (automatic) behind each; a request of
kind 1 (by hand) asks for several candidates and is reported apart. With --llama the same is done to llama.cpp's server,
in turns with ours. The table is for people, the last line of stdout is one JSON object.

    mezzotint bench lsp --runs 5 --llama .base/SmolLM2-135M-Instruct.Q8_0.gguf
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import json
import os
import random
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from lsp_server.tools import bench_keys
from lsp_server.tools.bench_keys import Numbers
from lsp_server.tools.bench_llama import Llama
from lsp_server.tools.bench_ours import Ours
from lsp_server.tools.client import Client

TIMEOUT_S = 1_200  # on a busy machine
N_PLACES = 25  # where a line is gone on with, some keys at each
LABELS = {  # of what `summary` gives
    "initialize_ms": "process start until it can be asked, ms",
    "first_completion_ms": "process start to the first completion, ms",
    "key_to_draft_ms": "typed key to first draft, where the model was asked, ms",
    "key_to_draft_p90_ms": "the same, 90th percentile",
    "key_to_draft_p99_ms": "the same, 99th percentile",
    "key_to_final_ms": "typed key to final, where the model was asked, ms",
    "key_to_final_p90_ms": "the same, 90th percentile",
    "key_to_final_p99_ms": "the same, 99th percentile",
    "known_key_ms": "typed key to final, answered from memory, ms",
    "asked_share": "share of typed keys for which the model was asked",
    "passes_per_asked_key": "forward passes per key for which it was asked",
    "by_hand_ms": "request by hand to final, ms",
    "by_hand_passes": "forward passes per request by hand",
    "cancel_ms": "a request is cancelled until that is answered, ms",
    "behind_cancelled_ms": "request behind a cancelled one to final, ms",
    "storm_requests_per_s": "requests a second in a storm of typing",
    "cpu_s_per_1000_keys": "seconds of CPU per 1,000 typed keys",
    "rss_first_mb": "resident memory behind the first place, MB",
    "rss_mb": "resident memory at the end, MB",
}
MEANS = ("asked_share", "passes_per_asked_key", "by_hand_passes")
PERCENTILES = {"key_to_draft_ms": (90, 99), "key_to_final_ms": (90, 99)}


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


def ours(text: str, positions: Sequence[tuple[int, int]], model: str) -> Numbers:
    """One server of ours, from its start to its end."""
    with Client(TIMEOUT_S) as client:
        numbers = bench_keys.measure(Ours(client, text, model), positions)
        client.call("shutdown", None)
        client.notify("exit", {})
    return numbers


def percentile(values: Sequence[float], percent: int) -> float:
    """The least value that so many percent of the values do not exceed."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


def summary(numbers: Numbers) -> dict[str, float | None]:
    """Medians, with percentiles of what a user waits for; means of what is a share or a count."""
    figures: dict[str, float | None] = dict.fromkeys(LABELS)
    for name, values in numbers.items():
        if name in LABELS and values:
            figures[name] = round(statistics.mean(values) if name in MEANS else statistics.median(values), 2)
        for percent in PERCENTILES.get(name, ()) if values else ():
            figures[f"{name.removesuffix('_ms')}_p{percent}_ms"] = round(percentile(values, percent), 2)
    over_time = numbers.get("rss_over_time_mb", [])
    figures["rss_first_mb"] = round(over_time[0], 2) if over_time else None
    return figures


def report(numbers: Numbers) -> dict[str, object]:
    """The figures, how many keys they are of, and memory place by place."""
    over_time = [round(value, 1) for value in numbers.get("rss_over_time_mb", [])]
    return {**summary(numbers), "typed_keys": len(numbers["asked_share"]), "rss_over_time_mb": over_time}


def shown(subjects: dict[str, Numbers]) -> str:
    """The table: a row a figure, a column a subject."""
    figures = [summary(numbers) for numbers in subjects.values()]
    rows = [f"{'':60}" + "".join(f"{name:>12}" for name in subjects)] if len(subjects) > 1 else []
    for name, label in LABELS.items():
        cells = ("-" if one[name] is None else one[name] for one in figures)
        rows.append(f"{label:60}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join(rows)


def build_parser() -> argparse.ArgumentParser:
    """The arguments of `mezzotint bench lsp`."""
    about = "Start the server several times over stdio and measure it from outside."
    parser = argparse.ArgumentParser(prog="mezzotint bench lsp", description=about)
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="servers to start (default %(default)s)")
    parser.add_argument("--model", default="", metavar="FOLDER", help="model folder (default: the embedded model)")
    parser.add_argument("--llama", type=Path, metavar="GGUF", help="drive llama.cpp's server with this model beside")
    fim = "its prompt, for instance '<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>' (default %(default)s)"
    parser.add_argument("--llama-fim", default="{prefix}", metavar="TEMPLATE", help=fim)
    parser.add_argument("--llama-python", default=sys.executable, metavar="PYTHON", help="that has llama-cpp-python")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Print the table and the JSON line; 1 and one line on stderr if a server fails."""
    args = build_parser().parse_args(argv)
    text = sample_text()
    positions = cursor_positions(text, N_PLACES + 1)
    subjects: dict[str, Numbers] = {"mezzotint": defaultdict(list)}
    if args.llama:
        subjects["llama.cpp"] = defaultdict(list)
    try:
        for run, name in itertools.product(range(args.runs), subjects):
            print(f"\rrun {run + 1} of {args.runs}, {name:12}", end="", file=sys.stderr, flush=True)
            if name == "mezzotint":
                numbers = ours(text, positions, args.model)
            else:
                with Llama(args.llama, text, args.llama_fim, args.llama_python) as llama:
                    numbers = bench_keys.measure(llama, positions)
            for key, values in numbers.items():
                subjects[name][key] += values
    except (ValueError, OSError) as error:
        print(f"\nmezzotint bench lsp: {error}", file=sys.stderr)
        return 1
    print(file=sys.stderr)
    print(shown(subjects))
    mine, *others = map(report, subjects.values())
    beside = {"llama_cpp": others[0], "gguf": args.llama.name} if others else {}
    print(json.dumps({**mine, "model": args.model or "embedded", "runs": args.runs, "cores": os.cpu_count(), **beside}))
    return 0
