"""Runs generated Python in a subprocess that can do little harm.

Rule: nothing that the program does outlives the call. Own process group, limits on time, memory, processes and file
size, an empty environment, a temporary folder to work in; no network and no other files where the machine allows it.

    outcome = run_python("assert 1 + 1 == 2", timeout_s=3); print(outcome.passed, outcome.sandbox)
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MEMORY_BYTES = 1 << 30
FILE_BYTES = 10 << 20
OUTPUT_BYTES = 2000
PROGRAM = "program.py"
SANDBOXES = ("bwrap", "unshare", "subprocess")

# Sets the limits in the interpreter that is to run the program, so that one way serves every kind of sandbox. The mark
# goes to stdout only when the program got to its end: `sys.exit(0)` before the tests is no pass.
BOOT = """
import resource, sys
path, mark, cpu_s, memory, file_bytes = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
for name, value in (("CPU", cpu_s), ("AS", memory), ("FSIZE", file_bytes), ("NPROC", 1), ("CORE", 0)):
    try: resource.setrlimit(getattr(resource, "RLIMIT_" + name), (value, value))
    except (AttributeError, ValueError, OSError): pass
exec(compile(open(path, encoding="utf-8").read(), path, "exec"), {"__name__": "__main__"})
print(mark, flush=True)
"""


@dataclass(frozen=True)
class Outcome:
    """How a program ended: `reason` is "passed", "failed" or "timeout"; `sandbox` is one of SANDBOXES."""

    reason: str
    sandbox: str
    output: str = ""

    @property
    def passed(self) -> bool:
        """Whether the program ran to its end."""
        return self.reason == "passed"


def run_python(program: str, timeout_s: float = 3.0, sandbox: str | None = None) -> Outcome:
    """Run `program` in the best sandbox of this machine, or in the one asked for."""
    kind = sandbox or best_sandbox()
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="mezzotint-") as folder, tempfile.TemporaryFile() as output:
        Path(folder, PROGRAM).write_text(program, encoding="utf-8")
        ended = run_limited([*prefix(kind, folder), *interpreter(mark, timeout_s)], folder, timeout_s, output)
        text = tail(output)
    passed = ended and text.rstrip().endswith(mark)
    reason = "passed" if passed else "failed" if ended else "timeout"
    return Outcome(reason, kind, text.replace(mark, "").strip())


def interpreter(mark: str, timeout_s: float) -> list[str]:
    """The interpreter itself (a virtual environment's link to it may be out of sight), isolated, and what it runs."""
    limits = [str(int(timeout_s) + 1), str(MEMORY_BYTES), str(FILE_BYTES)]
    return [os.path.realpath(sys.executable), "-I", "-S", "-X", "utf8", "-c", BOOT, PROGRAM, mark, *limits]


def prefix(kind: str, folder: str) -> list[str]:
    """What stands before the interpreter on the command line in a sandbox of this kind."""
    if kind == "bwrap":
        base = os.path.realpath(sys.base_prefix)
        visible = [path for path in ("/usr", "/lib", "/lib64", "/bin", base) if os.path.exists(path)]
        binds = [part for path in visible for part in ("--ro-bind", path, path)]
        inside = ["--tmpfs", "/tmp", "--bind", folder, "/tmp/run", "--chdir", "/tmp/run"]
        return ["bwrap", "--unshare-all", "--die-with-parent", "--clearenv", *binds, "--dev", "/dev", *inside]
    if kind == "unshare":
        return ["unshare", "--map-root-user", "--net", "--ipc", "--pid", "--fork", "--kill-child"]
    return []


@functools.cache
def best_sandbox() -> str:
    """The first of SANDBOXES that runs an empty program on this machine."""
    return next(kind for kind in SANDBOXES if kind == "subprocess" or works(kind))


def works(kind: str) -> bool:
    """Whether a sandbox of this kind can be started here; containers often forbid it."""
    return bool(shutil.which(kind)) and run_python("", timeout_s=10, sandbox=kind).passed


def run_limited(command: list[str], folder: str, timeout_s: float, output: BinaryIO) -> bool:
    """Run `command` in `folder`; false if it had to be stopped. Its whole process group is gone afterwards."""
    environment = {"PATH": os.defpath} if command[0] in SANDBOXES else {}
    command = [shutil.which(command[0]) or command[0], *command[1:]]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        start_new_session=True,
    )  # fmt: skip
    try:
        process.wait(timeout_s)
        return True
    except subprocess.TimeoutExpired:
        return False
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def tail(output: BinaryIO) -> str:
    """The last OUTPUT_BYTES of what was written."""
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - OUTPUT_BYTES))
    return output.read().decode("utf-8", errors="replace")
