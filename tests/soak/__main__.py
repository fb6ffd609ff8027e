"""`make soak`: type for an hour at six servers while things go wrong, and see what has become of them.

Rule: progress is printed, the last line of stdout is one JSON object; the status is 0 where no fault was found. A fault
is a document that the server has otherwise, a request without an answer, more than GROWTH of memory over the tenth
minute (a sixth of a shorter run), threads or descriptors over those at the start, a process left behind, and what a
trouble says.

    python -m tests.soak --minutes 60 --svg build/soak.svg
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.soak.curve import curve
from tests.soak.servers import Sample, sample
from tests.soak.troubles import TROUBLES, Skip
from tests.soak.world import World, world_in

GROWTH = 0.05
EVERY_S = 5.0  # looks at memory
SETTLED_S = 20.0  # the start, as threads and descriptors count: everybody has typed for a while
REST_S = 0.5  # before memory is compared
ROUND_S = 300.0  # in which each trouble comes once; a sixth of a shorter run


class Run:
    """One soak."""

    def __init__(self, world: World, minutes: float) -> None:
        self.world, self.seconds = world, 60 * minutes
        self.tenth_s = min(600.0, self.seconds / 6)
        self.came: dict[str, list[str]] = defaultdict(list)
        self.marks: list[tuple[float, str]] = []
        self.faults: list[str] = []
        self.tenth: dict[str, Sample] | None = None
        self.end: dict[str, Sample] = {}
        self._over = threading.Event()

    @property
    def now_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.world.began

    def go(self) -> None:
        """Everything until the time is over, troubles in turns."""
        self.world.begin()
        watch = threading.Thread(target=self.watch, name="watch", daemon=True)
        watch.start()
        pause_s = min(ROUND_S, self.seconds / 6) / len(TROUBLES)
        number = 0
        while self.now_s < self.seconds:
            if self.tenth is None and self.now_s >= self.tenth_s:
                self.tenth = self.settled()
            time.sleep(max(0.0, min(self.seconds, (number + 1) * pause_s) - self.now_s))
            if self.now_s < self.seconds:
                self.trouble(TROUBLES[number % len(TROUBLES)])
            number += 1
        self.end = self.settled()
        self._over.set()
        watch.join()
        self.faults += self.growth()
        self.faults += self.world.end()

    def settled(self) -> dict[str, Sample]:
        """What each server is when its user has the files as they are on disk, has asked in each, and rests."""
        found = {}
        for name, user in self.world.users.items():
            with user.quiet:
                user.settle()
                time.sleep(REST_S)  # a run that was answered ends
                found[name] = sample(user.server.pid)
        return found

    def watch(self) -> None:
        """Look at the servers now and then."""
        while not self._over.wait(EVERY_S):
            self.world.observe()

    def trouble(self, trouble: Any) -> None:
        """Make one trouble, and look at everybody's documents."""
        name = trouble.__name__
        self.marks.append((self.now_s, name))
        try:
            outcome = trouble(self.world)
            for user in self.world.users.values():
                user.check()
        except Skip as why:
            outcome = f"not tried: {why}"
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
            self.faults.append(f"{self.now_s:.0f} s, {name}: {outcome}")
        self.came[name].append(outcome)
        print(f"{self.now_s / 60:6.1f} min  {name}: {outcome}", file=sys.stderr, flush=True)

    def growth(self) -> list[str]:
        """What of memory, threads and descriptors is more than it was."""
        found = []
        for name, last in self.end.items():
            first = self.tenth[name] if self.tenth else last
            if last.rss_mb > first.rss_mb * (1 + GROWTH):
                found.append(f"{name}: memory grew from {first.rss_mb:.1f} to {last.rss_mb:.1f} MB")
            start = self.world.near(name, SETTLED_S, SETTLED_S)
            for what in ("threads", "descriptors"):
                most, now = max(getattr(one, what) for one in start), getattr(last, what)
                found += [f"{name}: {what} grew from {most} to {now}"] * (now > most)
        return found

    def report(self) -> dict[str, Any]:
        """The figures."""
        users = {}
        for name, user in self.world.users.items():
            seen = {"tenth_minute": (self.tenth or self.end)[name]._asdict(), "end": self.end[name]._asdict()}
            heard = dict(user.server.wire.heard)
            users[name] = {**user.counts, "documents": len(user.pages), "heard": heard, **seen}
        troubles = {name: {"times": len(found), "came": sorted(set(found))} for name, found in self.came.items()}
        return {"minutes": round(self.now_s / 60, 1), "ok": not self.faults, "faults": self.faults, "users": users} | {
            "troubles": troubles
        }

    def picture(self) -> str:
        """Memory over time."""
        lines = {
            name: [(one.at_s, one.what.rss_mb) for one in self.world.seen if one.name == name]
            for name in self.world.users
        }
        return curve(lines, self.marks)


def main(argv: list[str] | None = None) -> int:
    """Run one soak; 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-model", action="store_true", help="the scripted engine for everybody")
    parser.add_argument("--svg", type=Path, default=Path("build/soak.svg"), help="the curve (default %(default)s)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder, world_in(Path(folder), args.seed, not args.no_model) as world:
        run = Run(world, args.minutes)
        run.go()
        report = run.report()
    args.svg.parent.mkdir(parents=True, exist_ok=True)
    args.svg.write_text(run.picture())
    print(json.dumps(report))
    return int(bool(run.faults))


if __name__ == "__main__":
    sys.exit(main())
