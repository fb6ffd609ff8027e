import json
import os
import pty
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from lsp_server.tools.complete import main, offset_of, read_file, split_position
from tests.models import SMALL

SOURCE = textwrap.__file__
LINE = next(i for i, line in enumerate(open(SOURCE, encoding="utf-8"), 1) if "self.width = width" in line)
POSITION = f"{SOURCE}:{LINE}:22"  # behind "self.width = "
MODEL = ("--model", str(SMALL))


@pytest.fixture(scope="module")
def piped() -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lsp_server.cli", "complete", *MODEL, POSITION]
    return subprocess.run(command, capture_output=True, text=True, check=True)


@pytest.fixture(scope="module")
def parsed() -> dict[str, Any]:
    command = [sys.executable, "-m", "lsp_server.cli", "complete", *MODEL, "--json", POSITION]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


def in_terminal(*argv: str, **environment: str) -> str:
    """What a process writes to a terminal of 60 columns."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lsp_server.cli", "complete", *MODEL, *argv], stdout=child, stderr=child, stdin=child,
        env={**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, "COLUMNS": "60", "LINES": "50", **environment},
    )  # fmt: skip
    os.close(child)
    written = b""
    try:
        while piece := os.read(parent, 65536):
            written += piece
    except OSError:  # Linux: the other side has closed
        pass
    os.close(parent)
    assert process.wait() == 0
    return written.decode().replace("\r\n", "\n")


def test_a_pipe_gets_the_final_text_only(piped: subprocess.CompletedProcess[str], parsed: dict[str, Any]) -> None:
    assert piped.stdout == parsed["text"] + "\n"


def test_json_has_every_draft_and_the_last_one_is_the_text(parsed: dict[str, Any]) -> None:
    assert set(parsed) == {"text", "steps", "forward_passes", "ms", "drafts", "model", "device"}
    assert parsed["drafts"][-1]["text"] == parsed["text"]
    assert parsed["drafts"][-1]["masked"] == []
    assert [draft["step"] for draft in parsed["drafts"]] == sorted({draft["step"] for draft in parsed["drafts"]})
    assert parsed["device"] == "cpu"


def test_masked_spans_lie_inside_their_drafts(parsed: dict[str, Any]) -> None:
    for draft in parsed["drafts"]:
        edges = [edge for span in draft["masked"] for edge in span]
        assert edges == sorted(edges)
        assert not edges or edges[-1] <= len(draft["text"])


def test_a_terminal_gets_every_stage_the_plain_result_and_the_numbers(parsed: dict[str, Any]) -> None:
    written = in_terminal(POSITION)
    assert written.count("\x1b[J") == len(parsed["drafts"]) + 2  # black, drafts, result
    *_, result = written.split("\x1b[J")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", result)
    assert re.search(rf"^ *{LINE} │ +self\.width = ", plain, re.M)
    assert re.search(r"^\d+ steps, \d+ forward passes, \d+ ms$", plain, re.M)
    assert "48;5;238" not in result


def test_no_color_means_no_escape_sequence() -> None:
    written = in_terminal(POSITION, NO_COLOR="1")
    assert "\x1b" not in written
    assert "░" in written


def test_an_empty_file_is_completed_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.py").write_text("")
    assert main([*MODEL, f"{tmp_path / 'empty.py'}:1:1"]) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    ("name", "content", "position", "message"),
    [
        ("absent.py", None, "1:1", "no such file"),
        ("a.py", b"x = 1\n", "3:1", "line 3 is outside of"),
        ("a.py", b"x = 1\n", "0:1", "line 0 is outside of"),
        ("a.py", b"x = 1\n", "1:7", "column 7 is outside of line 1"),
        ("a.py", b"x = 1\n", "1:0", "column 0 is outside of line 1"),
        ("latin.py", b"# caf\xe9\n", "1:1", "is not UTF-8: byte 0xe9 at offset 5"),
        (".env", b"TOKEN=1\n", "1:1", "secrets"),
        ("id_rsa", b"-----\n", "1:1", "secrets"),
        ("huge.py", b"#" * 1_000_001, "1:1", "are not completed"),
    ],
)
def test_bad_position_or_file_is_one_clear_line_and_exit_status_2(
    name: str, content: bytes | None, position: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert main([f"{tmp_path / name}:{position}"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


@pytest.mark.parametrize("position", ["a.py", "a.py:1", "a.py:x:1", ":1:1", "a.py:1:-1"])
def test_what_is_no_position_is_exit_status_2(position: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([position]) == 2
    assert "expected FILE:LINE:COL" in capsys.readouterr().err


def test_a_folder_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"{tmp_path}:1:1"]) == 2
    assert "cannot read" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX files")
def test_what_would_wait_or_never_end_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "fifo.py")
    (tmp_path / "zero.py").symlink_to("/dev/zero")
    for module in ("os", "io"):
        monkeypatch.setattr(f"{module}.open", lambda *_, **__: pytest.fail("it was opened"))
    for name in ("fifo.py", "zero.py"):
        assert main([f"{tmp_path / name}:1:1"]) == 2
        assert "it is not a regular file" in capsys.readouterr().err


def test_a_link_to_a_secret_is_a_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".env").write_text("TOKEN=1")
    (tmp_path / "link.txt").symlink_to(tmp_path / ".env")
    assert main([f"{tmp_path / 'link.txt'}:1:1"]) == 2
    assert "secrets" in capsys.readouterr().err


def test_files_in_a_folder_of_keys_are_secret_and_odd_names_are_seen_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".ssh").mkdir()
    for path in (tmp_path / ".ssh" / "config", tmp_path / "a#b.pem", tmp_path / "a?b.pem", tmp_path / "%2Fb.pem"):
        path.write_text("KEY=1")
        assert main([f"{path}:1:1"]) == 2
        assert "secrets" in capsys.readouterr().err


def test_wrong_weights_are_one_line_and_exit_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([POSITION, "--model", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)


def test_a_file_name_may_hold_colons() -> None:
    path, line, column = split_position("C:/odd:name.py:3:14")
    assert (str(path), line, column) == ("C:/odd:name.py", 3, 14)


def test_columns_are_characters_whatever_their_width_and_line_ends_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "wide.py"
    path.write_bytes("a = '漢😀'\r\nb = 2".encode())
    document = read_file(path)
    assert offset_of(document, 1, 9) == 8
    assert offset_of(document, 2, 1) == 10
    assert offset_of(document, 2, 6) == len(document.text)
