"""diffusion/model/int8: every family in int8, weights alone, on torch; chosen where nothing else fits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from diffusion.engine import Engine
from diffusion.model import memory
from diffusion.model.card import open_folder
from diffusion.model.int8 import Int8Linear
from diffusion.model.load import load_model, load_weights, save_model
from diffusion.request import Hole, InfillRequest
from lsp_server.tools import models
from tests.foreign import CAUSAL, PUBLISHED, write
from tests.models import SMALL

pytest.importorskip("transformers")


def deviation(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Root mean square difference over the deviation of what is expected."""
    return float((found - expected).pow(2).mean().sqrt() / expected.std())


def logits(model: torch.nn.Module) -> torch.Tensor:
    """Of 40 rows that see one another."""
    ids = torch.arange(300, 340)[None]
    no = torch.zeros(1, 1, dtype=torch.bool)
    attend = torch.nn.functional.scaled_dot_product_attention
    with torch.no_grad():
        hidden = model(ids, ids - 300, ids, ids, no, lambda _, q, k, v: attend(q, k, v, enable_gqa=True))
        return model.logits(hidden)  # type: ignore[operator, no-any-return]


@pytest.mark.parametrize("name", [*PUBLISHED, *CAUSAL])
def test_every_family_in_int8_says_nearly_what_it_says_in_float32(name: str, tmp_path: Path) -> None:
    path = tmp_path / (PUBLISHED | CAUSAL)[name].folder
    write(name, path)
    folder = open_folder(path)
    whole, small = load_weights(folder), load_weights(folder, int8=True)
    assert 0 < deviation(logits(small), logits(whole)) < 0.05
    matrices = [part for part in small.modules() if isinstance(getattr(part, "weight", None), torch.Tensor)]
    assert all(part.weight.dtype == torch.int8 for part in matrices if part.weight.dim() == 2)


@pytest.mark.parametrize("name", ["dreamon", "mdlm", "sdar", "qwen2.5-coder"])
def test_what_fits_in_int8_alone_is_loaded_so_and_says_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / (PUBLISHED | CAUSAL)[name].folder
    write(name, path)
    between = 10**12
    monkeypatch.setattr(memory, "available", lambda device: between)
    if name == "qwen2.5-coder":
        monkeypatch.setattr("diffusion.backends.native.why_not", lambda device: "left out")
    monkeypatch.setattr(memory, "needed", needed_with(between))
    assert models.main(["check", str(path)]) == 0
    assert "torch int8" in capsys.readouterr().out
    engine = Engine.load(path)
    assert (engine.info["backend"], engine.info["precision"]) == ("torch", "int8")
    request = InfillRequest("def f():\n    ret", "\n", (Hole(16),))
    assert list(engine.infill(request, lambda: False))[-1].done


def needed_with(between: int) -> Callable[..., int]:
    """Memory as if only int8 fitted into `between`."""
    return lambda config, precision, rest="bf16": between - 1 if precision == "int8" else between + 1


def test_what_does_not_fit_in_int8_either_is_refused_with_both_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("dream", tmp_path / "tiny")
    monkeypatch.setattr(memory, "available", lambda device: 1000)
    with pytest.raises(ValueError, match=r"needs about .* as (float32|bfloat16) \(as int8 .*\), and this machine has"):
        Engine.load(tmp_path / "tiny")


def test_int8_that_is_stored_is_taken_as_it_is(tmp_path: Path) -> None:
    model, _ = load_model(SMALL)
    save_model(tmp_path / "int8", model, (SMALL / "tokenizer.json").read_bytes(), torch.int8)
    folder = open_folder(tmp_path / "int8")
    stored = folder.weights()["blocks.0.qkv.weight"].int8()
    small = load_weights(folder, int8=True)
    assert stored is not None and (small.blocks[0].qkv.weight.numpy() == stored[0]).all()
    assert deviation(logits(small), logits(load_weights(folder))) < 1e-5


def test_a_large_matrix_is_widened_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffusion.model.int8.PART_ROWS", 7)
    layer = Int8Linear(20, 5, torch.nn.Parameter(torch.arange(20.0)))
    layer.weight, layer.scale = torch.randint(-127, 128, (20, 5), dtype=torch.int8), torch.rand(20)
    x = torch.rand(3, 5)
    expected = x @ (layer.weight.float() * layer.scale[:, None]).T + torch.arange(20.0)
    torch.testing.assert_close(layer(x), expected, atol=1e-4, rtol=1e-4)


def test_a_precision_that_torch_does_not_have_is_one_sentence(tmp_path: Path) -> None:
    from diffusion.backends.torch import TorchBackend

    write("dream", tmp_path / "tiny")
    (tmp_path / "tiny/mezzotint.json").write_text(json.dumps({"format": 1, "family": "dream"}))
    with pytest.raises(ValueError, match="torch runs int8 and .* on cpu, not int4"):
        TorchBackend.load(open_folder(tmp_path / "tiny"), precision="int4")
