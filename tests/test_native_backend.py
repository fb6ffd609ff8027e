"""diffusion/backends/native.py, and that it needs no torch."""

import dataclasses
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cuda_ext import native
from diffusion.backends.native import NativeBackend, tensors_of, with_neighbour_tables
from diffusion.backends.torch import TorchBackend
from diffusion.engine import Engine
from diffusion.model.card import ModelFolder, open_folder, write_card
from diffusion.model.config import ModelConfig
from diffusion.model.load import load_model, save_model
from diffusion.model.tensors import rounded
from diffusion.model.transformer import Transformer
from diffusion.request import Draft, Hole, InfillRequest, Start
from diffusion.vocabulary import OURS
from tests.models import SMALL

pytestmark = pytest.mark.skipif(bool(native.why_not("cpu")), reason=f"native backend: {native.why_not('cpu')}")

REQUEST = InfillRequest("import os\n\ndef area(width, height):\n    return ", "\n", (Hole(32),))
NO_TORCH = """
import sys
from pathlib import Path
from diffusion.engine import Engine
from diffusion.request import InfillRequest
engine = Engine.load(Path(sys.argv[1]))
*_, last = engine.infill(InfillRequest("def f(x):\\n    return ", "\\n"), lambda: False)
print(engine.info["backend"], last.done, "torch" in sys.modules)
"""


FOLDER = open_folder(SMALL)


def words_of(folder: ModelFolder) -> dict[str, np.ndarray]:
    return {name: weight.words() for name, weight in folder.weights().items()}


def test_a_completion_on_the_native_backend_imports_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", NO_TORCH, str(SMALL)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["native", "True", "False"]


def test_float32_weights_are_rounded_to_bfloat16_as_torch_rounds_them() -> None:
    values = np.concatenate([np.random.default_rng(0).standard_normal(1000), [0.0, -0.0, 1e-40, 3e38]]).astype("<f4")
    words = rounded(values)
    expected = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    assert np.array_equal(words, expected)


def test_both_backends_take_the_same_tokens_for_the_same_weights() -> None:
    """Logits of bf16 torch and bf16 native differ by rounding alone."""
    native_backend, torch_backend = NativeBackend.load(FOLDER, precision="bf16"), TorchBackend.load(FOLDER)
    ids = list(range(100, 180))
    cache, torch_cache = native_backend.new_cache(128), torch_backend.new_cache(128)
    native_backend.encode(ids, cache)
    torch_backend.encode(ids, torch_cache)
    canvas = [0] * 16
    found = native_backend.model.forward(cache.cache, [], canvas, len(ids))
    hidden = torch_backend.model.denoise(torch.tensor([canvas]), torch_cache)
    expected = torch_backend.model.logits(hidden[0]).detach().numpy()
    size = np.abs(expected).mean()
    assert np.abs(found - expected).mean() < 0.01 * size
    second, first = np.sort(expected, axis=1)[:, -2:].T
    clear = first - second > 0.04 * size  # no near tie, which rounding turns either way
    assert clear.sum() >= len(canvas) // 2
    assert np.array_equal(found.argmax(axis=1)[clear], expected.argmax(axis=1)[clear])


@pytest.mark.parametrize(
    "start",
    [
        Start((("urn width", 0.9), (" * height", 0.0))),
        Start((("urn width", 0.9), (" * ", 0.8), ("height", 0.0)), closed=False),
        Start((("xq zebra", 0.9), (" * height", 0.8)), closed=False),  # its first token ends inside "ret"
    ],
)
def test_both_backends_decide_alike_from_the_same_start(start: Start) -> None:
    """In one step: what is still masked behind it may be a near tie, which rounding turns either way."""
    request = InfillRequest("def area(width, height):\n    ret", "\n", (Hole(16),), start=start)
    other = Engine.load(SMALL, backend="torch")
    backend = NativeBackend.load(FOLDER, precision="bf16")
    engines = [Engine(backend, other.tokenizer, other.policy, {}), other]
    found, expected = (next(engine.infill(request, lambda: False)) for engine in engines)
    assert [text for text, _ in decided(found)] == [text for text, _ in decided(expected)]
    assert [p for _, p in decided(found)] == pytest.approx([p for _, p in decided(expected)], abs=0.05)
    assert (found.done, len(decided(found)) > 1) == (expected.done, True)


def decided(draft: Draft) -> list[tuple[str, float]]:
    """The tokens of a draft that are not masked any more, with their probability."""
    return [(draft.text[start:stop], p) for start, stop, p in draft.tokens if p > 0]


def test_a_run_that_nobody_reads_on_ends_with_its_generator() -> None:
    engine = Engine.load(SMALL, backend="native")
    for _ in range(20):
        drafts = engine.infill(REQUEST, lambda: False)
        next(drafts)
        drafts.close()
    assert list(engine.infill(REQUEST, lambda: False))[-1].done


def test_cancelling_from_another_thread_ends_the_drafts() -> None:
    engine, stop = Engine.load(SMALL, backend="native"), threading.Event()
    threading.Timer(0.005, stop.set).start()
    while not stop.is_set():
        list(engine.infill(REQUEST, stop.is_set))
    assert list(engine.infill(REQUEST, stop.is_set)) == []


@pytest.mark.parametrize("part", ["model.safetensors", "config.json"])
def test_what_is_wrong_with_a_folder_is_one_clear_error(tmp_path: Path, part: str) -> None:
    folder = Path(shutil.copytree(SMALL, tmp_path / "weights"))
    if part == "config.json":
        config = json.loads((folder / part).read_text())
        (folder / part).write_text(json.dumps(config | {"d_ff": 100}))
    else:
        (folder / part).write_bytes((folder / part).read_bytes()[:1000])
    with pytest.raises(ValueError, match=part.replace(".", r"\.")):
        Engine.load(folder, backend="native")


def test_reading_gives_every_tensor_of_the_file() -> None:
    tensors = words_of(FOLDER)
    assert tensors["embed.weight"].dtype == np.uint16
    assert sum(t.size for t in tensors.values()) == Engine.load(SMALL, backend="native").info["parameters"]


def test_weights_stored_in_int8_are_read_alike_by_both_backends(tmp_path: Path) -> None:
    model, _ = load_model(SMALL)
    save_model(tmp_path, model, (SMALL / "tokenizer.json").read_bytes(), torch.int8)
    read, _ = load_model(tmp_path, torch.bfloat16)
    tensors = words_of(open_folder(tmp_path))
    assert set(tensors) == set(read.state_dict())
    for name, tensor in read.state_dict().items():
        assert np.array_equal(tensor.view(torch.int16).numpy().view(np.uint16), tensors[name]), name
    assert (tmp_path / "model.safetensors").stat().st_size < 0.55 * (SMALL / "model.safetensors").stat().st_size


def plain_folder(path: Path, dtype: torch.dtype) -> ModelFolder:
    """A model without extras on disk, our tokenizer with it."""
    config = ModelConfig(d_model=64, n_layers=2, n_heads=3, n_kv_heads=1, d_ff=96, d_head=32, extras=False, tied=False)
    model = Transformer(config)
    model.init_weights(torch.Generator().manual_seed(3))
    save_model(path, model, (SMALL / "tokenizer.json").read_bytes(), dtype)
    write_card(dataclasses.replace(FOLDER, policy="verdict"), path)
    return open_folder(path)


def test_what_is_stored_in_int8_is_given_to_an_int8_model_as_it_is(tmp_path: Path) -> None:
    folder = plain_folder(tmp_path, torch.int8)
    weights = folder.weights()
    given = dict(tensors_of(weights, folder.config, "int8"))
    assert not weights, "files would stay mapped"
    values, scales = folder.weights()["blocks.1.qkv.weight"].int8() or (None, None)
    assert np.array_equal(given["blocks.1.qkv.weight"][0], values)
    assert np.array_equal(given["blocks.1.qkv.weight"][1], scales)
    assert given["norm.weight"].dtype == np.uint16


@pytest.mark.parametrize("dtype", [torch.int8, torch.bfloat16])
@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_a_model_without_extras_runs_from_its_folder(tmp_path: Path, dtype: torch.dtype, precision: str) -> None:
    folder = plain_folder(tmp_path, dtype)
    one, reference = NativeBackend.load(folder, precision=precision), TorchBackend.load(folder)
    cache, torch_cache = one.new_cache(128), reference.new_cache(128)
    ids, canvas = list(range(100, 140)), list(range(200, 216))
    one.encode(ids, cache)
    reference.encode(ids, torch_cache)
    found = one.model.forward(cache.cache, [], canvas, len(ids))
    expected = reference.model.logits(reference.model.run([], canvas, torch_cache)).detach().numpy()
    assert np.abs(found - expected).mean() < 0.06 * np.abs(expected).mean()


def test_tables_hold_what_the_model_adds_for_a_neighbour_and_end_with_that_of_none() -> None:
    config, model = FOLDER.config, load_model(SMALL)[0]
    tables = with_neighbour_tables(words_of(FOLDER), config)
    assert not {"left.weight", "right.weight"} & tables.keys()
    for side, matrix in (("left", model.left), ("right", model.right)):
        table = torch.from_numpy((tables[side].astype(np.uint32) << 16).view(np.float32))
        wanted = matrix(model.embed_norm(model.embed.weight))
        assert torch.allclose(table[:-1], wanted, atol=1e-2, rtol=1e-2)
        assert torch.equal(table[-1], table[OURS.end])


def test_weights_without_neighbours_are_named_as_what_they_are(tmp_path: Path) -> None:
    shutil.copytree(SMALL, tmp_path / "old")
    tensors = load_file(SMALL / "model.safetensors")
    save_file({name: t for name, t in tensors.items() if name != "left.weight"}, tmp_path / "old" / "model.safetensors")
    with pytest.raises(ValueError, match=r"left\.weight missing"):
        NativeBackend.load(open_folder(tmp_path / "old"))
