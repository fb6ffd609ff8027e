"""What the typists of `mezzotint bench team` saw together, and the figures that are made of it.

Rule: counts from any thread. `pass_ms`, `encode_ms` and `way_ms` are what the simulation takes
(diffusion/serve/simulate.py): of the requests' own time, without what they waited for others.

    counts = Counts(); counts.add(requests=1, first_ms=40.0); counts.figures(60)["first_p50_ms"]
"""

from __future__ import annotations

import statistics
import threading
from dataclasses import dataclass, field


@dataclass
class Counts:
    """What all typists saw together.

    `begun`: of each finished request its time to the first draft, without waiting, and the passes and new tokens in it.
    """

    first_ms: list[float] = field(default_factory=list)
    final_ms: list[float] = field(default_factory=list)
    pass_ms: list[float] = field(default_factory=list)
    begun: list[tuple[float, int, int]] = field(default_factory=list)
    requests: int = 0
    cancelled: int = 0
    here: int = 0  # answered by this machine's model, which a typist would have had instead
    errors: int = 0  # what a user would have seen
    context_tokens: int = 0
    encoded_tokens: int = 0
    passes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, **more: float | tuple[float, int, int]) -> None:
        """Count."""
        with self.lock:
            for name, value in more.items():
                now = getattr(self, name)
                setattr(self, name, [*now, value] if isinstance(now, list) else now + value)

    def figures(self, seconds: float) -> dict[str, float | None]:
        """What is reported of so long a run."""
        found: dict[str, float | None] = {}
        for name, values in (("first", self.first_ms), ("final", self.final_ms)):
            for percent in (50, 90, 99):
                found[f"{name}_p{percent}_ms"] = percentile(values, percent)
        found["cached_share"] = round(1 - self.encoded_tokens / max(1, self.context_tokens), 3)
        found["pass_ms"] = round(statistics.median(self.pass_ms), 2) if self.pass_ms else None
        found["encode_ms"], found["way_ms"] = self.rest_ms()
        found["answered_per_s"] = round(len(self.final_ms) / seconds, 2)
        found["passes_a_request"] = round(self.passes / max(1, len(self.final_ms)), 2)
        names = ("requests", "cancelled", "here", "errors", "passes")
        return {**found, **{name: getattr(self, name) for name in names}}

    def rest_ms(self) -> tuple[float | None, float | None]:
        """What a new context token takes, and a request without any or a pass (the way, reading it): medians alone.

        A line through two points: the half of the requests with few new tokens, and the half with many.
        """
        if not self.pass_ms or len(self.begun) < 4:
            return None, None
        pass_ms = statistics.median(self.pass_ms)
        points = sorted((new, ms - passes * pass_ms) for ms, passes, new in self.begun)
        halves = points[: len(points) // 2], points[-(len(points) // 2) :]
        (few, ms), (many, more_ms) = (tuple(map(statistics.median, zip(*half, strict=True))) for half in halves)
        encode_ms = max(0.0, more_ms - ms) / (many - few) if many > few else 0.0
        way_ms = statistics.median(ms - encode_ms * new for new, ms in points)
        return round(encode_ms, 3), round(max(0.0, way_ms), 2)


def percentile(values: list[float], percent: int) -> float | None:
    """The smallest value that so many are not above; None of too few."""
    return round(statistics.quantiles(values, n=100)[percent - 1], 1) if len(values) > 1 else None
