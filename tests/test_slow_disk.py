"""The slow disk of `mezzotint bench loopstall`: one folder waits, the rest of the machine does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lsp_server.tools import slow_disk

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is preloaded is for Linux")

# nanosleep is counted, not waited for: the test's own library stands behind the slow disk's.
COUNTING = """
#include <stdio.h>
#include <time.h>
static int waits;
int nanosleep(const struct timespec *wanted, struct timespec *left) { return waits++, 0; }
__attribute__((destructor)) static void say(void) { fprintf(stderr, "%d", waits); }
"""


def waits_of(code: str, folder: Path, build: Path) -> int:
    """How often a Python program waited for the slow folder."""
    source, library = build / "counting.c", build / "counting.so"
    source.write_text(COUNTING, encoding="utf-8")
    subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    environment = slow_disk.environment(folder, build)
    environment["LD_PRELOAD"] = f"{library}:{environment['LD_PRELOAD']}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], env=environment, capture_output=True, text=True)
    return int(done.stderr)


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.stat('{0}/a.py')",
        "import os; os.lstat('{0}/a.py')",
        "import os; os.scandir('{0}')",
        "import os; os.chdir('{0}'); os.stat('a.py')",
        "import os; os.path.exists('{0}/missing')",
    ],
)
def test_every_look_into_the_folder_waits_once(tmp_path: Path, code: str) -> None:
    folder = tmp_path / "opened"
    folder.mkdir()
    (folder / "a.py").write_text("x", encoding="utf-8")
    assert waits_of(code.format(folder), folder, tmp_path) == 1


def test_reading_waits_as_well(tmp_path: Path) -> None:
    folder = tmp_path / "opened"
    folder.mkdir()
    (folder / "a.py").write_text("x", encoding="utf-8")
    code = f"import os; file = os.open('{folder}/a.py', os.O_RDONLY); os.read(file, 1)"
    assert waits_of(code, folder, tmp_path) == 2


def test_other_folders_do_not_wait(tmp_path: Path) -> None:
    (tmp_path / "opened").mkdir()
    (tmp_path / "opened-too").mkdir()
    assert waits_of(f"import os; os.scandir('{tmp_path}/opened-too')", tmp_path / "opened", tmp_path) == 0


def test_without_a_compiler_it_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(slow_disk.NotPossibleError, match="C compiler"):
        slow_disk.environment(tmp_path, tmp_path)
