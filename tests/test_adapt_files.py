"""lsp_server/tools/adapt_files.py: what git tracks, what is secret, what is no text; and the list that git gives."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lsp_server.options import Options
from lsp_server.tools import adapt_files
from lsp_server.tools.adapt_files import gather

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")

CODE = "def area(width, height):\n    return width * height\n\n\n" * 3
KEY = 'AWS = "AKIA' + 'QZ3RWPLK7NBVX2MD"\n'


def commit(folder: Path, **files: str | bytes) -> Path:
    """A repository that tracks these files; `__` in a name is a dot, `_s_` a slash."""
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    for name, text in files.items():
        path = folder / name.replace("_s_", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    subprocess.run(["git", "-C", str(folder), "add", "--force", "."], check=True)
    return folder


def names(*folders: Path, options: Options | None = None) -> list[str]:
    return [file.name for file in gather(folders, options).files]


def test_only_what_git_tracks_is_learned(tmp_path: Path) -> None:
    folder = commit(tmp_path / "app", a__py=CODE, src_s_b__py=CODE)
    (folder / "c.py").write_text(CODE)
    assert names(folder) == ["app/a.py", "app/src/b.py"]
    assert names(folder / "src") == ["src/b.py"]


def test_a_secret_by_name_or_by_what_is_in_it_is_not_learned(tmp_path: Path) -> None:
    folder = commit(tmp_path / "app", a__py=CODE, keys__py=CODE + KEY, __env__py=CODE, secrets__sh=CODE, mine__py=CODE)
    found = gather([folder], Options(secret_patterns=("mine.*",)))
    assert [file.name for file in found.files] == ["app/a.py"]
    assert found.left_out == {adapt_files.SECRET: 4}


def test_what_is_large_binary_short_or_made_by_a_program_is_left_out(tmp_path: Path) -> None:
    folder = commit(
        tmp_path / "app", a__py=CODE, large__py="x = 1\n" * 200_000, latin__py=CODE.encode() + b"# \xe9\n",
        nul__py=CODE + "\0", short__py="x = 1\n", min__js="var a;" * 1000,
        picture__png=b"\x89PNG", table__json="[1]" * 99,
    )  # fmt: skip
    found = gather([folder])
    assert [file.name for file in found.files] == ["app/a.py"]
    assert found.left_out == {
        adapt_files.LARGE: 1, adapt_files.BINARY: 2, adapt_files.SHORT: 1, adapt_files.MADE: 1, adapt_files.OTHER: 2,
    }  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_is_not_followed_and_a_file_that_is_gone_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text(CODE)
    (tmp_path / "app").mkdir()
    (tmp_path / "app/link.py").symlink_to("../outside.py")
    folder = commit(tmp_path / "app", a__py=CODE, gone__py=CODE)
    (folder / "gone.py").unlink()
    found = gather([folder])
    assert [file.name for file in found.files] == ["app/a.py"]
    assert found.left_out == {adapt_files.UNREADABLE: 2}


def test_line_ends_and_a_byte_order_mark_are_not_learned(tmp_path: Path) -> None:
    folder = commit(tmp_path / "app", a__py=b"\xef\xbb\xbf" + CODE.replace("\n", "\r\n").encode())
    assert gather([folder]).files[0].text == CODE


def test_folders_without_git_or_without_tracked_files_are_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no folder"):
        gather([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="is in no git repository: only what git tracks is learned"):
        gather([tmp_path])
    with pytest.raises(ValueError, match="git tracks no file below"):
        gather([commit(tmp_path / "empty")])
    (commit(tmp_path / "broken") / ".git/HEAD").write_text("nonsense")
    with pytest.raises(ValueError, match="git does not answer here"):
        gather([tmp_path / "broken"])
