"""Processor time of a cluster on this machine, by kind of process, as Linux counts it.

Rule: read from /proc alone; a process belongs to the cluster if the process that started it does. What a process used
that ended between two looks is not known.

    before = cpu_s(server.pid); ...; between(before, cpu_s(server.pid))["replicas"]
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")
KINDS = {"ray::ServeReplica": "replicas", "ray::ProxyActor": "proxy"}  # by what Ray calls its processes
REST, TYPISTS, MACHINE = "rest", "typists", "machine"
RUNS = "runs"  # of the replicas, what their threads used that have ended: each run of passes is one


class Process(NamedTuple):
    """A process: who started it, what it used, and what it is called."""

    pid: int
    parent: int
    cpu_s: float
    title: str


def cpu_s(root: int) -> dict[str, float]:
    """Seconds by kind: of this process (the typists), of `root` and all below it, and of the whole machine."""
    known = {process.pid: process for process in processes()}
    found = dict.fromkeys((*KINDS.values(), RUNS, REST, TYPISTS), 0.0)
    for process in known.values():
        kind = TYPISTS if process.pid == os.getpid() else kind_of(process, known, root)
        if kind:
            ended_s = max(0.0, process.cpu_s - threads_s(process.pid)) if kind == "replicas" else 0.0
            found[kind] += process.cpu_s - ended_s
            found[RUNS] += ended_s
    return {**found, MACHINE: machine_s()}


def kind_of(process: Process, known: dict[int, Process], root: int) -> str:
    """The kind of a process of the cluster, "" of any other."""
    above = process
    while above.pid != root:
        if above.parent not in known:
            return ""
        above = known[above.parent]
    return next((kind for title, kind in KINDS.items() if process.title.startswith(title)), REST)


def processes() -> list[Process]:
    """All that run now."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:  # it has ended
            continue
        found.append(Process(int(folder.name), int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS, title))
    return found


def threads_s(pid: int) -> float:
    """Seconds of a process's threads that have not ended."""
    total = 0.0
    for file in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            fields = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


def machine_s() -> float:
    """Seconds in which the machine's cores did anything; what another guest of the host took counts too."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
    except OSError:  # not Linux
        return 0.0
    user, nice, system, _idle, _wait, *others = map(int, fields)
    return (user + nice + system + sum(others)) / TICKS


def between(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Seconds by kind from one look to the next; `others` is what the machine did besides."""
    used = {kind: max(0.0, after[kind] - before[kind]) for kind in before}
    machine = used.pop(MACHINE)
    return {kind: round(value, 2) for kind, value in {**used, "others": max(0.0, machine - sum(used.values()))}.items()}
