import subprocess
import sys

import pytest

from lsp_server import __version__
from lsp_server.cli import COMMANDS, main


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: mezzotint {command}")


@pytest.mark.parametrize("argv", [["--help"], ["lsp", "--help"], ["complete", "--help"], ["bench", "lsp", "--help"]])
def test_help_imports_nothing_heavy(argv: list[str]) -> None:
    program = (
        f"import sys; from lsp_server.cli import main\ntry: main({argv!r})\nexcept SystemExit: pass\n"
        "print([name for name in ('torch', 'numpy', 'pygls', 'tokenizers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_unknown_command_is_exit_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["scrape"])
    assert ended.value.code == 2
    assert "scrape" in capsys.readouterr().err


def test_no_command_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["version"], ["--version"]])
def test_version_is_the_package_version(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    assert capsys.readouterr().out == f"mezzotint {__version__}\n"


def test_a_reader_that_leaves_early_causes_no_traceback() -> None:
    run = subprocess.Popen(
        [sys.executable, "-u", "-m", "lsp_server.cli", "doctor"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert run.stdout and run.stderr
    run.stdout.read(1)
    run.stdout.close()
    assert b"Traceback" not in run.stderr.read()
    assert run.wait() == 1
    run.stderr.close()
