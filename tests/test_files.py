"""Files that would block or never end are not read, also where they come in between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lsp_server.text.files import read_regular

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX files")


@pytest.fixture
def regular(tmp_path: Path) -> Path:
    path = tmp_path / "regular"
    path.write_bytes(b"0123456789")
    return path


def test_a_regular_file_is_read_up_to_a_limit(regular: Path) -> None:
    assert read_regular(regular, 100) == b"0123456789"
    assert read_regular(regular, 4) == b"0123"


def test_a_link_is_followed_only_on_demand(regular: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(regular)
    assert read_regular(link, 4, follow_links=True) == b"0123"
    with pytest.raises(OSError, match="not a regular file"):
        read_regular(link, 4)


@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
def test_what_is_not_regular_is_not_even_opened(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(kind, tmp_path)
    monkeypatch.delattr(os, "open")
    with pytest.raises(OSError, match="not a regular file"):
        read_regular(path, 4, follow_links=True)


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "link"])
def test_what_takes_the_place_of_a_regular_file_is_not_read(
    kind: str, regular: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, status = made(kind, tmp_path), regular.stat()
    monkeypatch.setattr(Path, "stat", lambda path, follow_symlinks=True: status)
    with pytest.raises(OSError, match="not a regular file|symbolic links"):
        read_regular(path, 4)


def made(kind: str, folder: Path) -> Path:
    """A file of a kind that should not be read."""
    path = folder / kind
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/dev/zero")
    return Path("/dev/zero") if kind == "device" else path
