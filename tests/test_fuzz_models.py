"""Model folders and adapters wrong in random places: each is loaded, or refused with one ValueError, nothing else."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cuda_ext import native
from diffusion.engine import Engine
from diffusion.model.adapter import TENSORS
from diffusion.model.card import open_folder, weights_hash
from diffusion.request import InfillRequest
from tests.fuzzing import count, fuzz
from tests.models import SMALL

WEIGHTS = "model.safetensors"
VOCAB, WIDTH = 8192, 16
CONFIG = {
    "model_type": "llama", "vocab_size": VOCAB, "hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "intermediate_size": 24, "max_position_embeddings": 1024, "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0, "eos_token_id": 1, "tie_word_embeddings": True,
}  # fmt: skip
CARD = {
    "format": 1, "name": "x", "licence": "MIT", "tokens": {"mask": 0, "end": 1, "also_ends": [2]}, "policy": "verdict",
    "shift": True, "context_sees": 1, "canvas_sees": 0, "max_context": 512, "verdict": {"patience": 1},
}  # fmt: skip
BLOCK = "model.layers.0."
SHAPES = {
    "model.embed_tokens.weight": (VOCAB, WIDTH),
    "model.norm.weight": (WIDTH,),
    f"{BLOCK}input_layernorm.weight": (WIDTH,),
    f"{BLOCK}post_attention_layernorm.weight": (WIDTH,),
    f"{BLOCK}self_attn.q_proj.weight": (16, WIDTH),
    f"{BLOCK}self_attn.k_proj.weight": (8, WIDTH),
    f"{BLOCK}self_attn.v_proj.weight": (8, WIDTH),
    f"{BLOCK}self_attn.o_proj.weight": (WIDTH, 16),
    f"{BLOCK}mlp.gate_proj.weight": (24, WIDTH),
    f"{BLOCK}mlp.up_proj.weight": (24, WIDTH),
    f"{BLOCK}mlp.down_proj.weight": (WIDTH, 24),
}
ODD = [
    None,
    True,
    0,
    -1,
    1.5,
    2**31,
    2**62,
    2**70,
    float("nan"),
    float("inf"),
    "",
    "F16",
    "\ud800",
    [],
    {},
    [1],
    [0, 2**61],
]
PAIR = {  # what the adapter changes
    "blocks.0.down.weight.down": (2, 24),
    "blocks.0.down.weight.up": (WIDTH, 2),
}
MOST_CHARACTERS = 1000  # of a sentence: what a file holds is not quoted without end
MEMORY = 3 << 30  # bytes more than now that a test may map: a huge allocation is an error, and so found


def header(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """The header of a safetensors file."""
    entries, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    return entries


def data(head: dict[str, Any]) -> bytes:
    """Small numbers, as many as the header says."""
    n_bytes = max(entry["data_offsets"][1] for entry in head.values())
    numbers = np.random.default_rng(1).normal(0, 0.1, 4096).astype(np.float32).view("<u4") >> 16
    return np.resize(numbers.astype("<u2"), n_bytes // 2).tobytes()


def packed(head: Any, data: bytes) -> bytes:
    """A safetensors file."""
    text = json.dumps(head).encode()
    return len(text).to_bytes(8, "little") + text + data


MODEL: dict[str, Any] = {"config.json": CONFIG, "mezzotint.json": CARD, WEIGHTS: header(SHAPES)}
MODEL["tokenizer.json"] = json.loads((SMALL / "tokenizer.json").read_text())
ADAPTER: dict[str, Any] = {"adapter.json": {"format": 1, "base": "", "rank": 2}, TENSORS: header(PAIR)}
DATA = {name: data(head) for name, head in {**MODEL, **ADAPTER}.items() if name.endswith(".safetensors")}


def content_of(name: str, tree: Any) -> bytes:
    """A file's bytes."""
    return packed(tree, DATA[name]) if name in DATA else json.dumps(tree).encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that is right, and limits under which a huge allocation fails."""
    path = tmp_path_factory.mktemp("models")
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, before[1]))
    yield path
    resource.setrlimit(resource.RLIMIT_AS, before)


def restored(folder: Path) -> None:
    """Make the folder what it was."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ("config.json", "mezzotint.json", WEIGHTS):
        (folder / name).write_bytes(content_of(name, MODEL[name]))
    shutil.copy(SMALL / "tokenizer.json", folder)


def with_adapter(folder: Path) -> Path:
    """Make the folder what it was; a folder in it is an adapter for it."""
    restored(folder)
    adapter = folder / "adapter"
    adapter.mkdir()
    ADAPTER["adapter.json"]["base"] = weights_hash(folder)
    for name, tree in ADAPTER.items():
        (adapter / name).write_bytes(content_of(name, tree))
    return adapter


def places(tree: Any, depth: int = 4) -> list[tuple[Any, Any]]:
    """Each part of some JSON that may be something else: what holds it, and its key."""
    keys = list(tree) if isinstance(tree, dict) else range(min(len(tree), 8)) if isinstance(tree, list) else ()
    found = [(tree, key) for key in keys][:200]
    return found + [place for key in list(keys)[:40] for place in (places(tree[key], depth - 1) if depth else [])]


@st.composite
def faults(draw: st.DrawFn, files: dict[str, Any]) -> tuple[str, bytes]:
    """One of these files, and what is in it instead."""
    name = draw(st.sampled_from(sorted(files)))
    tree = json.loads(json.dumps(files[name]))
    for _ in range(draw(st.integers(0, 2))):
        holder, key = draw(st.sampled_from(places(tree)))
        if draw(st.booleans()) and (isinstance(holder, list) or key in holder):
            del holder[key]
        elif isinstance(holder, dict) or key < len(holder):
            holder[key] = deepcopy(draw(st.sampled_from(ODD) | st.integers(0, 70_000)))
        if not places(tree):
            break
    content = content_of(name, tree)
    kind = draw(st.sampled_from(["whole", "whole", "cut", "bytes", "empty"]))
    if kind == "cut":
        content = content[: draw(st.integers(0, len(content)))]
    elif kind == "bytes":
        at = draw(st.integers(0, min(len(content), 3000)))
        content = content[:at] + draw(st.binary(max_size=8)) + content[at + draw(st.integers(0, 8)) :]
    return name, b"" if kind == "empty" else content


def used(folder: Path, adapter: Path | None = None) -> bool:
    """Load the folder and complete with it; False where it was refused in a sentence."""
    try:
        engine = Engine.load(folder, threads=1, adapter=adapter)
        list(engine.infill(InfillRequest("import os\n\nx = ", "\n", deadline_ms=50), lambda: False))
    except ValueError as error:
        assert 0 < len(str(error)) < MOST_CHARACTERS and "Traceback" not in str(error)
        return False
    return True


@pytest.mark.skipif(bool(native.why_not("cpu")), reason=f"native backend: {native.why_not('cpu')}")
def test_the_folder_is_right_before_anything_is_changed(folder: Path) -> None:
    adapter = with_adapter(folder)
    assert open_folder(folder).policy == "verdict"
    assert used(folder)
    assert used(folder, adapter)


@pytest.mark.skipif(bool(native.why_not("cpu")), reason=f"native backend: {native.why_not('cpu')}")
@fuzz(60, by=2)
@given(st.lists(faults(MODEL), min_size=1, max_size=2))
@example([(WEIGHTS, packed({"x": {"dtype": "BF16", "shape": [2**62, 4], "data_offsets": [0, 0]}}, DATA[WEIGHTS]))])
@example([(WEIGHTS, (2**63).to_bytes(8, "little") + b"{}")])
@example([("config.json", b"[" * 100_000)])
@example([(WEIGHTS, (100_000).to_bytes(8, "little") + b"[" * 100_000)])
@example([(WEIGHTS, packed({"x" * 10_000: {"dtype": "x" * 10_000}}, b""))])
@example(
    [
        (
            WEIGHTS,
            packed({name: entry | {"shape": [1] * 10_000} for name, entry in header(SHAPES).items()}, DATA[WEIGHTS]),
        )
    ]
)
@example([("config.json", json.dumps(CONFIG | {"hidden_act": "x" * 10_000}).encode())])
@example([("config.json", json.dumps({"x" * 10_000: 1}).encode())])
@example([("mezzotint.json", json.dumps(CARD | {"x" * 10_000: 1}).encode())])
def test_a_mutated_model_folder_is_loaded_or_refused_in_a_sentence(
    folder: Path, wrong: list[tuple[str, bytes]]
) -> None:
    restored(folder)
    for name, content in wrong:
        (folder / name).write_bytes(content)
    count("model folders")
    count("model folders loaded", used(folder))


@pytest.mark.skipif(bool(native.why_not("cpu")), reason=f"native backend: {native.why_not('cpu')}")
@fuzz(60, by=2)
@given(st.lists(faults(ADAPTER), min_size=1, max_size=2))
@example([(TENSORS, packed({"x": {"dtype": "BF16", "shape": [2**62, 4], "data_offsets": [0, 0]}}, b""))])
@example([(TENSORS, (2**63).to_bytes(8, "little") + b"{}")])
@example([("adapter.json", b"[" * 100_000)])
@example([("adapter.json", json.dumps({"format": "x" * 10_000}).encode())])
@example([(TENSORS, packed({"x" * 10_000: header(PAIR)["blocks.0.down.weight.up"]}, b""))])
@example([("adapter.json", json.dumps({"format": 1, "base": ["\n"]}).encode())])
def test_a_mutated_adapter_is_added_or_refused_in_a_sentence(folder: Path, wrong: list[tuple[str, bytes]]) -> None:
    adapter = with_adapter(folder)
    for name, content in wrong:
        (adapter / name).write_bytes(content)
    count("adapters")
    count("adapters added", used(folder, adapter))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX files")
@pytest.mark.parametrize("name", ["config.json", "mezzotint.json", WEIGHTS, "model.safetensors.index.json"])
def test_what_is_no_regular_file_is_refused(name: str, tmp_path: Path) -> None:
    """A FIFO that nobody writes to would be read for ever."""
    restored(tmp_path / "model")
    (tmp_path / "model" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "model" / name)
    with pytest.raises(ValueError, match=name):
        open_folder(tmp_path / "model")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX files")
@pytest.mark.parametrize("name", sorted(ADAPTER))
def test_an_adapter_that_is_no_regular_file_is_refused(name: str, tmp_path: Path) -> None:
    adapter = with_adapter(tmp_path / "model")
    (adapter / name).unlink()
    os.mkfifo(adapter / name)
    with pytest.raises(ValueError, match=name):
        Engine.load(tmp_path / "model", threads=1, adapter=adapter)
