"""diffusion/held_out.py and npm.py: the table of held-out packages, and how they are asked for and unpacked."""

import io
import tarfile
from pathlib import Path

import pytest

from diffusion import npm
from diffusion.held_out import EVALUATED, HELD_OUT, HELD_OUT_BEFORE, PYTHON, PYTHON_FOLDERS, SCRIPT_FOLDERS, specifiers

PERMISSIVE = {"MIT", "Apache-2.0", "BSD-3-Clause"}


def test_every_held_out_package_is_newer_than_the_base_model_and_permissive() -> None:
    assert len(PYTHON_FOLDERS) >= 12 and len(SCRIPT_FOLDERS) >= 6
    for package in EVALUATED:
        assert package.first_release[:4] >= "2025", package
        assert package.licence in PERMISSIVE, package
        assert {package.name, package.folder} <= HELD_OUT
    assert HELD_OUT_BEFORE < HELD_OUT
    assert not HELD_OUT_BEFORE & PYTHON_FOLDERS


def test_registries_are_asked_for_pinned_versions() -> None:
    assert "pydocket==0.27.0" in specifiers(PYTHON)
    assert "@tanstack/db@0.15.2" in specifiers("npm")
    assert all(npm.folder_of(one) in SCRIPT_FOLDERS for one in specifiers("npm"))


def archive(path: Path, names: list[str]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 2
            tar.addfile(member, io.BytesIO(b"x\n"))
    return path


def test_an_archive_is_unpacked_without_its_outer_folder_and_never_outside(tmp_path: Path) -> None:
    names = ["package/package.json", "package/src/a.ts", "package/../../out.js", "package/..", "bare"]
    npm.unpack(archive(tmp_path / "a.tgz", names), tmp_path / "to")
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"a.tgz", "to/package.json", "to/src/a.ts"}


def test_without_npm_it_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(npm.shutil, "which", lambda name: None)
    assert npm.main([str(tmp_path), "express@5"]) == 0
    assert "1 packages are left out" in capsys.readouterr().err
