import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lsp_server.tools import setup_editor
from lsp_server.tools.setup_editor import main

EDITORS = Path(os.environ.get("MEZZOTINT_EDITORS", Path(__file__).parents[1] / ".editors"))
NVIM, EMACS = EDITORS / "bin" / "nvim", EDITORS / "bin" / "emacs"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own, so that no test can reach the user's settings."""
    for name in ("NVIM_APPNAME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    return tmp_path


def write(home: Path, name: str, text: str) -> Path:
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("file", ["nvim/plugin/mezzotint.lua", "emacs/mezzotint.el"])
def test_the_plugins_are_where_the_lines_say(file: str) -> None:
    assert (setup_editor.PLUGINS / file).exists()


@pytest.mark.parametrize("editor", ["nvim", "vscode", "emacs"])
def test_without_write_the_lines_are_printed_and_nothing_is_touched(
    editor: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([editor]) == 0
    assert setup_editor.server_command()[0] in capsys.readouterr().out
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("editor", "name", "old"),
    [
        ("nvim", ".config/nvim/init.lua", "vim.o.number = true"),
        ("emacs", ".emacs", "(setq x 1)\n"),
        ("vscode", ".config/Code/User/settings.json", '{\n    // mine\n    "editor.fontSize": 14,\n}\n'),
    ],
)
def test_the_change_is_shown_the_old_file_kept_and_a_second_run_changes_nothing(
    editor: str, name: str, old: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(home, name, old)
    assert main([editor, "--write"]) == 0
    new = path.read_text()
    assert all(line in new for line in old.splitlines())
    shown = [line[1:] for line in capsys.readouterr().out.splitlines() if line.startswith("+") and "+++" not in line]
    assert shown and all(line in new for line in shown)
    assert path.with_name(path.name + ".backup-1").read_text() == old
    assert main([editor, "--write"]) == 0
    assert "already" in capsys.readouterr().out
    assert path.read_text() == new
    assert len(list(path.parent.glob(path.name + "*"))) == 2


def test_an_older_block_is_replaced_where_it_stands(home: Path) -> None:
    block = f"-- {setup_editor.BEGIN}\nold()\n-- {setup_editor.END}\n"
    path = write(home, ".config/nvim/init.lua", f"first()\n{block}last()\n")
    assert main(["nvim", "--write"]) == 0
    text = path.read_text()
    assert "old()" not in text
    assert text.startswith("first()\n") and text.endswith("last()\n")
    assert text.count(setup_editor.BEGIN) == 1


@pytest.mark.parametrize(
    ("editor", "name", "text"),
    [
        ("nvim", ".config/nvim/init.lua", 'require("mezzotint").setup({})\n'),
        ("vscode", ".config/Code/User/settings.json", '{"mezzotint.command": ["other"]}'),
        ("vscode", ".config/Code/User/settings.json", "[]"),
    ],
)
def test_what_the_user_wrote_about_mezzotint_is_left_alone(
    editor: str, name: str, text: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(home, name, text)
    assert main([editor, "--write"]) == 1
    assert "was not changed" in capsys.readouterr().err
    assert path.read_text() == text
    assert [found.name for found in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("text", ["", "{}", "{ }\n", '{"a": 1}', "// c { \n{\n}\n", '{\n  "a": {"b": 2}\n}\n'])
def test_vs_codes_settings_stay_readable(text: str, home: Path) -> None:
    path = write(home, ".config/Code/User/settings.json", text)
    assert main(["vscode", "--write"]) == 0
    settings = json.loads("\n".join(line for line in path.read_text().splitlines() if not line.startswith("//")))
    assert settings.pop("mezzotint.command") == setup_editor.server_command()
    body = "\n".join(line for line in text.splitlines() if not line.startswith("//"))
    assert settings == (json.loads(body) if body else {})


def test_a_user_of_init_vim_gets_no_second_init_file(home: Path) -> None:
    path = write(home, ".config/nvim/init.vim", "set number\n")
    assert main(["nvim", "--write"]) == 0
    assert "lua << MEZZOTINT\n" in path.read_text()
    assert not path.with_suffix(".lua").exists()


def test_links_permissions_and_line_ends_stay(home: Path) -> None:
    real = write(home, "dotfiles/init.lua", "vim.o.number = true\r\n")
    real.chmod(0o600)
    link = home / ".config" / "nvim" / "init.lua"
    link.parent.mkdir(parents=True)
    link.symlink_to(real)
    assert main(["nvim", "--write"]) == 0
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert real.read_bytes().count(b"\n") == real.read_bytes().count(b"\r\n") > 1


def test_the_printed_command_starts_the_server(home: Path) -> None:
    done = subprocess.run([*setup_editor.server_command(), "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "--stdio" in done.stdout
    assert Path(setup_editor.server_command()[0]).is_absolute()


def test_the_command_is_routed(home: Path) -> None:
    argv = [sys.executable, "-m", "lsp_server.cli", "setup", "vscode"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env={**os.environ, "HOME": str(home)})
    assert done.returncode == 0
    assert "mezzotint.command" in done.stdout


@pytest.mark.editors
@pytest.mark.skipif(not NVIM.exists(), reason="SKIPPED Neovim: not installed (editors/nvim/install.sh)")
@pytest.mark.parametrize("name", ["init.lua", "init.vim"])
def test_neovim_reads_what_was_written(name: str, home: Path) -> None:
    path = write(home, f".config/nvim/{name}", "")
    assert main(["nvim", "--write"]) == 0
    look = "echo 'there' exists(':Mezzotint')"
    argv = [str(NVIM), "-n", "--headless", "-u", str(path), "-c", look, "-c", "qa!"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.stderr.split() == ["there", "2"], done.stderr


@pytest.mark.editors
@pytest.mark.skipif(not EMACS.exists(), reason="SKIPPED Emacs: not installed (editors/emacs/install.sh)")
def test_emacs_reads_what_was_written(home: Path) -> None:
    path = write(home, ".emacs", "")
    assert main(["emacs", "--write"]) == 0
    first = "(cdar eglot-server-programs)"
    ask = f"(progn (require 'eglot) (prin1 (if (functionp {first}) (funcall {first} nil) {first})))"
    argv = [str(EMACS), "-Q", "--batch", "-l", str(path), "--eval", ask]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert setup_editor.server_command()[0] in done.stdout, done.stdout + done.stderr
