"""lsp_server/tools/team_cpu.py: processor time by kind of process, as the system counts it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lsp_server.tools.team_cpu import MACHINE, Process, between, cpu_s, kind_of, processes, threads_s

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
TREE = [
    Process(1, 0, 0.0, "init"),
    Process(10, 1, 1.0, "mezzotint serve"),
    Process(11, 10, 1.0, "raylet"),
    Process(12, 11, 1.0, "ray::ServeReplica:bench:bench"),
    Process(13, 11, 1.0, "ray::ProxyActor"),
    Process(20, 1, 1.0, "ray::ProxyActor"),
]


def test_a_process_belongs_to_the_cluster_that_started_it() -> None:
    known = {process.pid: process for process in TREE}
    kinds = {process.pid: kind_of(process, known, root=10) for process in TREE}
    assert kinds == {1: "", 10: "rest", 11: "rest", 12: "replicas", 13: "proxy", 20: ""}


def test_what_a_process_of_ours_works_is_counted_and_what_others_do_is_not_ours() -> None:
    work = "sum(range(20_000_000)); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        before = {**cpu_s(child.pid), "rest": 0.0}
        assert child.stdout is not None
        child.stdout.readline()
        used = between(before, cpu_s(child.pid))
        child.communicate(b"\n")
    assert used["rest"] > 0.05
    assert MACHINE not in used and used["replicas"] == used["runs"] == 0


def test_threads_that_have_ended_are_not_counted_with_those_that_run() -> None:
    work = "import threading; t = threading.Thread(target=lambda: sum(range(20_000_000))); t.start(); t.join(); "
    work += "print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        all_s = next(process.cpu_s for process in processes() if process.pid == child.pid)
        assert all_s - threads_s(child.pid) > 0.05
        child.communicate(b"\n")


def test_this_process_is_the_typists() -> None:
    known = {process.pid: process for process in processes()}
    assert os.getpid() in known and cpu_s(root=-1)["typists"] == pytest.approx(known[os.getpid()].cpu_s, abs=1)
