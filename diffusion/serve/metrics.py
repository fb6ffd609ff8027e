"""What a replica counts, as Prometheus reads it.

Rule: one table of names. Any thread may count; nothing counted says who asked or what was said.

    metrics = Metrics(); metrics.add("requests"); metrics.observe("first_draft_seconds", 0.04); metrics.text()
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NamedTuple

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
PREFIX = "mezzotint_"


class Metric(NamedTuple):
    """One line of the table."""

    kind: str
    help: str


METRICS = {
    "requests": Metric(COUNTER, "requests that were taken on"),
    "refused": Metric(COUNTER, "requests that were refused because too many waited"),
    "failed": Metric(COUNTER, "requests on which the engine failed"),
    "superseded": Metric(COUNTER, "requests that a newer one of the same document ended"),
    "cancelled": Metric(COUNTER, "requests whose client closed the stream before its end"),
    "drafts": Metric(COUNTER, "drafts that were sent"),
    "forward_passes": Metric(COUNTER, "forward passes of the model"),
    "context_tokens": Metric(COUNTER, "context tokens of all requests"),
    "encoded_tokens": Metric(COUNTER, "those of them that were not in a cache"),
    "begun": Metric(COUNTER, "requests that the model began with"),
    "waited_seconds": Metric(COUNTER, "time that these had waited for it"),
    "work_seconds": Metric(COUNTER, "time that the model worked on them"),
    "work_cpu_seconds": Metric(COUNTER, "processor time of the threads that ask the model, passes apart"),
    "encode_cpu_seconds": Metric(COUNTER, "of it, while context tokens were encoded"),
    "waiting": Metric(GAUGE, "requests that wait for the model"),
    "contexts": Metric(GAUGE, "contexts that are kept"),
    "most_passes_after_cancel": Metric(GAUGE, "most forward passes that ran after a client had closed its stream"),
    "first_draft_seconds": Metric(HISTOGRAM, "from a request to its first draft"),
    "final_seconds": Metric(HISTOGRAM, "from a request to its last draft"),
}


class Histogram:
    """How many values were at most as large as each bucket's end."""

    def __init__(self) -> None:
        self.counts, self.total, self.sum = [0] * len(BUCKETS_S), 0, 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts = [count + (value <= end) for count, end in zip(self.counts, BUCKETS_S, strict=True)]
        self.total, self.sum = self.total + 1, self.sum + value


class Metrics:
    """The present values of the table."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.values = {name: 0.0 for name, metric in METRICS.items() if metric.kind != HISTOGRAM}
        self._histograms = {name: Histogram() for name, metric in METRICS.items() if metric.kind == HISTOGRAM}

    def add(self, name: str, n: float = 1) -> None:
        """Count up."""
        with self._lock:
            self.values[name] += n

    def set(self, name: str, value: float) -> None:
        """Note what is now."""
        with self._lock:
            self.values[name] = value

    def raise_to(self, name: str, value: float) -> None:
        """Note the largest value."""
        with self._lock:
            self.values[name] = max(self.values[name], value)

    def observe(self, name: str, seconds: float) -> None:
        """Count a time."""
        with self._lock:
            self._histograms[name].observe(seconds)

    def text(self) -> str:
        """All of it in Prometheus' text format."""
        with self._lock:
            return "".join(f"{line}\n" for name in METRICS for line in self._lines(name))

    def _lines(self, name: str) -> Iterator[str]:
        """What is said of one metric."""
        kind, about = METRICS[name]
        full = PREFIX + name + ("_total" if kind == COUNTER else "")
        yield f"# HELP {full} {about}"
        yield f"# TYPE {full} {kind}"
        if kind != HISTOGRAM:
            yield f"{full} {self.values[name]:g}"
            return
        histogram = self._histograms[name]
        for end, count in zip(BUCKETS_S, histogram.counts, strict=True):
            yield f'{full}_bucket{{le="{end:g}"}} {count}'
        yield f'{full}_bucket{{le="+Inf"}} {histogram.total}'
        yield f"{full}_sum {histogram.sum:g}"
        yield f"{full}_count {histogram.total}"
