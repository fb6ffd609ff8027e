"""diffusion/model/memory: a model that does not fit is refused before a byte of its weights is read."""

from __future__ import annotations

import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from diffusion.engine import Engine
from diffusion.model import memory
from diffusion.model.card import open_folder
from diffusion.model.config import ModelConfig
from diffusion.model.tensors import SINGLE, expected
from tests.models import SMALL

TERABYTES = ModelConfig(
    vocab_size=1 << 20, d_model=1 << 15, n_layers=100, n_heads=256, n_kv_heads=256, d_ff=1 << 17, d_head=128,
    max_context=512, extras=False, qk_norm=False,
)  # fmt: skip


def hollow(folder: Path, config: ModelConfig) -> Path:
    """A model folder whose weights are a hole in a file: any size, no disk."""
    header, at = {}, 0
    for name, shape in expected(config).items():
        size = 2 * int(memory.math.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    folder.mkdir(exist_ok=True)
    with (folder / SINGLE).open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)
    shape_of = {name: getattr(config, name) for name in config.__dataclass_fields__}
    (folder / "config.json").write_text(json.dumps(shape_of))
    (folder / "mezzotint.json").write_text(json.dumps({"format": 1, "tokens": {"end": 1}}))
    shutil.copy(SMALL / "tokenizer.json", folder)
    return folder


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_a_model_that_does_not_fit_is_refused_in_words(backend: str, tmp_path: Path) -> None:
    try:
        folder = hollow(tmp_path / "huge", TERABYTES)
    except OSError as error:
        pytest.skip(f"no file of terabytes here: {error}")
    with pytest.raises(ValueError) as raised:
        Engine.load(folder, backend=backend)
    assert str(raised.value).startswith(f"{folder} needs about ")
    assert "and this machine has " in str(raised.value) and str(raised.value).endswith(" GB free")


def test_what_is_needed_grows_with_the_precision_and_the_context() -> None:
    config = open_folder(SMALL).config
    sizes = [memory.needed(config, precision) for precision in ("int8", "bf16", "float32")]
    assert sizes == sorted(sizes) and sizes[0] > memory.parameters(config)
    assert memory.needed(replace(config, max_context=4096), "int8") > sizes[0]


def test_a_containers_limit_counts_and_what_the_kernel_can_drop_is_free(tmp_path: Path) -> None:
    names = ("max", "current", "stat")
    files = tuple(str(tmp_path / name) for name in names)
    assert memory.free_in_group(files) is None  # type: ignore[arg-type]
    for name, text in zip(names, ("1000\n", "900\n", "anon 500\ninactive_file 300\nactive_file 100\n"), strict=True):
        (tmp_path / name).write_text(text)
    assert memory.free_in_group(files) == 500  # type: ignore[arg-type]
    (tmp_path / "max").write_text("max\n")
    assert memory.free_in_group(files) is None  # type: ignore[arg-type]


def test_a_gpu_is_asked_by_the_number_that_the_user_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\nif [ "$1" = --id=3 ]; then echo 2048; else echo "no such device"; exit 6; fi\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,3")
    monkeypatch.delitem(memory.sys.modules, "torch", raising=False)
    assert memory.available("cuda:1") == 2048 << 20
    assert memory.available("cuda:0") is None


def test_where_nothing_is_known_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda device: None)
    memory.refuse_if_too_large(open_folder(SMALL), "int8", "cpu")
    monkeypatch.setattr(memory, "available", lambda device: 1000)
    with pytest.raises(ValueError, match="needs about 26 MB as int8, and this machine has 0 MB free"):
        memory.refuse_if_too_large(open_folder(SMALL), "int8", "cpu")
