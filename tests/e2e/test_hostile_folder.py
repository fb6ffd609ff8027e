"""Opening a folder runs no code of that folder, however an editor starts the server.

Mezzotint is not an editable install here: that one's import hook goes before sys.path and would hide the fault. A wheel
takes a compile, so it is a venv with a plain .pth: the packages come last on sys.path, as those of a wheel do.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from hostile import OURS, START, Hostile

ROOT = Path(__file__).parents[2]
EDITORS = Path(os.environ.get("MEZZOTINT_EDITORS", ROOT / ".editors"))
NVIM, EMACS = EDITORS / "bin/nvim", EDITORS / "bin/emacs"
FIND = ROOT / "editors/vscode/test/find.mjs"
SERVER_COMMAND = "import json, lsp_server.tools.setup_editor as setup; print(json.dumps(setup.server_command()))"
BENCHMARK_CLIENT = f"""
from lsp_server.tools.client import Client
with Client(60) as client:
    print(client.call("initialize", {START}))
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The bin folder of a venv with Mezzotint in it, and its console script as pip writes it."""
    folder = tmp_path / "installed"
    venv.EnvBuilder(symlinks=True).create(folder)
    packages = sysconfig.get_path("purelib", vars={"base": str(folder)})
    needed = [path for path in sys.path if Path(path).name == "site-packages"]
    Path(packages, "mezzotint.pth").write_text("\n".join([str(ROOT), *needed]))
    script = folder / "bin/mezzotint"
    script.write_text(f"#!{folder}/bin/python\nimport sys\nfrom lsp_server.cli import main\nsys.exit(main())\n")
    script.chmod(0o755)
    return folder / "bin"


def test_the_trap_works(hostile: Hostile, installed: Path) -> None:
    hostile.run([installed / "python", "-c", "import argparse, diffusion"])
    assert "argparse.py" in hostile.marks() and "diffusion" in hostile.marks()


@pytest.mark.parametrize("program", ["mezzotint", "python"])
def test_what_setup_writes_into_settings(hostile: Hostile, installed: Path, program: str) -> None:
    if program == "python":
        (installed / "mezzotint").unlink()  # no other is there but the folder's own
    command = json.loads(hostile.run([installed / "python", "-I", "-c", SERVER_COMMAND], PATH=".:/usr/bin:/bin"))
    assert Path(command[0]) == installed / program
    assert hostile.serves(command)
    assert not hostile.marks()


def test_the_client_of_benchmarks_and_replay(hostile: Hostile, installed: Path) -> None:
    assert "capabilities" in hostile.run([installed / "python", "-I", "-c", BENCHMARK_CLIENT])
    assert not hostile.marks()


def test_python_m_forgets_the_folder_before_it_imports_more(hostile: Hostile, installed: Path) -> None:
    (hostile.folder / OURS).unlink()  # `-m` would import that one before any code of ours could prevent it
    assert hostile.serves([str(installed / "python"), "-m", "lsp_server"])
    assert not hostile.marks()


def found_by_vscode(hostile: Hostile, storage: Path, python: Path, trusted: bool) -> list[str] | None:
    """What the extension would start: its own code says so, in a node that was started in the folder."""
    scenario = json.dumps({"storage": str(storage), "trusted": trusted, "python": str(python)})
    command = hostile.run([str(shutil.which("node")), FIND, scenario], PATH=".:/usr/bin:/bin")
    found: list[str] | None = json.loads(command)
    return found


@pytest.mark.editors
@pytest.mark.skipif(
    not (FIND.parents[1] / "node_modules").exists(), reason="SKIPPED VS Code: editors/vscode/install.sh"
)
def test_vs_code_asks_the_folders_python_only_when_trusted(hostile: Hostile, installed: Path, tmp_path: Path) -> None:
    own, storage = hostile.folder / ".venv/bin/python", tmp_path / "storage"
    storage.mkdir()
    assert found_by_vscode(hostile, storage, own, trusted=False) is None
    assert not hostile.marks()
    assert found_by_vscode(hostile, storage, installed / "python", trusted=False) is None
    by_interpreter = found_by_vscode(hostile, storage, installed / "python", trusted=True)
    (storage / "venv").symlink_to(installed.parent)
    private = found_by_vscode(hostile, storage, own, trusted=False)
    for command, python in ((by_interpreter, installed / "python"), (private, storage / "venv/bin/python")):
        assert command and Path(command[0]) == python
        assert hostile.serves(command)
    assert not hostile.marks()


@pytest.mark.editors
@pytest.mark.skipif(not NVIM.exists(), reason="SKIPPED Neovim: not installed (editors/nvim/install.sh)")
def test_neovim(hostile: Hostile, installed: Path, tmp_path: Path) -> None:
    init = tmp_path / "init.lua"
    init.write_text(f"""
        vim.g.loaded_python3_provider = 0
        vim.opt.rtp:append({str(ROOT / "editors/nvim")!r})
        function Ready()
          local ready = function() local one = require("mezzotint.client").get() return one and one.initialized end
          io.write(vim.wait(60000, ready, 50) and "ready" or "not ready")
        end""")
    homes = {f"XDG_{name}_HOME": str(tmp_path / name) for name in ("STATE", "DATA", "CACHE", "CONFIG")}
    command = [NVIM, "--headless", "-n", "-u", init, "main.py", "-c", "lua Ready()", "-c", "qa!"]
    assert hostile.run(command, **with_server(installed), **homes) == "ready"
    assert not hostile.marks()


@pytest.mark.editors
@pytest.mark.skipif(not EMACS.exists(), reason="SKIPPED Emacs: not installed (editors/emacs/install.sh)")
def test_emacs(hostile: Hostile, installed: Path) -> None:
    connect = """(progn (mezzotint-use-for '(python-mode)) (find-file "main.py") (setq eglot-sync-connect 60)
        (apply #'eglot (eglot--guess-contact)) (princ (and (mezzotint--server) "ready")))"""
    command = [EMACS, "-Q", "--batch", "-l", ROOT / "editors/emacs/mezzotint.el", "--eval", connect]
    assert hostile.run(command, **with_server(installed)) == "ready"
    assert not hostile.marks()


def with_server(installed: Path) -> dict[str, str]:
    """Mezzotint on the PATH; an empty entry of PYTHONPATH is the folder in which a program is started."""
    return {"PATH": f"{installed}:/usr/bin:/bin", "PYTHONPATH": ":/usr/share"}
