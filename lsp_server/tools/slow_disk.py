"""A slow disk for one process and its children: every look at the files of one folder takes a while.

Rule: on Linux with a C compiler, where slow_disk.c is compiled and preloaded; elsewhere NotPossibleError says why not.
Nothing of the machine is changed.

    subprocess.run(["git", "status"], env=environment(Path("/repository"), Path("/tmp")), cwd="/repository")
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

DELAY_MS = 200
SOURCE = Path(__file__).with_name("slow_disk.c")


class NotPossibleError(Exception):
    """There is no slow disk on this machine."""


def environment(folder: Path, build: Path) -> dict[str, str]:
    """Return the environment in which `folder` is slow; what that needs is compiled into the folder `build`."""
    slow = {"MEZZOTINT_SLOW_FOLDER": str(folder.resolve()), "MEZZOTINT_SLOW_MS": str(DELAY_MS)}
    return {**os.environ, **slow, "LD_PRELOAD": str(compiled(build))}


def compiled(build: Path) -> Path:
    """Compile what is preloaded."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        raise NotPossibleError("it needs Linux and a C compiler (cc)")
    library = build.resolve() / "slow_disk.so"
    flags = ["-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", "-fno-builtin"]
    done = subprocess.run([compiler, *flags, str(SOURCE), "-o", str(library), "-ldl"], capture_output=True, text=True)
    if done.returncode:
        raise NotPossibleError(f"{SOURCE.name} does not compile: {done.stderr.strip()}")
    return library
