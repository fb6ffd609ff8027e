"""Asking git in repositories that anyone may have made; what git runs and reads is counted, not timed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lsp_server.text import git

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "repository")], check=True)
    return tmp_path / "repository"


def configure(repository: Path, *settings: str) -> None:
    for setting in settings:
        subprocess.run(["git", "-C", str(repository), "config", *setting.split("=", 1)], check=True)


def test_names_of_any_kind_are_answered_one_by_one(repository: Path) -> None:
    (repository / ".gitignore").write_text("*.log\n!keep.log\nbuild/\n")
    names = {
        "a.log": True, "keep.log": False, "build/x": True, "a": False, "-v": False, ":(top)x.log": True, ":!a": False,
        "two\nlines.log": True, "*.log": True, "\u00e9.log": True, "a b.log": True, '"q".log': True,
    }  # fmt: skip
    assert git.ignored_by(repository, list(names)) == names


@pytest.mark.skipif(os.name == "nt", reason="names are not bytes there")
def test_a_name_that_is_no_utf_8_is_answered(repository: Path) -> None:
    (repository / ".gitignore").write_bytes(b"caf\xe9\n")
    name = os.fsdecode(b"caf\xe9")
    assert git.ignored_by(repository, [name]) == {name: True}


def test_what_is_tracked_is_not_ignored(repository: Path) -> None:
    (repository / ".gitignore").write_text("*.py\n")
    (repository / "a.py").write_text("")
    subprocess.run(["git", "-C", str(repository), "add", "--force", "a.py"], check=True)
    assert git.ignored_by(repository, ["a.py", "b.py"]) == {"a.py": False, "b.py": True}


@pytest.mark.skipif(os.name == "nt", reason="the traps are shell scripts")
def test_nothing_that_a_repository_names_is_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sprung, trap = tmp_path / "sprung", tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\necho $0 >> {sprung}\nexit 1\n")
    trap.chmod(0o755)
    (repository / "a.py").write_text("")
    (repository / ".gitignore").write_text("b.py\n")
    subprocess.run(["git", "-C", str(repository), "add", "."], check=True)
    for hook in ("post-index-change", "fsmonitor-watchman", "post-checkout"):
        (repository / ".git" / "hooks").mkdir(exist_ok=True)
        shutil.copy(trap, repository / ".git" / "hooks" / hook)
    configure(
        repository,
        *(f"core.fsmonitor={trap}", f"core.sshCommand={trap}", f"core.pager={trap}", f"alias.check-ignore=!{trap}"),
        *(f"core.editor={trap}", f"credential.helper={trap}", "pager.check-ignore=true", "core.untrackedCache=true"),
        *(f"remote.origin.url=ext::{trap}", "remote.origin.promisor=true", "protocol.ext.allow=always"),
        *(f"remote.origin.uploadpack={trap}", "extensions.partialClone=origin", f"filter.x.clean={trap}"),
    )
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(trap))
    assert git.ignored_by(repository, ["a.py", "b.py"]) == {"a.py": False, "b.py": True}
    assert not sprung.exists()
    subprocess.run(["git", "-C", str(repository), "status"], capture_output=True)
    assert sprung.exists()  # the trap works


def test_a_blob_that_is_missing_is_not_fetched_by_what_the_repository_names(repository: Path, tmp_path: Path) -> None:
    """A .gitignore that is not checked out is read from the index; its blob, from a remote in a partial clone."""
    sprung, trap = tmp_path / "sprung", tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\necho $0 >> {sprung}\nexit 1\n")
    trap.chmod(0o755)
    (repository / ".gitignore").write_text("b.py\n")
    in_repository = ["git", "-C", str(repository)]
    subprocess.run([*in_repository, "add", "."], check=True)
    subprocess.run([*in_repository, "update-index", "--skip-worktree", ".gitignore"], check=True)
    (repository / ".gitignore").unlink()
    shutil.rmtree(repository / ".git" / "objects")
    (repository / ".git" / "objects").mkdir()
    configure(
        repository, "core.repositoryFormatVersion=1", "extensions.partialClone=origin", f"remote.origin.url=ext::{trap}"
    )
    configure(repository, "remote.origin.promisor=true", "protocol.ext.allow=always", f"core.sshCommand={trap}")
    try:
        git.ignored_by(repository, ["b.py"])
    except git.NoAnswerError:
        pass
    assert not sprung.exists()
    subprocess.run([*in_repository, "check-ignore", "b.py"], capture_output=True)
    assert sprung.exists()  # the trap works


def test_variables_that_lead_git_elsewhere_do_not_count(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / ".gitignore").write_text("a.py\n")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_CONFIG_GLOBAL", "GIT_COMMON_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "false")
    assert git.ignored_by(repository, ["a.py"]) == {"a.py": True}
    assert not {name for name in git.environment(repository) if name.startswith("GIT_")} - {
        *git.ENVIRONMENT, "GIT_CEILING_DIRECTORIES",
    }  # fmt: skip


def test_a_folder_that_is_no_repository_gets_no_answer_from_one_above(repository: Path) -> None:
    (repository / "src" / ".git").mkdir(parents=True)
    with pytest.raises(git.NoAnswerError):
        git.ignored_by(repository / "src", ["a.py"])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a folder away")
def test_a_repository_of_somebody_else_gets_no_answer(repository: Path) -> None:
    for path in (repository, repository / ".git"):
        os.chown(path, 65534, 65534)
    with pytest.raises(git.NoAnswerError):
        git.ignored_by(repository, ["a.py"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX files")
def test_one_that_waits_is_ended(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(repository / "fifo")
    configure(repository, "include.path=../fifo")
    monkeypatch.setattr(git, "TIMEOUT_S", 0.2)
    with pytest.raises(git.TooSlowError):
        git.ignored_by(repository, ["a.py"])


def test_a_git_that_lies_in_the_working_folder_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "git.exe" if sys.platform == "win32" else "git"
    (tmp_path / name).write_text("")
    (tmp_path / name).chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join([".", ""]))
    git.program_path.cache_clear()
    try:
        assert git.program_path() is None
        with pytest.raises(git.NoAnswerError):
            git.ignored_by(tmp_path, ["a.py"])
    finally:
        monkeypatch.undo()
        git.program_path.cache_clear()


def test_a_worktree_shares_the_lists_of_its_repository(repository: Path, tmp_path: Path) -> None:
    commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--allow-empty", "--message", "a"]
    subprocess.run(["git", "-C", str(repository), *commit], check=True)
    subprocess.run(["git", "-C", str(repository), "worktree", "add", "--quiet", str(tmp_path / "tree")], check=True)
    assert (tmp_path / "tree" / ".git").is_file()
    assert git.info_exclude(tmp_path / "tree").resolve() == repository / ".git" / "info" / "exclude"


def test_the_users_list_is_the_one_that_the_configuration_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert git.excludes_files(git.user_configs()) == [tmp_path / "xdg" / "git" / "ignore"]
    (tmp_path / ".gitconfig").write_text('[user]\n\texcludesfile = no\n[core]\n\tExcludesFile = "~/mine"\n')
    assert git.excludes_files(git.user_configs()) == [tmp_path / "mine"]
