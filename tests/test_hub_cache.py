"""diffusion/hub/cache: what the option `model` means; nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffusion.hub import cache
from diffusion.hub.known import KNOWN, limits_of
from tests.models import SMALL

COMMIT = "0123456789" * 4


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a current folder of this test's own."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path


def put(repo: str, commit: str = COMMIT) -> Path:
    """A fetched model."""
    folder = cache.repo_folder(repo) / "snapshots" / commit
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (cache.repo_folder(repo) / "refs").mkdir()
    (cache.repo_folder(repo) / "refs/main").write_text(commit)
    return folder


@pytest.mark.parametrize("model", ["", "embedded", "Embedded"])
def test_nothing_is_the_embedded_model(model: str) -> None:
    assert cache.folder_of(model) is None


def test_a_folder_and_a_file_in_one_are_the_folder() -> None:
    assert cache.folder_of(str(SMALL)) == cache.folder_of(str(SMALL / "model.safetensors")) == SMALL


def test_a_name_is_the_folder_in_the_cache_whatever_the_current_folder_holds(home: Path) -> None:
    (home / "cwd/Org/model").mkdir(parents=True)
    assert cache.folder_of("Org/model") == Path("Org/model")
    folder, known = put("Org/model"), put("HuggingFaceTB/SmolLM2-135M")
    assert cache.folder_of("Org/model") == folder
    assert cache.folder_of("./Org/model") == Path("Org/model")
    assert cache.folder_of("smollm2-135m") == cache.folder_of("SmolLM2-135M") == known
    assert cache.name_of(folder) == "Org/model"


def test_a_known_name_is_never_a_folder_of_the_current_folder(home: Path) -> None:
    (home / "cwd/smollm2-135m").mkdir()
    with pytest.raises(ValueError, match="smollm2-135m is not on this machine: mezzotint models get smollm2-135m"):
        cache.folder_of("smollm2-135m")


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("Org/model", "Org/model is not on this machine: mezzotint models get Org/model"),
        ("/no/such/folder", "there is no model folder /no/such/folder"),
        ("~/no such folder", "there is no model folder ~/no such folder"),
        ("gpt", "'gpt' is no folder and no model that is known here: mezzotint models list"),
        ("wedlm-8b", "wedlm-8b: this version cannot run it: known tokens are moved to the front"),
    ],
)
def test_what_cannot_be_found_is_one_sentence(model: str, sentence: str, home: Path) -> None:
    with pytest.raises(ValueError) as raised:
        cache.folder_of(model)
    assert str(raised.value) == sentence


@pytest.mark.parametrize("commit", ["../../../../etc", "main", "", "é"])
def test_a_reference_that_is_no_commit_is_nothing(commit: str, home: Path) -> None:
    put("Org/model")
    (cache.repo_folder("Org/model") / "refs/main").write_text(commit, encoding="utf-8")
    assert cache.cached("Org/model") is None


def test_the_cache_is_where_the_library_has_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.cache_home() == home / "hf/hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(home / "elsewhere"))
    assert cache.cache_home() == home / "elsewhere"


def test_licences_with_limits_are_known_by_the_hubs_names_for_them() -> None:
    assert [limits_of(name) for name in ("apache-2.0", "mit", "bsd-3-clause")] == [""] * 3
    assert all(limits_of(name) for name in ("cc-by-nc-4.0", "other", "", "qwen-research"))


def test_every_name_is_one_and_every_repository_is_named_once() -> None:
    repos = [known.repo for known in KNOWN.values() if known.repo]
    assert len(set(repos)) == len(repos) and all(map(cache.REPO.fullmatch, repos))
    assert all(name == name.lower() for name in KNOWN)
