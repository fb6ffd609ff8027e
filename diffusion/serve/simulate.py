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
TIMES = tuple(f"{which}_p{percent}_ms" for which in ("first", "final") for percent in (50, 90, 99))
FIGURES = (*TIMES, "drafts_a_minute")  # first drafts, of each typist
COUNTS = ("keys", "requests", "passes", "encoded_tokens", "busy_s", "refused", "late")
SAMPLED = 24  # replicas that are simulated of many; their typists are drawn as the ring deals them out
CORES = 2.0  # of the machine that a replica has to itself
OPTIONS = ("pass_ms", "encode_ms", "job_ms", "http_ms", "proxy_ms", "rest_share", "way_ms", "elsewhere_share")


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


def figures(seen: Seen, typists: int, seconds: float) -> dict[str, float]:
    """What typists saw in so long a run, under the names that `mezzotint bench team` uses."""
    drafts = len(seen.first_ms) * 60 / seconds / max(1, typists)
    times = {"first": seen.first_ms, "final": seen.final_ms}
    found = {f"{which}_p{p}_ms": percentile(values, p) for which, values in times.items() for p in (50, 90, 99)}
    return {**found, "drafts_a_minute": round(drafts, 1), **{name: round(getattr(seen, name), 1) for name in COUNTS}}


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
        **{name: value for name, value in figures(seen, sum(drawn), seconds).items() if name in FIGURES},
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


def runs_of(printed: str) -> tuple[dict[str, Any], list[tuple[dict[str, Any], Costs, Typing]]]:
    """What `mezzotint bench team` printed, and of each run that is like this model its costs and typing; or ValueError.

    A run whose model answered several requests at once, whose documents went to any replica, or whose replica was
    killed is another model's.
    """
    try:
        told = json.loads(printed.strip().splitlines()[-1])
        runs = [run for run in told["runs"] if run["batch"] == 1 and run["by_document"] and not run["killed"]]
        return told, [(run, *of_run(run)) for run in runs if told["cores"] and told["seconds"] and run["documents"]]
    except (IndexError, KeyError, TypeError, ValueError):
        raise ValueError(
            "the last line is not what `mezzotint bench team` prints, or too little was answered"
        ) from None


def compared(printed: str) -> Iterator[str]:
    """Lines of a table: what was measured beside what is simulated of the same costs; ValueError if that cannot be."""
    told, runs = runs_of(printed)
    for run, costs, typing in runs:
        documents, seconds = run["documents"], told["seconds"]
        machines = [Machine(documents, told["cores"], costs, typing, seed) for seed in range(SEEDS)]
        found = [figures(machine.run(seconds), sum(documents), seconds) for machine in machines]
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
    parser.add_argument("--measured", metavar="FILE", help="compare with what `mezzotint bench team` printed")
    parser.add_argument(
        "--costs", metavar="FILE", help="take costs and typing of the last such run that it printed there"
    )
    for name in OPTIONS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, help="instead of what is measured")
    parser.add_argument("--within-ms", type=float, default=200, help="nine in ten first drafts (%(default)s)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Print what a team of each size needs, as JSON lines; or what was measured beside what is simulated."""
    args = make_parser().parse_args(argv)
    if args.measured:
        return compare(args.measured)
    try:
        costs, typing = given(args)
    except (OSError, ValueError) as error:
        print(f"simulate: {error}", file=sys.stderr)
        return 2
    for typists in map(int, args.typists.split(",")):
        replicas = args.replicas or fewest(typists, costs, typing, args.within_ms)
        print(json.dumps(team(typists, replicas, costs, typing)), flush=True)
    return 0


def given(args: argparse.Namespace) -> tuple[Costs, Typing]:
    """Costs and typing as the command line says; typists have machines of their own, `way_ms` away."""
    costs, typing = Costs(), Typing()
    if args.costs:
        _, runs = runs_of(Path(args.costs).read_text(encoding="utf-8"))
        if not runs:
            raise ValueError(f"{args.costs} has no run of one request at a time, with documents that stay")
        _, costs, typing = runs[-1]
    said = {name: value for name in OPTIONS if (value := getattr(args, name)) is not None}
    of_costs = {name: value for name, value in said.items() if name != "elsewhere_share"}
    return (
        replace(costs, **{"typist_ms": 0.0, "way_ms": Costs.way_ms, **of_costs}),
        replace(typing, elsewhere_share=said.get("elsewhere_share", typing.elsewhere_share)),
    )


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
