"""What a team sees and costs: simulated typists on simulated machines, from measured processor times.

Rule: pure, deterministic for a seed. machine.py says what is simulated, `mezzotint bench team` measures what goes in;
without such a measurement the defaults are those of docs/team.md.

    python -m diffusion.serve.simulate --typists 1000 --replicas 25
    python -m diffusion.serve.simulate --measured build/team.txt     # what `mezzotint bench team` printed, beside this
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from statistics import quantiles
from typing import Any

from diffusion.serve.machine import Costs, Machine, Seen, Typing

RING = 100  # points of a replica on the router's ring
SEEDS = 9  # simulations of what was measured
FIGURES = tuple(f"{which}_p{percent}_ms" for which in ("first", "final") for percent in (50, 90, 99))
COUNTS = ("keys", "requests", "passes", "encoded_tokens", "busy_s", "refused", "late")
SAMPLED = 24  # replicas that are simulated of many; their typists are drawn as the ring deals them out
CORES = 2.0  # of the machine that a replica has to itself


def loads(typists: int, replicas: int, seed: int) -> list[int]:
    """How many typists each replica has, as a ring deals documents out."""
    rng = random.Random(seed)
    points = sorted((rng.random(), number) for number in range(replicas) for _ in range(RING))
    shares = [0.0] * replicas
    before = points[-1][0] - 1
    for at, number in points:
        shares[number] += at - before
        before = at
    counts = [0] * replicas
    for number in rng.choices(range(replicas), shares, k=typists):
        counts[number] += 1
    return counts


def figures(seen: Seen) -> dict[str, float]:
    """What typists saw, under the names that `mezzotint bench team` uses."""
    times = {"first": seen.first_ms, "final": seen.final_ms}
    found = {f"{which}_p{p}_ms": percentile(values, p) for which, values in times.items() for p in (50, 90, 99)}
    return {**found, **{name: round(getattr(seen, name), 1) for name in COUNTS}}


def team(
    typists: int, replicas: int, costs: Costs, typing: Typing, seconds: float = 120.0, seed: int = 0
) -> dict[str, float]:
    """What typists see whose replicas have a machine each; of many replicas some are simulated, and the fullest."""
    counts = sorted(loads(typists, replicas, seed))
    drawn = random.Random(seed).sample(counts, min(SAMPLED, replicas))
    seen = Seen()
    for number, count in enumerate(drawn):
        seen.add(Machine([count], CORES, costs, typing, seed + number).run(seconds))
    fullest = Machine(counts[-1:], CORES, costs, typing, seed).run(seconds)
    return {
        "typists": typists,
        "replicas": replicas,
        **{name: value for name, value in figures(seen).items() if name in FIGURES},
        "busy_share": round(seen.busy_s / len(drawn) / seconds, 2),
        "refused_share": round(seen.refused / max(1, seen.requests), 4),
        "fullest_typists": counts[-1],
        "fullest_first_p90_ms": percentile(fullest.first_ms, 90),
    }


def percentile(values: list[float], percent: int) -> float:
    """A percentile, 0 of nothing."""
    return round(quantiles(values, n=100)[percent - 1], 1) if len(values) > 1 else 0.0


def fewest(typists: int, costs: Costs, typing: Typing, most_ms: float, seconds: float = 60.0) -> int:
    """The fewest replicas with which nine in ten first drafts come within `most_ms`."""
    low, high = 1, max(1, typists)
    while low < high:
        middle = (low + high) // 2
        found = team(typists, middle, costs, typing, seconds)
        if 0 < found["first_p90_ms"] <= most_ms and found["busy_share"] < 0.9:
            high = middle
        else:
            low = middle + 1
    return low


def of_run(run: Mapping[str, Any]) -> tuple[Costs, Typing]:
    """What a measured run says of costs and typing; KeyError, TypeError or ValueError if it does not.

    The typists and all else share that run's cores, so that nothing on the way takes time but no core.
    """
    costs, typing = (
        {each.name: run[each.name] for each in fields(kind) if each.name != "way_ms"} for kind in (Costs, Typing)
    )
    if min(costs["pass_ms"], costs["encode_ms"]) <= 0 or typing["passes_a_request"] < 1:
        raise ValueError("too little was measured")
    return Costs(**costs, way_ms=0.0), Typing(**typing)


def compared(printed: str) -> Iterator[str]:
    """Lines of a table: what was measured beside what is simulated of the same times; ValueError if that cannot be.

    `printed`: what `mezzotint bench team` printed. A run whose model answered several requests at once, whose documents
    went to any replica, or whose replica was killed is another model's.
    """
    try:
        told = json.loads(printed.strip().splitlines()[-1])
        runs = [run for run in told["runs"] if run["batch"] == 1 and run["by_document"] and not run["killed"]]
        known = [(run, *of_run(run), run["documents"]) for run in runs]
        cores, seconds = told["cores"], told["seconds"]
    except (IndexError, KeyError, TypeError, ValueError):
        raise ValueError(
            "the last line is not what `mezzotint bench team` prints, or too little was answered"
        ) from None
    for run, costs, typing, documents in known:
        found = [figures(Machine(documents, cores, costs, typing, seed).run(seconds)) for seed in range(SEEDS)]
        yield f"{run['users']} typists on replicas of {documents}; {shown(costs)}"
        yield f"{'':16}{'measured':>10}{'simulated':>11}   the least and the most of {SEEDS} simulations"
        for name in FIGURES + COUNTS:
            values = sorted(one[name] for one in found)
            yield f"{name:16}{run[name]!s:>10}{values[len(values) // 2]:>11}   {values[0]} to {values[-1]}"


def shown(costs: Costs) -> str:
    """Costs on a line."""
    return ", ".join(f"{name} {value}" for name, value in asdict(costs).items())


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m diffusion.serve.simulate", description=__doc__)
    parser.add_argument("--typists", default="20,1000,100000", metavar="N,N", help="(%(default)s)")
    parser.add_argument("--replicas", type=int, help="so many; else the fewest that keep to --within-ms")
    parser.add_argument("--measured", metavar="FILE", help="what `mezzotint bench team` printed; - is stdin")
    for name in ("pass_ms", "encode_ms", "job_ms", "http_ms", "proxy_ms", "rest_share", "way_ms"):
        default = getattr(Costs, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=default, help="(%(default)s)")
    parser.add_argument("--elsewhere", type=float, default=Typing.elsewhere_share, help="(%(default)s)")
    parser.add_argument("--within-ms", type=float, default=200, help="nine in ten first drafts (%(default)s)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Print what a team of each size needs, as JSON lines; or what was measured beside what is simulated."""
    args = make_parser().parse_args(argv)
    if args.measured:
        return compare(args.measured)
    costs = Costs(**{each.name: getattr(args, each.name) for each in fields(Costs) if hasattr(args, each.name)})
    typing = replace(Typing(), elsewhere_share=args.elsewhere)
    for typists in map(int, args.typists.split(",")):
        replicas = args.replicas or fewest(typists, costs, typing, args.within_ms)
        print(json.dumps(team(typists, replicas, costs, typing)), flush=True)
    return 0


def compare(file: str) -> int:
    """Print the table; 2 and one line on stderr if there is nothing to compare."""
    try:
        for line in compared(sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")):
            print(line)
    except (OSError, ValueError) as error:
        print(f"simulate: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
