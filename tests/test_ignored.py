"""What git ignores: its own answers, kept as long as they hold, and the files where it gives none."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from lsp_server.text import git, recent
from lsp_server.text.ignored import MAX_ANSWERS, is_ignored, repository

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture(autouse=True)
def no_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every question is asked: the tests change files faster than anyone types."""
    monkeypatch.setattr(recent, "FRESH_S", 0.0)


@pytest.fixture(params=["git", "files"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository, and with a git or without."""
    if shutil.which("git"):
        subprocess.run(["git", "init", "--quiet", str(tmp_path / "repository")], check=True)
    else:
        (tmp_path / "repository" / ".git" / "info").mkdir(parents=True)
    if request.param == "files":
        monkeypatch.setattr(git, "program_path", lambda: None)
    elif not shutil.which("git"):
        pytest.skip("needs git")
    return tmp_path / "repository"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The questions that git is asked."""
    questions: list[list[str]] = []
    ask = git.ignored_by

    def counted(root: Path, paths: Sequence[str]) -> dict[str, bool]:
        questions.append(list(paths))
        return ask(root, paths)

    monkeypatch.setattr(git, "ignored_by", counted)
    return questions


def ignored(folder: Path, *names: str) -> dict[str, bool]:
    return {name: is_ignored((folder / name).as_uri()) for name in names}


def test_the_lists_of_every_folder_count_and_a_deeper_one_takes_back(folder: Path) -> None:
    (folder / ".gitignore").write_text("secret/\n*.gen.py\n*.local\n")
    (folder / "src").mkdir()
    (folder / "src" / ".gitignore").write_text("local.py\n!keep.gen.py\n")
    (folder / ".git" / "info" / "exclude").write_text("mine.py\n")
    expected = {
        "secret/a.py": True, "src/x.gen.py": True, "src/keep.gen.py": False, "keep.gen.py": True, "src/local.py": True,
        "src/a.py": False, "local.py": False, "mine.py": True, "src/mine.py": True, "caf\u00e9 1.local": True,
    }  # fmt: skip
    assert ignored(folder, *expected) == expected


def test_the_users_list_counts(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / ".gitconfig").write_text("[core]\n\texcludesFile = ~/list\n")
    assert ignored(folder, "a.py") == {"a.py": False}
    (tmp_path / "list").write_text("a.py\n")
    assert ignored(folder, "a.py") == {"a.py": True}


def test_only_the_folders_of_the_innermost_repository_count(folder: Path) -> None:
    (folder.parent / ".gitignore").write_text("*\n")
    assert ignored(folder, "a.py") == {"a.py": False}
    (folder / ".gitignore").write_text("*.py\n")
    (folder / "inner" / ".git").mkdir(parents=True)
    assert ignored(folder, "inner/a.py", "outer/a.py") == {"inner/a.py": False, "outer/a.py": True}


def test_without_a_repository_only_the_own_folder_counts(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / ".gitignore").write_text("above.py\n")
    (tmp_path / "src" / ".gitignore").write_text("beside.py\n")
    assert ignored(tmp_path / "src", "beside.py", "above.py") == {"beside.py": True, "above.py": False}


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_is_ignored_by_its_own_name_and_by_its_targets(folder: Path) -> None:
    (folder / ".gitignore").write_text("secret.py\nlink.py\nhidden/\n")
    for name in ("secret.py", "open.py", "hidden/a.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("")
    (folder / "to_secret.py").symlink_to("secret.py")
    (folder / "link.py").symlink_to("open.py")
    (folder / "to_hidden").symlink_to("hidden")
    (folder / "circle").symlink_to("circle")
    expected = {"to_secret.py": True, "link.py": True, "to_hidden/a.py": True, "open.py": False, "circle": False}
    assert ignored(folder, *expected) == expected


def test_a_changed_list_is_read_again(folder: Path) -> None:
    gitignore = folder / "src" / ".gitignore"
    gitignore.parent.mkdir()
    assert ignored(folder, "src/a.py") == {"src/a.py": False}
    gitignore.write_text("a.py\n")
    assert ignored(folder, "src/a.py") == {"src/a.py": True}
    gitignore.write_text("b.py\n")
    os.utime(gitignore, ns=(1, 1))
    assert ignored(folder, "src/a.py") == {"src/a.py": False}


@needs_git
def test_git_is_asked_once_until_something_changes_and_then_once_for_all(
    tmp_path: Path, asked: list[list[str]]
) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("a.py\n")
    names = ("a.py", "b.py", "src/c.py")
    for _ in range(3):
        assert ignored(tmp_path, *names) == {"a.py": True, "b.py": False, "src/c.py": False}
    assert asked == [["a.py"], ["b.py"], ["src/c.py"]]
    asked.clear()
    (tmp_path / "a.py").write_text("")
    subprocess.run(["git", "-C", str(tmp_path), "add", "--force", "a.py"], check=True)
    assert ignored(tmp_path, *names) == {"a.py": False, "b.py": False, "src/c.py": False}
    assert [sorted(paths) for paths in asked] == [sorted(names)]


@needs_git
def test_only_so_many_answers_are_kept(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    one = repository(tmp_path)
    one._answers.update({(str(number),): one._answers.get((), None) for number in range(MAX_ANSWERS)})  # type: ignore
    one._stamp = lambda parts: ((), False)  # type: ignore[method-assign]
    one.ignores(("a.py",))
    assert len(one._answers) == MAX_ANSWERS


@needs_git
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX files")
@pytest.mark.parametrize("name", [".gitignore", "src/.gitignore", ".git/config", ".git/info/exclude", ".git/index"])
def test_git_is_not_asked_to_open_what_would_make_it_wait(name: str, tmp_path: Path, asked: list[list[str]]) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "src").mkdir()
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    assert ignored(tmp_path, "src/a.py") == {"src/a.py": False}
    assert asked == []


@needs_git
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX files")
@pytest.mark.parametrize("kind", ["fifo", "file", "file that names nothing", "empty folder", "link"])
def test_whatever_dot_git_is_there_is_an_answer(kind: str, tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("a.py\n")
    if kind == "fifo":
        os.mkfifo(tmp_path / ".git")
    elif kind == "empty folder":
        (tmp_path / ".git").mkdir()
    elif kind == "link":
        (tmp_path / ".git").symlink_to("/dev/zero")
    else:
        (tmp_path / ".git").write_text("gitdir: /nowhere\0\n" if kind == "file" else "x" * 100_000)
    assert ignored(tmp_path, "a.py", "b.py") == {"a.py": True, "b.py": False}


@needs_git
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX files")
def test_a_git_that_was_too_slow_is_not_asked_again(
    tmp_path: Path, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    os.mkfifo(tmp_path / "fifo")
    subprocess.run(["git", "-C", str(tmp_path), "config", "include.path", "../fifo"], check=True)
    monkeypatch.setattr(git, "TIMEOUT_S", 0.2)
    (tmp_path / ".gitignore").write_text("a.py\n")
    assert ignored(tmp_path, "a.py", "b.py") == {"a.py": True, "b.py": False}
    assert asked == [["a.py"]]
    assert len(caplog.records) == 1


def test_hostile_patterns_hold_nothing(folder: Path) -> None:
    (folder / ".gitignore").write_text("\n".join(["*a" * 40 + "*b", "**/" * 40 + "b", "a.py"]))
    deep = "/".join(["a" * 200] * 15)
    assert ignored(folder, "a.py", deep, "a" * 5000, "a/" * 300 + "b") == {
        "a.py": True, deep: False, "a" * 5000: True, "a/" * 300 + "b": True,
    }  # fmt: skip


@pytest.mark.parametrize("uri", ["untitled:Untitled-1", "file:///a%00b/c.py", "file://[a/b.py", "file:", "file:///"])
def test_an_odd_uri_names_nothing_that_git_ignores(uri: str) -> None:
    assert not is_ignored(uri)
