"""Model folders that are wrong in random places: each is loaded, or refused with one ValueError, and nothing else."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cuda_ext import native
from diffusion.engine import Engine
from diffusion.model.card import open_folder
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
MEMORY = 3 << 30  # bytes more than now that a test may map: a huge allocation is an error, and so found


def header() -> dict[str, Any]:
    """The header of the weights."""
    entries, at = {}, 0
    for name, shape in SHAPES.items():
        size = 2 * int(np.prod(shape))
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    return entries


N_BYTES = max(entry["data_offsets"][1] for entry in header().values())
DATA = np.resize(
    (np.random.default_rng(1).normal(0, 0.1, 4096).astype(np.float32).view("<u4") >> 16).astype("<u2"), N_BYTES // 2
)


def packed(head: Any, data: bytes = DATA.tobytes()) -> bytes:
    """A safetensors file."""
    text = json.dumps(head).encode()
    return len(text).to_bytes(8, "little") + text + data


FILES: dict[str, Any] = {"config.json": CONFIG, "mezzotint.json": CARD, WEIGHTS: header()}
FILES["tokenizer.json"] = json.loads((SMALL / "tokenizer.json").read_text())


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
    for name in ("config.json", "mezzotint.json"):
        (folder / name).write_text(json.dumps(FILES[name]))
    (folder / WEIGHTS).write_bytes(packed(FILES[WEIGHTS]))
    shutil.copy(SMALL / "tokenizer.json", folder)


def places(tree: Any, depth: int = 4) -> list[tuple[Any, Any]]:
    """Each part of some JSON that may be something else: what holds it, and its key."""
    keys = list(tree) if isinstance(tree, dict) else range(min(len(tree), 8)) if isinstance(tree, list) else ()
    found = [(tree, key) for key in keys][:200]
    return found + [place for key in list(keys)[:40] for place in (places(tree[key], depth - 1) if depth else [])]


@st.composite
def faults(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file of the folder, and what is in it instead."""
    name = draw(st.sampled_from(sorted(FILES)))
    tree = json.loads(json.dumps(FILES[name]))
    for _ in range(draw(st.integers(0, 2))):
        holder, key = draw(st.sampled_from(places(tree)))
        if draw(st.booleans()) and (isinstance(holder, list) or key in holder):
            del holder[key]
        elif isinstance(holder, dict) or key < len(holder):
            holder[key] = draw(st.sampled_from(ODD) | st.integers(0, 70_000))
        if not places(tree):
            break
    content = packed(tree) if name == WEIGHTS else json.dumps(tree).encode()
    kind = draw(st.sampled_from(["whole", "whole", "cut", "bytes", "empty"]))
    if kind == "cut":
        content = content[: draw(st.integers(0, len(content)))]
    elif kind == "bytes":
        at = draw(st.integers(0, min(len(content), 3000)))
        content = content[:at] + draw(st.binary(max_size=8)) + content[at + draw(st.integers(0, 8)) :]
    return name, b"" if kind == "empty" else content


def used(folder: Path) -> bool:
    """Load the folder and complete with it; False where it was refused in a sentence."""
    try:
        engine = Engine.load(folder, threads=1)
        list(engine.infill(InfillRequest("import os\n\nx = ", "\n", deadline_ms=50), lambda: False))
    except ValueError as error:
        assert str(error) and "Traceback" not in str(error)
        return False
    return True


@pytest.mark.skipif(bool(native.why_not("cpu")), reason=f"native backend: {native.why_not('cpu')}")
def test_the_folder_is_right_before_anything_is_changed(folder: Path) -> None:
    restored(folder)
    assert open_folder(folder).policy == "verdict"
    assert used(folder)


@pytest.mark.skipif(bool(native.why_not("cpu")), reason=f"native backend: {native.why_not('cpu')}")
@fuzz(60, by=2)
@given(st.lists(faults(), min_size=1, max_size=2))
@example([(WEIGHTS, packed({"x": {"dtype": "BF16", "shape": [2**62, 4], "data_offsets": [0, 0]}}))])
@example([(WEIGHTS, (2**63).to_bytes(8, "little") + b"{}")])
@example([("config.json", b"[" * 100_000)])
@example([(WEIGHTS, (100_000).to_bytes(8, "little") + b"[" * 100_000)])
def test_a_mutated_model_folder_is_loaded_or_refused_in_a_sentence(
    folder: Path, wrong: list[tuple[str, bytes]]
) -> None:
    restored(folder)
    for name, content in wrong:
        (folder / name).write_bytes(content)
    count("model folders")
    count("model folders loaded", used(folder))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX files")
@pytest.mark.parametrize("name", ["config.json", "mezzotint.json", WEIGHTS, "model.safetensors.index.json"])
def test_what_is_no_regular_file_is_refused(name: str, tmp_path: Path) -> None:
    """A FIFO that nobody writes to would be read for ever."""
    restored(tmp_path / "model")
    (tmp_path / "model" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "model" / name)
    with pytest.raises(ValueError, match=name):
        open_folder(tmp_path / "model")
