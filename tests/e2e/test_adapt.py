"""`mezzotint adapt` as a process, from a repository to the option `adapter` in the server; and with wrong input."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sysconfig
from pathlib import Path

import pytest
from editor import PATIENCE_S, editor

from lsp_server.launch import isolated
from tests.models import SMALL
from tests.test_adapt_files import commit

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")

STDLIB = Path(sysconfig.get_path("stdlib"))
NAMES = ("bisect", "heapq", "queue", "shlex", "textwrap", "fnmatch", "glob", "sched", "stat", "colorsys")
TWO_STEPS = ("--minutes", "60", "--holes", "6", "--set", "rank=2", "max_steps=2")


def repository(folder: Path, n: int = len(NAMES)) -> Path:
    """Some of the standard library under git."""
    return commit(folder, **{f"{name}__py": (STDLIB / f"{name}.py").read_text(encoding="utf-8") for name in NAMES[:n]})


def start(*argv: str, out: Path, **popen: object) -> subprocess.Popen[str]:
    command = isolated("adapt", *argv, "--from", str(SMALL), "--out", str(out))
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, **popen)  # type: ignore[call-overload,no-any-return]


def run(*argv: str, out: Path, **popen: object) -> tuple[int, str, str]:
    """Status, stdout and stderr of a call."""
    process = start(*argv, out=out, **popen)
    said, errors = process.communicate(timeout=PATIENCE_S)
    return process.returncode, said, errors


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An adapter that two steps made, and what was said meanwhile."""
    folder = tmp_path_factory.mktemp("made")
    status, said, errors = run(str(repository(folder / "app")), *TWO_STEPS, out=folder / "mine")
    assert status == 0, errors
    return folder / "mine", said


def test_it_says_what_it_learned_from_and_what_that_was_worth(made: tuple[Path, str]) -> None:
    out, said = made
    assert re.search(r"^\d files to learn from, \d held out to measure on$", said, re.M)
    for row in ("exact match, whole line", "shown and right", "shown and wrong", "benefit: right less wrong"):
        assert re.search(rf"^{row} +-?[\d.]+% +-?[\d.]+% +[+-][\d.]+$", said, re.M)
    assert re.search(r"^It (was worth it|is not clear that it was worth it|was NOT worth it): of 6 lines ", said, re.M)
    assert sorted(path.name for path in out.iterdir()) == ["adapter.json", "adapter.safetensors"]
    card = json.loads((out / "adapter.json").read_text())
    assert card["run"]["steps"] == 2 and card["before"].keys() == card["after"].keys()


def test_the_option_adapter_loads_it_and_names_it(made: tuple[Path, str]) -> None:
    async def run_with_editor() -> None:
        async with editor({"model": str(SMALL), "adapter": str(made[0])}) as client:
            client.open("file:///a.py", "import os\n\nx = \n")
            await client.items("file:///a.py", 2, 4)
            stats = await client.stats()
            assert client.messages == [] and stats.forwardPasses and len(stats.engine.adapter) == 12

    asyncio.run(asyncio.wait_for(run_with_editor(), PATIENCE_S))


def test_an_adapter_of_another_model_is_one_sentence_and_the_model_before_stays(made: tuple[Path, str]) -> None:
    async def run_with_editor() -> None:
        async with editor({"adapter": str(made[0]), "status": True}) as client:  # that of the embedded model it is not
            client.open("file:///a.py", "import os\n\nx = \n")
            await client.items("file:///a.py", 2, 4)
            (message,) = client.messages
            assert "belongs to other weights" in message and "\n" not in message
            assert client.states[-1] == "error"
            assert (await client.stats()).requests == 1

    asyncio.run(asyncio.wait_for(run_with_editor(), PATIENCE_S))


def test_complete_takes_an_adapter(made: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import os\n\nx = \n")
    call = ("complete", f"{tmp_path / 'a.py'}:3:5", "--model", str(SMALL), "--adapter")
    done = subprocess.run(isolated(*call, str(made[0])), capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(isolated(*call, str(tmp_path)), capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1 and "is no adapter: it has no adapter.json" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="no such signal there")
def test_stopped_it_saves_and_the_same_call_goes_on(tmp_path: Path) -> None:
    folder, out = str(repository(tmp_path / "app")), tmp_path / "mine"
    long = ("--minutes", "60", "--holes", "6", "--set", "rank=2")
    process = start(folder, *long, out=out)
    assert process.stderr is not None
    while "held out, after" not in process.stderr.readline():  # the first look: it learns now
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, errors
    assert "the same call goes on from there" in errors
    assert {path.name for path in out.iterdir()} == {"adapter.json", "adapter.safetensors", "state.pt"}
    steps = json.loads((out / "adapter.json").read_text())["run"]["steps"]
    status, said, errors = run(folder, *long, f"max_steps={steps + 1}", out=out)
    assert status == 0, errors
    assert json.loads((out / "adapter.json").read_text())["run"]["steps"] == steps + 1


def test_a_run_on_other_files_does_not_go_on_unless_told_to_begin_anew(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "state.pt").write_bytes(b"of something else")
    folder = str(repository(tmp_path / "app"))
    status, _, errors = run(folder, *TWO_STEPS, out=out)
    assert status == 1 and "cannot go on from" in errors and errors.count("\n") == 1
    status, _, errors = run(folder, *TWO_STEPS, "--anew", out=out)
    assert status == 0, errors


def no_git(folder: Path) -> Path:
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    return folder


def three_files(folder: Path) -> Path:
    return repository(folder, 3)


def one_large_file(folder: Path) -> Path:
    return commit(folder, large__py="number = 1\n" * 5_000_000)


def binary_files(folder: Path) -> Path:
    return commit(folder, **{f"a{i}__py": os.urandom(2000) for i in range(20)})


def nowhere(folder: Path) -> Path:
    return folder


WRONG = {
    no_git: "is in no git repository: only what git tracks is learned (git init, git add)",
    three_files: "3 files of source code are too few to learn from: it takes 8, some of which are held out",
    one_large_file: "0 files of source code are too few to learn from: it takes 8, some of which are held out; "
    "left out: 1 too large",
    binary_files: "0 files of source code are too few to learn from: it takes 8, some of which are held out; "
    "left out: 20 not text",
    nowhere: "there is no folder",
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_wrong_input_is_one_sentence_and_leaves_nothing(wrong: object, tmp_path: Path) -> None:
    status, said, errors = run(str(wrong(tmp_path / "app")), *TWO_STEPS, out=tmp_path / "mine")  # type: ignore[operator]
    assert (status, said) == (1, "") and errors.count("\n") == 1
    assert WRONG[wrong] in errors  # type: ignore[index]
    assert not (tmp_path / "mine").exists()


@pytest.mark.skipif(os.name == "nt", reason="no such limit there")
def test_no_space_is_one_sentence_and_an_adapter_that_was_there_stays(made: tuple[Path, str], tmp_path: Path) -> None:
    import resource

    out = Path(shutil.copytree(made[0], tmp_path / "mine"))
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    status, _, errors = run(str(repository(tmp_path / "app")), *TWO_STEPS, out=out, preexec_fn=limit)
    assert status == 1 and errors.splitlines()[-1].startswith("mezzotint adapt: ")
    assert "Traceback" not in errors
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_learned(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, said, errors = run(str(repository(tmp_path / "app")), *TWO_STEPS, out=tmp_path / "file" / "mine")
    assert status == 1 and "mine" in errors and "held out, after" not in errors


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [(("--minutes", "0"), "--minutes must be more than 0"), (("--set", "speed=1"), "--set: speed is none of minutes")],
)
def test_settings_that_are_none_are_said(argv: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    status, _, errors = run(str(repository(tmp_path / "app")), *argv, out=tmp_path / "mine")
    assert status == 1 and sentence in errors and errors.count("\n") == 1
