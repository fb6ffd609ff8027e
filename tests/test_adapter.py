"""diffusion/model/adapter.py: what is added to the weights on both backends, and what is refused in one sentence."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cuda_ext import native
from diffusion.backends.native import tensors_of
from diffusion.engine import Engine
from diffusion.model import card
from diffusion.model.adapter import CARD, TENSORS, Adapter, open_adapter
from diffusion.model.card import open_folder, weights_hash
from diffusion.model.load import load_weights, save_model
from diffusion.model.tensors import quantised
from diffusion.request import Hole, InfillRequest
from tests.models import SMALL

FOLDER = open_folder(SMALL)
BASE = weights_hash(SMALL)
NAME = "blocks.1.down.weight"
REQUEST = InfillRequest("import os\n\ndef area(width, height):\n    return ", "\n", (Hole(16),))


def adapter(
    path: Path, base: str = BASE, tensors: dict[str, torch.Tensor] | None = None, scale: float = 0.1, **said: Any
) -> Path:
    """An adapter of rank 3 for one matrix, unless told otherwise."""
    path.mkdir(exist_ok=True)
    n, k = FOLDER.weights()[NAME].float32().shape
    generator = torch.Generator().manual_seed(0)
    pair = {
        NAME + ".down": torch.randn(3, k, generator=generator),
        NAME + ".up": torch.randn(n, 3, generator=generator),
    }
    tensors = {key: scale * value for key, value in pair.items()} if tensors is None else tensors
    save_file(tensors, path / TENSORS)
    (path / CARD).write_text(json.dumps({"format": 1, "base": base} | said))
    return path


def opened(path: Path) -> Adapter:
    return open_adapter(path, FOLDER.config, BASE)


def text(engine: Engine) -> str:
    return [draft.text for draft in engine.infill(REQUEST, lambda: False)][-1]


def test_what_is_added_is_the_product_and_all_other_weights_stay(tmp_path: Path) -> None:
    found = opened(adapter(tmp_path / "a"))
    down, up = found.pairs[NAME]
    plain, merged = FOLDER.weights(), found.merged(FOLDER.weights())
    np.testing.assert_allclose(merged[NAME].float32(), plain[NAME].float32() + up @ down, rtol=1e-6)
    for name in plain.keys() - {NAME}:
        assert np.array_equal(merged[name].float32(), plain[name].float32())


def test_an_int8_matrix_is_quantised_anew_with_a_scale_per_output_channel(tmp_path: Path) -> None:
    tokenizer = (SMALL / "tokenizer.json").read_bytes()
    save_model(tmp_path / "int8", load_weights(FOLDER), tokenizer, torch.int8)
    folder = open_folder(tmp_path / "int8")
    found = open_adapter(adapter(tmp_path / "a", "x"), folder.config, "x")
    merged = found.merged(folder.weights())[NAME]
    packed = merged.int8()
    assert packed is not None
    values, scales = packed
    assert values.dtype == np.int8 and int(np.abs(values).max(axis=1).min()) == 127
    error = np.abs(values * scales[:, None] - merged.float32())
    assert bool((error <= scales[:, None] * 0.501).all())


def test_quantising_a_row_of_zeros_gives_zeros() -> None:
    values, scales = quantised(np.zeros((2, 4), np.float32))
    assert not values.any() and np.isfinite(scales).all()


def test_torch_loads_the_merged_weights(tmp_path: Path) -> None:
    found = opened(adapter(tmp_path / "a"))
    model = load_weights(dataclasses.replace(FOLDER, adapter=found))
    expected = found.merged(FOLDER.weights())[NAME].float32()
    np.testing.assert_allclose(model.blocks[1].down.weight.numpy(), expected, rtol=1e-6)


def test_the_native_backend_is_given_the_merged_weights(tmp_path: Path) -> None:
    found = opened(adapter(tmp_path / "a"))
    given = dict(tensors_of(found.merged(FOLDER.weights()), FOLDER.config, "bf16"))
    assert np.array_equal(given[NAME], found.merged(FOLDER.weights())[NAME].words())
    assert not np.array_equal(given[NAME], FOLDER.weights()[NAME].words())


@pytest.mark.parametrize("backend", ["torch", "native"])
def test_an_adapter_of_nothing_changes_no_text_and_one_of_something_does(tmp_path: Path, backend: str) -> None:
    if backend == "native" and native.why_not("cpu"):
        pytest.skip(f"native backend: {native.why_not('cpu')}")
    plain = Engine.load(SMALL, backend=backend)
    nothing = Engine.load(SMALL, backend=backend, adapter=adapter(tmp_path / "0", scale=0.0))
    something = Engine.load(SMALL, backend=backend, adapter=adapter(tmp_path / "1", scale=3.0))
    assert text(plain) == text(nothing) != text(something)
    assert "adapter" not in plain.info
    assert nothing.info["weights"] == plain.info["weights"] and nothing.info["adapter"] != something.info["adapter"]


def test_a_file_in_the_folder_names_the_folder(tmp_path: Path) -> None:
    assert opened(adapter(tmp_path / "a") / TENSORS).path == tmp_path / "a"


def test_of_a_large_model_the_beginnings_of_its_tensors_tell_one_from_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "HASHED_BYTES", 0)
    other = tmp_path / "other"
    shutil.copytree(SMALL, other)
    assert weights_hash(other) == weights_hash(SMALL) != BASE
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[8 + int.from_bytes(weights[:8], "little")] ^= 1  # the first byte of the first tensor
    (other / "model.safetensors").write_bytes(weights)
    assert weights_hash(other) != weights_hash(SMALL)


def pair(n: int = 256, k: int = 704, rank: int = 2, name: str = NAME) -> dict[str, torch.Tensor]:
    return {name + ".down": torch.ones(rank, k), name + ".up": torch.ones(n, rank)}


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "another base": ({"base": "000000000000"}, "belongs to other weights ('000000000000')"),
    "a base that is no text": ({"base": 7}, "belongs to other weights"),
    "another format": ({"format": 2}, "has format 2; this version reads 1"),
    "nothing in it": ({"tensors": {}}, "holds nothing"),
    "another width": ({"tensors": pair(k=705)}, "does not fit the model: blocks.1.down.weight is"),
    "other rows": ({"tensors": pair(n=255)}, "does not fit the model: blocks.1.down.weight is"),
    "no rank": ({"tensors": pair(rank=0)}, "does not fit the model: blocks.1.down.weight is"),
    "half a pair": ({"tensors": {NAME + ".up": torch.ones(256, 2)}}, "blocks.1.down.weight.down missing, or not of it"),
    "a layer too many": ({"tensors": pair(name="blocks.99.down.weight")}, "blocks.99.down.weight.down"),
    "a norm": ({"tensors": pair(name="norm.weight")}, "norm.weight.down"),
    "something else": ({"tensors": pair() | {"x": torch.ones(1)}}, "x missing, or not of it"),
    "integers": ({"tensors": {k: v.to(torch.int8) for k, v in pair().items()}}, "does not fit the model"),
    "infinite values": ({"tensors": {k: v * torch.inf for k, v in pair().items()}}, "that are no numbers"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_refused_in_one_sentence(tmp_path: Path, fault: str) -> None:
    values, sentence = FAULTS[fault]
    with pytest.raises(ValueError) as raised:
        opened(adapter(tmp_path / "a", **values))
    assert sentence in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("backend", ["torch", "native"])
def test_numbers_whose_product_is_none_are_refused_in_one_sentence(tmp_path: Path, backend: str) -> None:
    """Each matrix by itself is right: what is wrong shows when they are added to the weights."""
    if backend == "native" and native.why_not("cpu"):
        pytest.skip(f"native backend: {native.why_not('cpu')}")
    with pytest.raises(ValueError, match=f"the adapter makes values of {NAME} that are too large, or no numbers"):
        Engine.load(SMALL, backend=backend, adapter=adapter(tmp_path / "a", scale=1e30))


def test_what_is_no_adapter_or_cut_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no adapter: it has no adapter.json"):
        opened(tmp_path / "nowhere")
    path = adapter(tmp_path / "a")
    whole = (path / TENSORS).read_bytes()
    for size in (0, 7, 100, len(whole) - 1):
        (path / TENSORS).write_bytes(whole[:size])
        with pytest.raises(ValueError, match="cannot read .*adapter.safetensors"):
            opened(path)
    (path / CARD).write_text("[")
    with pytest.raises(ValueError, match="adapter.json"):
        opened(path)
