import contextlib
import os
import time
from pathlib import Path

import pytest

from diffusion.evaluate import sandbox

KINDS = [kind for kind in sandbox.SANDBOXES if kind == "subprocess" or sandbox.works(kind)]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def test_best_sandbox_is_the_first_that_works() -> None:
    assert sandbox.best_sandbox() == KINDS[0]


def test_a_program_that_ends_has_passed_and_says_where_it_ran(kind: str) -> None:
    assert sandbox.run_python("print('hello')", sandbox=kind) == sandbox.Outcome("passed", kind, "hello")


def test_a_failed_assertion_is_a_failure_with_its_traceback(kind: str) -> None:
    outcome = sandbox.run_python("assert 1 + 1 == 3", sandbox=kind)
    assert (outcome.reason, "AssertionError" in outcome.output) == ("failed", True)


@pytest.mark.parametrize("program", ["def f(:", "import sys; sys.exit(0)", "import os; os._exit(0)", "\x00"])
def test_ending_early_or_not_compiling_is_no_pass(program: str) -> None:
    assert sandbox.run_python(program).reason == "failed"


def test_an_endless_program_is_stopped(kind: str) -> None:
    assert sandbox.run_python("while True: pass", timeout_s=0.5, sandbox=kind).reason == "timeout"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_children_do_not_outlive_the_call(kind: str) -> None:
    before = running_programs()
    spawn = "import os, time\nos.fork()\ntime.sleep(300)\n"
    assert sandbox.run_python(spawn, timeout_s=1, sandbox=kind).reason == "timeout"
    for _ in range(200):  # the kernel takes a moment to bury them
        left = running_programs() - before
        if not left:
            break
        time.sleep(0.05)
    assert not left


def running_programs() -> set[str]:
    """Ids of processes that run a sandboxed program."""
    found = set()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if sandbox.PROGRAM in Path(f"/proc/{pid}/cmdline").read_text(errors="replace"):
                found.add(pid)
    return found


def test_memory_is_limited(kind: str) -> None:
    outcome = sandbox.run_python(f"x = bytearray({2 * sandbox.MEMORY_BYTES})", sandbox=kind)
    assert "MemoryError" in outcome.output


def test_endless_output_fills_no_disk(kind: str) -> None:
    assert not sandbox.run_python("while True: print('x' * 1000)", timeout_s=5, sandbox=kind).passed


def test_the_environment_is_empty_and_the_folder_is_new(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEZZOTINT_SECRET", "swordfish")
    outcome = sandbox.run_python("import os; print(os.listdir('.'), 'MEZZOTINT_SECRET' in os.environ)", sandbox=kind)
    assert outcome.output == f"['{sandbox.PROGRAM}'] False"


@pytest.mark.skipif("bwrap" not in KINDS, reason="bubblewrap is not here or not allowed")
def test_bwrap_shows_no_files_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("private")
    outcome = sandbox.run_python(f"import os; print(os.path.exists({str(tmp_path)!r}))", sandbox="bwrap")
    assert outcome.output == "False"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "subprocess"])
def test_there_is_no_network(kind: str) -> None:
    program = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.connect(('192.0.2.1', 9))"
    assert "unreachable" in sandbox.run_python(program, sandbox=kind).output


def test_programs_leave_no_folder_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sandbox.run_python("open('left', 'w').write('x')")
    assert list(tmp_path.iterdir()) == []
