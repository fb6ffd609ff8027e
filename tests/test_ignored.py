"""What git ignores, from .gitignore files that anyone may have written."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsp_server.text.ignored import MAX_BYTES, MAX_LINES, _compiled, is_ignored


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    return tmp_path / "repository"


def test_files_that_git_ignores_are_known(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("secret/\n*.gen.py\n")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / ".gitignore").write_text("local.py\n")
    ignored = {
        "secret/a.py": True, "src/x.gen.py": True, "src/local.py": True, "src/a.py": False, "local.py": False,
    }  # fmt: skip
    for name, expected in ignored.items():
        assert is_ignored((tmp_path / name).as_uri()) == expected, name


@pytest.mark.parametrize("odd", ["!", "\\", "ends in\\", "! ", "/\\", "[z-a]", "[a-\\]", "caf\xe9"])
def test_an_odd_line_matches_nothing_and_the_others_hold(
    odd: str, repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (repository / ".gitignore").write_bytes(f"secret.py\n{odd}\n*.gen\n".encode("latin-1"))
    caplog.set_level(logging.WARNING)
    expected = {"secret.py": True, "a.gen": True, "a.py": False, "src/secret.py": True}
    assert {name: is_ignored((repository / name).as_uri()) for name in expected} == expected
    assert len(caplog.records) <= 1


def test_line_ends_and_a_byte_order_mark_are_no_part_of_a_pattern(repository: Path) -> None:
    (repository / ".gitignore").write_bytes(b"\xef\xbb\xbffirst.py\r\nsecond.py\r\n")
    for name in ("first.py", "second.py"):
        assert is_ignored((repository / name).as_uri())


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("!\\/[]*?^-az:# {}()|&~\t\r\0é"), max_size=12) | st.text(max_size=12))
def test_no_line_raises(line: str) -> None:
    for pattern in _compiled([line]):
        pattern.match_file("a/b.py")


def test_a_changed_file_is_read_again(repository: Path) -> None:
    secret, gitignore = (repository / "secret.py").as_uri(), repository / ".gitignore"
    gitignore.write_text("other.py\n")
    assert not is_ignored(secret)
    gitignore.write_text("secret.py\n")
    os.utime(gitignore, ns=(1, 1))
    assert is_ignored(secret)


def test_only_the_folders_of_the_repository_count(repository: Path) -> None:
    (repository.parent / ".gitignore").write_text("*\n")
    assert not is_ignored((repository / "a.py").as_uri())


def test_without_a_repository_only_the_own_folder_counts(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / ".gitignore").write_text("above.py\n")
    (tmp_path / "src" / ".gitignore").write_text("beside.py\n")
    assert is_ignored((tmp_path / "src" / "beside.py").as_uri())
    assert not is_ignored((tmp_path / "src" / "above.py").as_uri())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX files")
@pytest.mark.parametrize("kind", ["fifo", "link to a device", "link", "folder"])
def test_what_is_no_regular_file_is_never_opened(kind: str, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = repository / ".gitignore"
    (repository / "patterns").write_text("*\n")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "link to a device" else "patterns")

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("it was opened")

    for module, name in (("os", "open"), ("io", "open"), ("builtins", "open")):
        monkeypatch.setattr(f"{module}.{name}", opened)
    assert not is_ignored((repository / "a.py").as_uri())


def test_a_file_without_end_is_left_out(repository: Path, caplog: pytest.LogCaptureFixture) -> None:
    (repository / ".gitignore").write_bytes(b"*.py\n" + b"#" * MAX_BYTES)
    assert not is_ignored((repository / "a.py").as_uri())
    assert "over 1000000 bytes" in caplog.text


def test_only_so_many_lines_are_compiled(repository: Path) -> None:
    (repository / ".gitignore").write_text("first.py\n" + "x\n" * MAX_LINES + "last.py\n")
    assert is_ignored((repository / "first.py").as_uri())
    assert not is_ignored((repository / "last.py").as_uri())


@pytest.mark.parametrize("uri", ["untitled:Untitled-1", "file:///a%00b/c.py", "file://[a/b.py", "file:", "file:///"])
def test_an_odd_uri_names_nothing_that_git_ignores(uri: str) -> None:
    assert not is_ignored(uri)
