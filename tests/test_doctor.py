import json
import os
from pathlib import Path

import pytest

from lsp_server.tools.doctor import editor_version, find_answer, find_remote, find_versions, main
from tests.remote_server import fake_server


def test_everything_needed_is_found_where_the_tests_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    for subject in ("mezzotint", "python", "torch", "device", "native library", "model", "grammar", "editor"):
        assert any(line.startswith(subject) for line in out.splitlines()), subject
    assert "MISSING" not in out


def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **options: object) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("MEZZOTINT_REMOTE_TOKEN", raising=False)
    (tmp_path / "mezzotint").mkdir()
    (tmp_path / "mezzotint/config.json").write_text(json.dumps(options))


def test_a_remote_is_said_with_what_it_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configured(tmp_path, monkeypatch, remote="https://models.example", maxPrefixChars=1234)
    monkeypatch.setenv("MEZZOTINT_REMOTE_TOKEN", "secret")
    first, *sent = find_remote()
    assert (first.ok, first.detail.split(" ")[0]) == (True, "https://models.example")
    assert "1,234 characters before the cursor" in sent[0].detail and len(sent) == 4


def test_without_a_remote_nothing_leaves_the_machine() -> None:
    [finding] = find_remote()
    assert finding.ok is None and "nothing leaves this machine" in finding.detail


@pytest.mark.parametrize(
    ("remote", "why"),
    [("http://models.example", "is not encrypted"), ("https://models.example", "needs a token: in the file")],
)
def test_a_remote_that_cannot_be_used_is_a_required_thing_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: str, why: str
) -> None:
    configured(tmp_path, monkeypatch, remote=remote)
    if remote.startswith("http:"):
        monkeypatch.setenv("MEZZOTINT_REMOTE_TOKEN", "secret")
    [finding] = find_remote()
    assert finding.ok is False and why in finding.detail


def test_the_remote_is_asked_when_that_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_server(lambda asked: None) as server:
        configured(tmp_path, monkeypatch, remote=server.url)
        monkeypatch.setenv("MEZZOTINT_REMOTE_TOKEN", "secret")
        [found] = find_answer()
        assert found.ok and "policy verdict" in found.detail
    [gone] = find_answer()
    assert (gone.ok, gone.detail) == (False, "127.0.0.1: Connection refused")


def test_an_editor_shows_its_version_and_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    editor = tmp_path / "nvim"
    editor.write_text("#!/bin/sh\necho NVIM v0.12.1\necho more\n")
    editor.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert editor_version("nvim") == f"NVIM v0.12.1 ({editor})"


def test_an_editor_that_is_not_there_or_broken_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "emacs"
    broken.write_bytes(b"\x00not a program")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert editor_version("nvim") == "not found"
    assert "does not answer" in editor_version("emacs")


def test_a_missing_package_is_a_required_thing_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsp_server.tools.doctor.PACKAGES", ("numpy", "no-such-package"))
    assert [finding.ok for finding in find_versions()] == [True, True, True, False, None]
