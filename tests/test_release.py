"""packaging/release.py: archives whose bytes depend on their files alone, and shards of fuzzing that are run once."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

from tests import fuzz_shards

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def release() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", ROOT / "packaging/release.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_plugin_is_packed_to_the_same_bytes_whenever_and_wherever(release: ModuleType, tmp_path: Path) -> None:
    made = []
    for number in range(2):
        folder = tmp_path / str(number) / "plugin"
        (folder / "lua").mkdir(parents=True)
        for name in ("lua/b.lua", "a.txt") if number else ("a.txt", "lua/b.lua"):
            (folder / name).write_text(name)
            os.utime(folder / name, (number, number))
        made.append(tmp_path / f"{number}.tar.gz")
        release.pack(folder, "plugin-1.0", made[-1], 1_700_000_000)
    one, other = (hashlib.sha256(path.read_bytes()).hexdigest() for path in made)
    assert one == other
    with tarfile.open(made[0]) as archive:
        assert archive.getnames() == ["plugin-1.0/a.txt", "plugin-1.0/lua/b.lua"]


@pytest.mark.parametrize(("editor", "needed"), [("nvim", "plugin/mezzotint.lua"), ("emacs", "mezzotint.el")])
def test_what_a_plugin_needs_is_packed_and_no_test(
    release: ModuleType, editor: str, needed: str, tmp_path: Path
) -> None:
    release.pack(ROOT / "editors" / editor, "name", tmp_path / "made.tar.gz", 0)
    with tarfile.open(tmp_path / "made.tar.gz") as archive:
        names = archive.getnames()
    assert f"name/{needed}" in names
    assert [name for name in names if any(part in name for part in release.NOT_PACKED)] == []


def test_only_what_is_committed_is_released(release: ModuleType, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "kept").write_text("1")
    for command in (["init", "-q"], ["add", "kept"], ["-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "1"]):
        subprocess.run(["git", *command], cwd=repository, check=True)
    (repository / "new").write_text("2")
    (repository / "kept").write_text("changed")
    found = release.committed(tmp_path / "made/folder", repository)
    assert [path.name for path in found.iterdir()] == ["kept"] and (found / "kept").read_text() == "1"


def test_a_shard_that_has_passed_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def run(what: str, seed: int, times: int) -> dict[str, object]:
        ran.append((what, seed))
        if len(ran) == 3:
            raise SystemExit("failed")
        return {"what": what, "seed": seed, "times": times, "counted": {what: times}}

    monkeypatch.setattr(fuzz_shards, "run", run)
    ledger = tmp_path / "fuzz.jsonl"
    options = ["--what", "messages", "--times", "10", "--shards", "4", "--ledger", str(ledger)]
    with pytest.raises(SystemExit):
        fuzz_shards.main(options)
    fuzz_shards.main(options)
    assert ran == [("messages", 0), ("messages", 1), ("messages", 2), ("messages", 2), ("messages", 3)]
    assert fuzz_shards.sums(ledger) == {"messages": 40}


def test_what_a_shard_tried_is_what_it_says() -> None:
    assert fuzz_shards.counted(f"....\nfuzzed {json.dumps({'messages': 7})}\n1 passed") == {"messages": 7}
    assert fuzz_shards.counted("nothing") == {}
