import os
from pathlib import Path

import pytest

from lsp_server.tools.doctor import editor_version, find_versions, main


def test_everything_needed_is_found_where_the_tests_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    for subject in ("mezzotint", "python", "torch", "device", "native library", "model", "grammar", "editor"):
        assert any(line.startswith(subject) for line in out.splitlines()), subject
    assert "MISSING" not in out


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
