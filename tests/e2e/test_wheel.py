"""The wheel as a user gets it: in an empty environment without torch, on several Pythons, in a hostile folder.

`make test-wheel` runs these; they compile the package and install what it needs from the registry. They want the
oldest and the newest Python that pyproject.toml names: where one is missing, a test is skipped, or with
REQUIRE_PYTHONS=1 fails.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hostile import START, Hostile
from raw import RawClient

from lsp_server import __version__

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "docs/demo.py"
PATH = ".:/usr/bin:/bin"  # the folder's own programs first
NAMED = re.findall(r'"Programming Language :: Python :: 3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
OLDEST, NEWEST = min(map(int, NAMED)), max(map(int, NAMED))
NO_CUDA = {**os.environ, "SKBUILD_CMAKE_DEFINE": "MZ_CUDA=OFF"}  # it takes minutes to compile
SHIPPED = [
    "lsp_server/py.typed", "diffusion/py.typed", "cuda_ext/py.typed", "cuda_ext/_lib/libmezzotint_cpu.so",
    "lsp_server/editors/nvim/plugin/mezzotint.lua", "lsp_server/editors/nvim/lua/mezzotint/init.lua",
    "lsp_server/editors/nvim/doc/mezzotint.txt", "lsp_server/editors/emacs/mezzotint.el",
]  # fmt: skip
NOT_SHIPPED = ("node_modules", "install.sh", "-tests.el", ".cpp", ".cuh", "tests/", ".pyc")

pytestmark = pytest.mark.wheel


def interpreters() -> dict[int, str]:
    """The Pythons here that we support and that can make an environment, by their minor version."""
    found = {sys.version_info.minor: sys.executable}
    for minor in range(OLDEST, NEWEST + 1):
        name = f"python3.{minor}"
        pyenv = glob.glob(os.path.expanduser(f"~/.pyenv/versions/3.{minor}.*/bin/{name}"))
        for path in [*pyenv, *filter(None, [shutil.which(name)])]:
            if subprocess.run([path, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode == 0:
                found.setdefault(minor, path)
    return found


FOUND = interpreters()
TRIED = sorted({min(FOUND), sys.version_info.minor, max(FOUND)})


def test_the_oldest_and_the_newest_python_that_we_name_are_tried() -> None:
    missing = ", ".join(f"3.{minor}" for minor in (OLDEST, NEWEST) if minor not in TRIED)
    if missing and not os.environ.get("REQUIRE_PYTHONS"):
        pytest.skip(f"SKIPPED Python {missing}: not found here, the wheel is not tried on it")
    assert not missing, f"Python {missing} is not here: install it, or put it on the PATH"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT], env=NO_CUDA, check=True
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module", params=TRIED, ids=lambda minor: f"3.{minor}")
def installed(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has the wheel and what it requires."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([FOUND[request.param], "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin/python", "-m", "pip", "install", "-q", wheel], check=True)
    return folder / "bin"


def test_the_wheel_holds_what_it_promises(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    licenses = [f"mezzotint-{__version__}.dist-info/licenses/{name}" for name in ("LICENSE", "NOTICE")]
    assert set(SHIPPED + licenses) <= set(names)
    assert [name for name in names if any(part in name for part in NOT_SHIPPED)] == []


def test_torch_is_not_installed_with_it(installed: Path) -> None:
    look = "import importlib.util; print(importlib.util.find_spec('torch'))"
    assert subprocess.run([installed / "python", "-I", "-c", look], capture_output=True, text=True).stdout == "None\n"


def test_it_completes_the_demo_in_a_hostile_folder(installed: Path, hostile: Hostile) -> None:
    demo = hostile.write("demo.py", DEMO.read_text())
    done = json.loads(hostile.run([installed / "mezzotint", "complete", "--json", "demo.py:16:21"], PATH=PATH))
    assert done["device"] == "cpu" and done["forward_passes"] >= 1
    assert demo.read_text() == DEMO.read_text()
    assert not hostile.marks()


def test_its_server_answers_in_a_hostile_folder(installed: Path, hostile: Hostile) -> None:
    text, uri = DEMO.read_text(), (hostile.folder / "demo.py").as_uri()
    with RawClient(command=[str(installed / "mezzotint"), "lsp"], cwd=hostile.folder) as client:
        client.request("initialize", START)
        client.notify("initialized", {})
        document = {"uri": uri, "languageId": "python", "version": 1, "text": text}
        client.notify("textDocument/didOpen", {"textDocument": document})
        where = {"textDocument": {"uri": uri}, "position": {"line": 15, "character": 20}}
        answer = client.request("textDocument/inlineCompletion", {**where, "context": {"triggerKind": 1}})
        assert "items" in answer["result"]
        stats = client.request("mezzotint/stats", None)["result"]
        assert stats["forwardPasses"] >= 1
    assert not hostile.marks()


def test_doctor_finds_all_it_needs(installed: Path, hostile: Hostile) -> None:
    said = hostile.run([installed / "mezzotint", "doctor"], PATH=PATH)
    assert "everything needed is here" in said
    assert not hostile.marks()


@pytest.mark.parametrize(("editor", "plugin"), [("nvim", "nvim"), ("emacs", "emacs")])
def test_setup_names_the_plugin_that_came_with_it(
    installed: Path, hostile: Hostile, editor: str, plugin: str, tmp_path: Path
) -> None:
    lines = hostile.run([installed / "mezzotint", "setup", editor], PATH=PATH, HOME=str(tmp_path))
    (folder,) = {word for word in lines.split('"') if word.endswith(f"editors/{plugin}")}
    assert Path(folder).is_dir() and installed.parent in Path(folder).parents
    assert f'{installed}/mezzotint"' in lines
    assert not hostile.marks()
