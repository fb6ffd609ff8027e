"""What `mezzotint bench lsp` does to whoever it measures: keys, requests by hand, cancelled ones, a storm of typing.

Rule: a subject is told what a person does, and says what came of it and when; every number is taken from outside.

    numbers = measure(subject, positions)   # {"key_to_final_ms": [41.2, ...], "rss_mb": [...], ...}
"""

from __future__ import annotations

import os
import subprocess
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

KEYS = 6  # typed at each place
BY_HAND = 8  # places where a person asks, and where one gives up
STORM_KEYS = 120  # as fast as they can be sent, a request behind each
Numbers = dict[str, list[float]]


class Asked(NamedTuple):
    """One request: ms to the first draft, if there was one, and to the end; forward passes, None where nobody tells."""

    first_ms: float | None
    final_ms: float
    passes: int | None = None


class Subject(Protocol):
    """A process that completes one open file."""

    pid: int
    began: float  # when its process was started (time.perf_counter)
    ready_ms: float  # from there until it could be asked
    lines: list[str]

    def change(self, line: int, start: int, stop: int, new: str) -> None:
        """Put `new` in place of the columns [start, stop) of a line."""

    def ask(self, line: int, column: int, by_hand: bool = False) -> Asked:
        """Ask and wait."""

    def give_up(self, line: int, column: int) -> float | None:
        """Ask, cancel behind the first draft; ms until the answer, None where none is due."""

    def storm(self, line: int, column: int, keys: str) -> None:
        """Type keys, ask behind each, wait for the last answer alone."""


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    except (OSError, StopIteration):  # not Linux
        kib = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
    return int(kib) / 1024


def cpu_s(pid: int) -> float | None:
    """Seconds of all cores that a process has used; None where no system tells."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return None


def type_on(subject: Subject, line: int, column: int, numbers: Numbers) -> None:
    """Cut a line at a column, let the subject look, then type what stood there, a request behind every key."""
    whole = subject.lines[line]
    subject.change(line, column, len(whole), "")
    subject.ask(line, column)
    for key in whole[column : column + KEYS]:
        subject.change(line, column, column, key)
        column += 1
        asked = subject.ask(line, column)
        numbers["asked_share"].append(asked.passes != 0)
        numbers["key_to_final_ms" if asked.passes != 0 else "known_key_ms"].append(asked.final_ms)
        if asked.passes != 0 and asked.first_ms is not None:
            numbers["key_to_draft_ms"].append(asked.first_ms)
        if asked.passes:
            numbers["passes_per_asked_key"].append(asked.passes)
    subject.change(line, 0, len(subject.lines[line]), whole)


def by_hand(subject: Subject, line: int, column: int, numbers: Numbers) -> None:
    """Ask by hand, give one request up, and ask again behind it."""
    whole = subject.lines[line]
    subject.change(line, column, len(whole), "")
    asked = subject.ask(line, column, by_hand=True)
    numbers["by_hand_ms"].append(asked.final_ms)
    if asked.passes is not None:
        numbers["by_hand_passes"].append(asked.passes)
    subject.change(line, column, column, "(")
    cancelled_ms = subject.give_up(line, column + 1)
    if cancelled_ms is not None:
        numbers["cancel_ms"].append(cancelled_ms)
    subject.change(line, column + 1, column + 1, "s")
    numbers["behind_cancelled_ms"].append(subject.ask(line, column + 2).final_ms)
    subject.change(line, 0, len(subject.lines[line]), whole)


def storm(subject: Subject, line: int, column: int, numbers: Numbers) -> None:
    """Type as fast as a key that is held down, and faster."""
    whole = subject.lines[line]
    keys = (whole[column:] or "value") * STORM_KEYS
    subject.change(line, column, len(whole), "")
    began = time.perf_counter()
    subject.storm(line, column, keys[:STORM_KEYS])
    numbers["storm_requests_per_s"].append(STORM_KEYS / (time.perf_counter() - began))
    subject.change(line, 0, len(subject.lines[line]), whole)


def measure(subject: Subject, positions: Sequence[tuple[int, int]]) -> Numbers:
    """Everything, at one subject that has just been started; memory is looked at behind every place."""
    numbers: Numbers = defaultdict(list)
    numbers["initialize_ms"].append(subject.ready_ms)
    subject.ask(*positions[0], by_hand=True)  # waits for the model to load
    numbers["first_completion_ms"].append((time.perf_counter() - subject.began) * 1000)
    before_s = cpu_s(subject.pid)
    for line, column in positions[1:]:
        type_on(subject, line, column, numbers)
        numbers["rss_over_time_mb"].append(resident_mb(subject.pid))
    after_s, keys = cpu_s(subject.pid), len(numbers["asked_share"])
    if before_s is not None and after_s is not None:
        numbers["cpu_s_per_1000_keys"].append(1000 * (after_s - before_s) / keys)
    for line, column in positions[1 : 1 + BY_HAND]:
        by_hand(subject, line, column, numbers)
    storm(subject, *positions[1], numbers)
    numbers["rss_mb"].append(resident_mb(subject.pid))
    return numbers
