"""What a team costs: typists and replicas as a small model, from measured times of a pass and of encoding.

Rule: pure, deterministic for a seed. A replica answers one request after the other; a document stays with its replica;
the next key cancels what still runs, at the end of its pass. The typists are those of `mezzotint bench team`.

    python -m diffusion.serve.simulate --typists 1000 --replicas 25 --pass-ms 17 --encode-ms 0.75
    python -m diffusion.serve.simulate --measured build/team.txt     # what `mezzotint bench team` printed, beside this
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

ASKED_SHARE = 0.24  # of keys behind which the model is asked, where nothing runs
KEY_S = (0.2, 0.08)
LINE_KEYS = 20  # mean length of what is typed between two thoughts
THOUGHT_S = 1.5
NEW_TOKENS = 3  # of the context to encode behind a key
MOVED_TOKENS = 120  # at the first key of a line elsewhere in the file: the near parts of the context
RING = 100  # points of a replica on the router's ring
SEEDS = 5  # simulations of what was measured
TIMES = ("pass_ms", "encode_ms", "way_ms", "passes_a_request")  # of a measured run, as `Costs` takes them
FIGURES = tuple(f"{which}_p{percent}_ms" for which in ("first", "final") for percent in (50, 90, 99))
SAMPLED = 24  # replicas that are simulated of many; their typists are drawn as the ring deals them out


@dataclass(frozen=True)
class Costs:
    """What was measured: of a pass, of encoding one context token, of the way there and back; passes of a request."""

    pass_ms: float
    encode_ms: float
    way_ms: float = 5.0
    passes: float = 2.3

    def n_passes(self, rng: random.Random) -> int:
        """Passes of one request: one at least, geometric above."""
        n = 1
        while rng.random() > 1 / self.passes:
            n += 1
        return n


def keys_of(rng: random.Random, seconds: float) -> Iterator[tuple[float, float, int]]:
    """One typist's keys: when, when the next one comes, and context tokens that are new behind it."""
    at = rng.uniform(0, THOUGHT_S * 2)
    while at < seconds:
        at += rng.expovariate(1 / THOUGHT_S)
        for number in range(1 + int(rng.expovariate(1 / LINE_KEYS))):
            after = at + max(0.03, rng.gauss(*KEY_S))
            yield at, after, NEW_TOKENS if number else MOVED_TOKENS
            at = after


def replica(typists: int, costs: Costs, seconds: float, seed: int) -> tuple[list[float], list[float], float]:
    """Milliseconds to first drafts and to last ones, and the share of time in which the replica worked."""
    rng = random.Random(seed)
    keys = sorted((at, after, new, n) for n in range(typists) for at, after, new in keys_of(rng, seconds))
    free_s, busy_s = 0.0, 0.0
    running = [0.0] * typists  # when each typist's request is answered, as it will be unless it is cancelled
    pending = [0] * typists  # context tokens of keys for which nothing was asked
    first: list[float] = []
    final: list[float] = []
    for at, after, new, who in keys:
        pending[who] += new
        if running[who] <= at and rng.random() > ASKED_SHARE:
            continue
        start = max(free_s, at + costs.way_ms / 2000)
        running[who] = after  # asked again at the next key, unless the answer is there by then
        if start >= after:  # cancelled while it waits: costs nothing
            continue
        encode_s, pending[who] = pending[who] * costs.encode_ms / 1000, 0
        passes = costs.n_passes(rng)
        done = [start + encode_s + (n + 1) * costs.pass_ms / 1000 for n in range(passes)]
        seen = [when for when in done if when + costs.way_ms / 2000 <= after]
        ran = min(len(seen) + 1, passes)  # the pass that runs when it is cancelled is finished
        free_s = done[ran - 1]
        busy_s += free_s - start
        if seen:
            first.append((seen[0] - at) * 1000 + costs.way_ms / 2)
        if len(seen) == passes:
            final.append((seen[-1] - at) * 1000 + costs.way_ms / 2)
            running[who] = seen[-1]
    return first, final, busy_s / max(seconds, free_s)


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


def team(typists: int, replicas: int, costs: Costs, seconds: float = 120.0, seed: int = 0) -> dict[str, float]:
    """What typists see, and how much the replicas have to do; of many replicas some are simulated, and the fullest."""
    counts = sorted(loads(typists, replicas, seed))
    drawn = random.Random(seed).sample(counts, min(SAMPLED, replicas))
    first: list[float] = []
    final: list[float] = []
    busy: list[float] = []
    for number, count in enumerate(drawn):
        one_first, one_final, one_busy = replica(count, costs, seconds, seed + number)
        first, final, busy = first + one_first, final + one_final, [*busy, one_busy]
    fullest = replica(counts[-1], costs, seconds, seed)
    return {
        "typists": typists,
        "replicas": replicas,
        "first_p50_ms": percentile(first, 50),
        "first_p90_ms": percentile(first, 90),
        "first_p99_ms": percentile(first, 99),
        "final_p50_ms": percentile(final, 50),
        "final_p90_ms": percentile(final, 90),
        "final_p99_ms": percentile(final, 99),
        "busy_share": round(sum(busy) / len(busy), 2),
        "fullest_typists": counts[-1],
        "fullest_first_p90_ms": percentile(fullest[0], 90),
    }


def percentile(values: list[float], percent: int) -> float:
    """A percentile, 0 of nothing."""
    return round(quantiles(values, n=100)[percent - 1], 1) if len(values) > 1 else 0.0


def fewest(typists: int, costs: Costs, most_ms: float, seconds: float = 60.0) -> int:
    """The fewest replicas with which nine in ten first drafts come within `most_ms`."""
    low, high = 1, max(1, typists)
    while low < high:
        middle = (low + high) // 2
        found = team(typists, middle, costs, seconds)
        if 0 < found["first_p90_ms"] <= most_ms and found["busy_share"] < 0.9:
            high = middle
        else:
            low = middle + 1
    return low


def compared(printed: str) -> Iterator[str]:
    """Lines of a table: what was measured beside what is simulated of the same times; ValueError if that cannot be.

    `printed`: what `mezzotint bench team` printed. A run whose model answered several requests at once, or whose
    documents went to any replica, is another model's.
    """
    try:
        measured = json.loads(printed.strip().splitlines()[-1])
        runs = [run for run in measured["runs"] if run["batch"] == 1 and run["by_document"]]
        replicas, seconds = measured["replicas"], measured["seconds"]
        costs = [Costs(*(run[name] for name in TIMES)) for run in runs]
    except (IndexError, KeyError, TypeError, ValueError):
        raise ValueError("the last line is not what `mezzotint bench team` prints") from None
    for run, cost in zip(runs, costs, strict=True):
        if None in (cost.pass_ms, cost.encode_ms, cost.way_ms) or cost.passes < 1:
            raise ValueError(f"too few requests of {run['users']} typists were answered to say what a pass takes")
        found = [team(run["users"], replicas, cost, seconds, seed) for seed in range(SEEDS)]
        times = ", ".join(f"{name} {run[name]}" for name in TIMES)
        killed = ", a replica killed in the middle (not simulated)" if run["killed"] else ""
        yield f"{run['users']} typists, {replicas} replicas{killed}; {times}"
        yield f"{'':14}{'measured':>10}{'simulated':>11}   the least and the most of {SEEDS} simulations"
        for name in FIGURES:
            values = sorted(one[name] for one in found)
            middle = f"{values[len(values) // 2]:>11}   {values[0]} to {values[-1]}"
            yield f"{name:14}{run[name]!s:>10}{middle}"


def main(argv: list[str] | None = None) -> int:
    """Print what a team of each size needs, as JSON lines; or what was measured beside what is simulated."""
    parser = argparse.ArgumentParser(prog="python -m diffusion.serve.simulate", description=__doc__)
    parser.add_argument("--typists", default="20,1000,100000", metavar="N,N", help="(%(default)s)")
    parser.add_argument("--replicas", type=int, help="so many; else the fewest that keep to --within-ms")
    parser.add_argument("--measured", metavar="FILE", help="what `mezzotint bench team` printed; - is stdin")
    parser.add_argument("--pass-ms", type=float, help="one forward pass of a canvas")
    parser.add_argument("--encode-ms", type=float, help="encoding one context token")
    parser.add_argument("--way-ms", type=float, default=Costs.way_ms, help="there and back (%(default)s)")
    parser.add_argument("--passes", type=float, default=Costs.passes, help="of a request, mean (%(default)s)")
    parser.add_argument("--within-ms", type=float, default=200, help="nine in ten first drafts (%(default)s)")
    args = parser.parse_args(argv)
    if args.measured:
        return compare(args.measured)
    if args.pass_ms is None or args.encode_ms is None:
        parser.error("say --measured FILE, or --pass-ms and --encode-ms")
    costs = Costs(args.pass_ms, args.encode_ms, args.way_ms, args.passes)
    for typists in map(int, args.typists.split(",")):
        replicas = args.replicas or fewest(typists, costs, args.within_ms)
        print(json.dumps(team(typists, replicas, costs)), flush=True)
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
