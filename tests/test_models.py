"""`mezzotint models`, the real command against a hub on loopback; nothing else is asked."""

from __future__ import annotations

import json
import os
import random
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diffusion.hub import cache
from diffusion.hub.known import KNOWN, LAYOUTS, SOURCES
from tests.hub import COMMIT, Hub, serving
from tests.models import SMALL

pytest.importorskip("huggingface_hub")

from diffusion.hub.failures import FetchError  # noqa: E402
from diffusion.hub.fetch import File, Offer, refuse_full_disk  # noqa: E402

REPO = "tests/small"
NEVER = {"modeling_small.py": b"raise SystemExit", "pytorch_model.bin": b"pickle" * 50_000, "x.gguf": b"GGUF" * 9}
CHUNK = 10 << 20  # bytes that huggingface_hub writes at once
BIG = random.Random(1).randbytes(2 * CHUNK + 3_000_000)


def small_files() -> dict[str, bytes]:
    """A model that loads, and beside it what is never to be fetched."""
    files = {path.name: path.read_bytes() for path in SMALL.iterdir()}
    return {**files, "README.md": b"# small\n", "LICENSE": b"text\n", **NEVER}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(Hub(REPO, small_files())) as hub:
        yield hub


@pytest.fixture
def big_hub() -> Iterator[Hub]:
    """A repository whose weights take more than one of the library's chunks."""
    with serving(Hub(REPO, {**small_files(), "model.safetensors": BIG})) as hub:
        yield hub


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub and a configuration of this test's own."""
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGINGFACE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path


def start(*argv: str, hub: Hub | None = None, limit: int = 0, **env: str) -> subprocess.Popen[str]:
    where = {"HF_ENDPOINT": hub.endpoint} if hub else {}
    return subprocess.Popen(
        [sys.executable, "-m", "lsp_server.cli", *argv],
        env={**os.environ, **where, **env},
        cwd=Path(__file__).parents[1],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) if limit else None,
    )  # fmt: skip


def models(*argv: str, **rest: Any) -> tuple[int, str, str]:
    """(exit status, stdout, the last line of stderr: progress bars are drawn above it)."""
    process = start("models", *argv, **rest)
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in err, err
    return process.returncode, out, err.strip().splitlines()[-1] if err.strip() else ""


def parts(home: Path) -> list[Path]:
    return list((home / "hf/hub/models--tests--small/blobs").glob("*.incomplete"))


def test_get_fetches_what_a_model_folder_needs_and_nothing_else(hub: Hub, home: Path) -> None:
    status, out, _ = models("get", REPO, hub=hub)
    assert status == 0 and "licence apache-2.0" in out
    folder = cache.cached(REPO)
    assert folder is not None and folder.name == COMMIT
    assert {path.name for path in folder.iterdir()} == hub.files.keys() - NEVER.keys()
    assert all((folder / path.name).read_bytes() == path.read_bytes() for path in SMALL.iterdir())
    assert not set(hub.fetched()) & NEVER.keys()


def test_what_was_fetched_is_not_fetched_again_and_can_be_checked_and_used_by_name(hub: Hub, home: Path) -> None:
    assert models("get", REPO, hub=hub)[0] == 0
    hub.asked.clear()
    assert models("get", REPO, hub=hub)[0] == 0
    assert hub.fetched() == []
    hub.asked.clear()
    status, out, _ = models("check", REPO, hub=hub)
    assert status == 0 and f"model       {REPO}" in out and "completes" in out
    assert models("use", REPO, hub=hub)[0] == 0
    assert hub.asked == []
    assert json.loads((home / "config/mezzotint/config.json").read_text()) == {"model": REPO}


def test_shards_are_fetched_by_the_index(hub: Hub, home: Path) -> None:
    weights = hub.files.pop("model.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    hub.files |= {"model-1.safetensors": weights, "model-2.safetensors": weights[::-1], "other.safetensors": b"x"}
    hub.files["model.safetensors.index.json"] = json.dumps(index).encode()
    assert models("get", REPO, hub=hub)[0] == 0
    folder = cache.cached(REPO)
    assert folder is not None
    shards = {"model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"}
    assert {path.name for path in folder.iterdir() if "safetensors" in path.name} == shards


def test_a_connection_that_breaks_is_taken_up_where_it_broke(big_hub: Hub, home: Path) -> None:
    big_hub.stops, big_hub.stops_after = 1, CHUNK + 1000
    assert models("get", REPO, hub=big_hub)[0] == 0
    assert big_hub.ranges() == [f"bytes={CHUNK}-"]
    folder = cache.cached(REPO)
    assert folder is not None and (folder / "model.safetensors").read_bytes() == BIG


def test_a_download_that_was_killed_goes_on_in_the_next_call(big_hub: Hub, home: Path) -> None:
    big_hub.stops, big_hub.stops_after, big_hub.hangs = 1, 2 * CHUNK + 1000, True
    process = start("models", "get", REPO, hub=big_hub)
    assert big_hub.hanging.wait(60)
    while not parts(home) or parts(home)[0].stat().st_size < 2 * CHUNK:
        assert process.poll() is None
    process.kill()
    process.communicate()
    assert cache.cached(REPO) is None
    assert models("get", REPO, hub=big_hub)[0] == 0
    assert big_hub.ranges() == [f"bytes={2 * CHUNK}-"]
    folder = cache.cached(REPO)
    assert folder is not None and (folder / "model.safetensors").read_bytes() == BIG
    assert parts(home) == []


def test_contents_that_are_not_what_was_announced_never_enter_the_cache(hub: Hub, home: Path) -> None:
    weights = hub.files["model.safetensors"]
    hub.announced["model.safetensors"] = weights[:-1] + bytes([weights[-1] ^ 1])
    status, _, err = models("get", REPO, hub=hub)
    assert status == 1 and "model.safetensors is not what tests/small says it is" in err
    assert cache.cached(REPO) is None and parts(home) == []
    hub.announced.clear()
    assert models("get", REPO, hub=hub)[0] == 0


def test_small_files_are_verified_as_well(hub: Hub, home: Path) -> None:
    config = hub.files["config.json"]
    hub.announced["config.json"] = config.replace(b"256", b"257")
    status, _, err = models("get", REPO, hub=hub)
    assert status == 1 and "config.json is not what tests/small says it is" in err


def test_a_file_shorter_than_announced_is_one_sentence(hub: Hub, home: Path) -> None:
    hub.announced["model.safetensors"] = hub.files["model.safetensors"] + b"more"
    status, _, err = models("get", REPO, hub=hub)
    assert status == 1 and err.startswith("mezzotint models get: tests/small could not be fetched: Consistency check")


def test_a_file_that_is_listed_but_missing_is_one_sentence(hub: Hub, home: Path) -> None:
    hub.lost.add("tokenizer.json")
    status, _, err = models("get", REPO, hub=hub)
    assert status == 1 and err.startswith("mezzotint models get: tests/small lacks a file that it lists: ")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("config.json", "tests/small is no model folder: it has no config.json"),
        ("tokenizer.json", "tests/small is no model folder: it has no tokenizer.json"),
        ("model.safetensors", "tests/small has no safetensors; other formats are not read"),
    ],
)
def test_a_repository_without_what_a_model_needs_is_refused_before_anything_is_fetched(
    name: str, sentence: str, hub: Hub, home: Path
) -> None:
    del hub.files[name]
    assert models("get", REPO, hub=hub)[2] == f"mezzotint models get: {sentence}"
    assert hub.fetched() == []


def test_no_such_repository_is_one_sentence(hub: Hub, home: Path) -> None:
    status, _, err = models("get", "tests/nothing", hub=hub)
    assert status == 1
    assert err.startswith(
        f"mezzotint models get: {hub.endpoint} has no tests/nothing, or only for those who are logged"
    )


def test_no_network_is_one_sentence(home: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    status, _, err = models("get", REPO, HF_ENDPOINT=endpoint)
    assert status == 1 and err.startswith(f"mezzotint models get: {endpoint} cannot be reached (")


def test_offline_nothing_is_asked_and_what_is_here_is_found(hub: Hub, home: Path) -> None:
    status, _, err = models("get", REPO, hub=hub, HF_HUB_OFFLINE="1")
    assert (status, err) == (
        1, "mezzotint models get: tests/small is not on this machine, and HF_HUB_OFFLINE forbids to fetch it",
    )  # fmt: skip
    assert hub.asked == []
    assert models("get", REPO, hub=hub)[0] == 0
    hub.asked.clear()
    status, out, _ = models("get", REPO, hub=hub, HF_HUB_OFFLINE="1")
    assert status == 0 and str(cache.cached(REPO)) in out and hub.asked == []


def test_a_disk_that_fills_up_is_one_sentence_and_the_download_goes_on_later(big_hub: Hub, home: Path) -> None:
    status, _, err = models("get", REPO, hub=big_hub, limit=CHUNK + 5000)
    assert status == 1 and err.startswith("mezzotint models get: the disk is full (")
    assert cache.cached(REPO) is None
    assert models("get", REPO, hub=big_hub)[0] == 0
    assert len(big_hub.ranges()) == 1 and int(big_hub.ranges()[0][6:-1]) >= CHUNK


def test_what_does_not_fit_on_the_disk_is_refused_before_it_is_fetched(home: Path) -> None:
    offer = Offer(REPO, COMMIT, "mit", (File("model.safetensors", 10**18, "0" * 64),))
    with pytest.raises(FetchError, match=r"tests/small needs 1000000000.0 GB more, and the disk of .* has .* GB free"):
        refuse_full_disk(offer)


@pytest.mark.parametrize("licence", ["cc-by-nc-4.0", "other", ""])
def test_a_licence_that_forbids_something_is_said_and_asked_for(licence: str, hub: Hub, home: Path) -> None:
    hub.licence = licence
    status, out, err = models("get", REPO, hub=hub)
    assert (status, err) == (1, "mezzotint models get: tests/small was not fetched; --yes fetches it all the same")
    assert "  note: " in out and hub.fetched() == []
    assert models("get", REPO, "--yes", hub=hub)[0] == 0


def test_a_known_model_says_its_licence_and_that_it_cannot_run(home: Path) -> None:
    with serving(Hub(KNOWN["wedlm-8b"].repo, small_files(), licence="other")) as hub:
        status, out, _ = models("get", "wedlm-8b", hub=hub)
    assert status == 1
    assert "note: no use in the European Union" in out
    assert "note: this version cannot run it: known tokens are moved to the front" in out


def test_list_names_every_model_and_every_figure_has_a_source(home: Path) -> None:
    status, out, _ = models("list")
    assert status == 0
    assert all(f"\n{name} " in out for name in KNOWN)
    table = json.loads(models("list", "--json")[1])
    assert [row["name"] for row in table] == list(KNOWN)
    for known in KNOWN.values():
        assert bool(known.single or known.multi) == bool(known.source)
        assert not known.source or known.source in SOURCES
        assert known.layout in LAYOUTS


def test_use_keeps_what_else_is_configured_and_changes_nothing_that_it_cannot_read(home: Path) -> None:
    path = home / "config/mezzotint/config.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"maxTokens": 32, "model": "x", "adapter": "/of-x"}')
    status, out, _ = models("use", str(SMALL), "--device", "cpu")
    assert status == 0 and "the adapter is left out: it belongs to the model before" in out
    assert json.loads(path.read_text()) == {"maxTokens": 32, "model": str(SMALL), "device": "cpu"}
    assert models("use", "embedded")[0] == 0
    assert json.loads(path.read_text()) == {"maxTokens": 32, "device": "cpu"}
    path.write_text("{broken")
    status, _, err = models("use", "embedded")
    assert status == 1 and "was not changed" in err and path.read_text() == "{broken"


def test_use_refuses_what_cannot_be_loaded(home: Path) -> None:
    for model in ("qwen2.5-coder-0.5b", "sdar-1.7b", str(home), "no-such-name"):
        status, _, err = models("use", model)
        assert status == 1 and err.startswith("mezzotint models use: "), model
    assert not (home / "config").exists()
