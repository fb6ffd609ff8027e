"""The option `model` and the user's configuration in the real server: what is wrong is one sentence, and it goes on."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from editor import PATIENCE_S, Editor, editor
from lsprotocol import types

from tests.models import SMALL
from tests.test_memory import TERABYTES, hollow


def whole(folder: Path) -> Path:
    """A model that loads."""
    return Path(shutil.copytree(SMALL, folder))


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def truncated(folder: Path) -> str:
    weights = whole(folder) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    return f"cannot read {weights}: "


def truncated_shard(folder: Path) -> str:
    (whole(folder) / "model.safetensors").rename(folder / "a.safetensors")
    (folder / "b.safetensors").write_bytes((folder / "a.safetensors").read_bytes()[:2000])
    table = {"embed.weight": "a.safetensors", "norm.weight": "b.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    return f"cannot read {folder / 'b.safetensors'}: "


def wrong_shape(folder: Path) -> str:
    change(whole(folder) / "config.json", d_ff=512)
    return f"{folder} does not fit its config.json: blocks.0.gate_up.weight are not (1024, 256) in all"


def unknown_type(folder: Path) -> str:
    (whole(folder) / "config.json").write_text('{"model_type": "mamba"}')
    return f"{folder}/config.json is not a model configuration that is known here: model_type 'mamba' is none of llama"


def no_tokenizer(folder: Path) -> str:
    (whole(folder) / "tokenizer.json").unlink()
    return f"{folder} has no tokenizer.json"


def too_large(folder: Path) -> str:
    return f"{hollow(folder, TERABYTES)} needs about "


def never_fetched(folder: Path) -> str:
    return "smollm2-135m is not on this machine: mezzotint models get smollm2-135m"


def not_ours(folder: Path) -> str:
    return "wedlm-8b: this version cannot run it: "


FAULTS: dict[Callable[[Path], str], str] = {
    truncated: "", truncated_shard: "", wrong_shape: "", unknown_type: "", no_tokenizer: "", too_large: "",
    never_fetched: "smollm2-135m", not_ours: "wedlm-8b",
}  # fmt: skip


async def completes(client: Editor) -> bool:
    """Whether the model runs for a request."""
    client.open("file:///a.py", "import os\n\nx = \n")
    await client.items("file:///a.py", 2, 4)
    return bool((await client.stats()).forwardPasses)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_model_that_cannot_be_loaded_is_one_sentence_and_the_server_goes_on(
    fault: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    sentence = fault(tmp_path / "model")

    async def run() -> None:
        async with editor({"model": FAULTS[fault] or str(tmp_path / "model"), "status": True}) as client:
            assert not await completes(client)
            (message,) = client.messages
            assert message.startswith(f"Mezzotint: The model cannot be loaded: {sentence}") and "\n" not in message
            assert client.states[-1] == "error"
            assert (await client.stats()).requests == 1

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_where_another_model_cannot_be_loaded_the_one_before_goes_on(
    fault: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    sentence = fault(tmp_path / "model")
    chosen = {"model": FAULTS[fault] or str(tmp_path / "model")}

    async def run() -> None:
        async with editor({"model": str(SMALL), "minConfidencePercent": 0}) as client:
            assert await completes(client) and client.messages == []
            before = (await client.stats()).forwardPasses
            client.workspace_did_change_configuration(types.DidChangeConfigurationParams({"mezzotint": chosen}))
            client.change("file:///a.py", (0, 0), (0, 0), "import re\n")
            await client.items("file:///a.py", 3, 4)
            stats = await client.stats()
            assert stats.engine.model == str(SMALL) and stats.forwardPasses > before
            (message,) = client.messages
            assert message.startswith(f"Mezzotint: The model cannot be loaded: {sentence}") and "\n" not in message
            assert message.endswith("; the one before stays.")

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))


def test_a_name_is_the_folder_that_the_hubs_cache_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, repo = "0123456789" * 4, tmp_path / "hf/hub/models--Org--small"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    whole(repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(commit)

    async def run() -> None:
        async with editor({"model": "Org/small"}) as client:
            assert await completes(client) and client.messages == []
            assert (await client.stats()).engine.model == str(repo / "snapshots" / commit)

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))


def test_the_users_configuration_holds_for_what_the_client_does_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "mezzotint").mkdir()
    settings = tmp_path / "mezzotint/config.json"

    async def model(options: dict[str, Any]) -> tuple[str, list[str]]:
        async with editor(options) as client:
            await completes(client)
            return str((await client.stats()).engine.model), client.messages

    async def run() -> None:
        settings.write_text(json.dumps({"model": str(SMALL)}))
        assert await model({}) == (str(SMALL), [])
        assert await model({"model": ""}) == ("embedded", [])
        settings.write_text("{broken")
        loaded, (message,) = await model({})
        assert loaded == "embedded"
        assert message.startswith(f"Mezzotint: {settings} is ignored: Expecting property name")

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))
