"""What the typists of `mezzotint bench team` saw together, what the replicas counted, and the figures made of both.

Rule: counts from any thread. The figures under the names of `diffusion.serve.simulate.Costs` and `Typing` are what the
simulation takes: processor time, not time on a clock, so that they are the same on a busy machine.

    counts = Counts(); counts.add(requests=1, first_ms=40.0); counts.seen(1, 60)["first_p50_ms"]
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

KEY, LINE, ELSEWHERE = "key_tokens", "line_tokens", "elsewhere_tokens"  # kinds of requests, by what is new in them
SLICES = 100
SHOWN = ("requests", "cancelled", "here", "late", "errors", "keys", "blocks")


@dataclass
class Counts:
    """What all typists saw together."""

    first_ms: list[float] = field(default_factory=list)
    final_ms: list[float] = field(default_factory=list)
    waited_ms: list[float] = field(default_factory=list)  # of finished requests, on their replica
    requests: int = 0
    cancelled: int = 0
    here: int = 0  # answered by this machine's model, which a typist would have had instead
    late: int = 0  # whose deadline came before a draft
    errors: int = 0  # what a user would have seen
    keys: int = 0
    line_keys: list[int] = field(default_factory=list)  # of each line that was begun
    blocks: int = 0  # of lines that follow each other
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, **more: float) -> None:
        """Count."""
        with self.lock:
            for name, value in more.items():
                now = getattr(self, name)
                setattr(self, name, [*now, value] if isinstance(now, list) else now + value)

    def seen(self, users: int, seconds: float) -> dict[str, float | None]:
        """What so many typists saw in so many seconds."""
        found: dict[str, float | None] = {}
        for name, values in (("first", self.first_ms), ("final", self.final_ms)):
            for percent in (50, 90, 99):
                found[f"{name}_p{percent}_ms"] = percentile(values, percent)
        found["drafts_a_minute"] = round(len(self.first_ms) * 60 / seconds / users, 1)
        found["asked_share"] = round(self.requests / max(1, self.keys), 3)
        return {**found, **{name: getattr(self, name) for name in SHOWN}}


def work(told: Mapping[str, float], finals: int) -> dict[str, float]:
    """What requests were to the replicas: `told` is what these counted, all together, under the names of the metrics.

    Passes of a request: a request that is cancelled ends early, so passes are counted for each that ended by itself.
    """
    begun, encoded = max(1.0, told["begun"]), max(1.0, told["encoded_tokens"])
    return {
        "cached_share": round(1 - told["encoded_tokens"] / max(1.0, told["context_tokens"]), 3),
        "passes": told["forward_passes"],
        "encoded_tokens": told["encoded_tokens"],
        "begun": told["begun"],
        "waited_ms": round(1000 * told["waited_seconds"] / begun, 1),
        "busy_s": round(told["work_seconds"], 2),
        "refused": told["refused"],
        "superseded": told["superseded"],
        "passes_a_request": round(max(1.0, told["forward_passes"] / max(1, finals)), 2),
        "encode_ms": round(1000 * told["encode_cpu_seconds"] / encoded, 3),
        "job_ms": round(1000 * (told["work_cpu_seconds"] - told["encode_cpu_seconds"]) / begun, 2),
    }


def around(
    cpu: Mapping[str, float], idle: Mapping[str, float], told: Mapping[str, float], requests: int, seconds: float
) -> dict[str, float]:
    """Processor time of passes and of everything around the model; of what runs anyway, a share of one core.

    `cpu`: seconds by kind of process in the run; `idle`: in one second in which nobody typed.
    """
    more = {kind: used - idle[kind] * seconds for kind, used in cpu.items()}
    parts = {
        "http_ms": more["replicas"] - told["work_cpu_seconds"],
        "proxy_ms": more["proxy"] + more["rest"],
        "typist_ms": cpu["typists"],
    }
    found = {name: round(1000 * max(0.0, used) / max(1, requests), 2) for name, used in parts.items()}
    found["pass_ms"] = round(1000 * cpu["runs"] / max(1.0, told["forward_passes"]), 2)
    return {**found, "rest_share": round(sum(idle[kind] for kind in ("replicas", "proxy", "rest")), 3)}


def slices(values: Sequence[int]) -> list[float]:
    """Values in so many slices, from the least on: their means, whose mean is that of all. [0] of none."""
    ordered = sorted(values)
    cut = [ordered[len(ordered) * n // SLICES : len(ordered) * (n + 1) // SLICES] for n in range(SLICES)]
    if len(ordered) < SLICES:
        cut = [[value] for value in ordered]
    return [round(statistics.fmean(one), 1) for one in cut] or [0]


def percentile(values: list[float], percent: int) -> float | None:
    """The smallest value that so many are not above; None of too few."""
    return round(statistics.quantiles(values, n=100)[percent - 1], 1) if len(values) > 1 else None
