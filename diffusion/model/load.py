"""Reads and writes a model folder as torch sees it: config.json, tokenizer.json, mezzotint.json, safetensors in shards.

Rule: safetensors only, never pickle; whatever is wrong with a folder becomes one ValueError that names the file.

    save_model(Path("out"), model, tokenizer_json); model, tokenizer = load_model(Path("out"))
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from diffusion.model.card import ModelFolder, open_folder, write_card
from diffusion.model.int8 import in_int8
from diffusion.model.tensors import INDEX, SCALE, SINGLE, Weight
from diffusion.model.transformer import Transformer
from diffusion.tokenizer import Tokenizer

SHARD_BYTES = 47_000_000  # of one file: some hosts refuse larger ones


def save_model(
    path: Path,
    model: Transformer,
    tokenizer_json: bytes,
    dtype: torch.dtype = torch.bfloat16,
    folder: ModelFolder | None = None,
) -> None:
    """Write the folder; tensors are stored as `dtype`, with torch.int8 all but the matrices as bfloat16.

    `folder`: where the model's token ids and names are from; None for those of our own tokenizers.
    """
    path.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    if dtype == torch.int8:
        tensors = {k: v for name, tensor in state.items() for k, v in quantised(name, tensor).items()}
    else:
        tensors = {name: tensor.to(dtype).contiguous() for name, tensor in state.items()}
    save_shards(path, tensors)
    (path / "config.json").write_text(json.dumps(asdict(model.config), indent=1) + "\n", encoding="utf-8")
    (path / "tokenizer.json").write_bytes(tokenizer_json)
    if folder is not None:
        write_card(folder, path)


def save_shards(path: Path, tensors: dict[str, Tensor]) -> None:
    """One file, or several of at most SHARD_BYTES with an index; a matrix and its scales stay together."""
    shards: list[dict[str, Tensor]] = [{}]
    room = SHARD_BYTES
    for name, tensor in tensors.items():
        room -= tensor.nbytes
        if room < 0 and shards[-1] and not name.endswith(SCALE):
            shards.append({})
            room = SHARD_BYTES - tensor.nbytes
        shards[-1][name] = tensor
    for old in (*path.glob("model-*.safetensors"), path / SINGLE, path / INDEX):
        old.unlink(missing_ok=True)
    if len(shards) == 1:
        save_file(shards[0], path / SINGLE, metadata={"format": "pt"})
        return
    files = [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    for file, shard in zip(files, shards, strict=True):
        save_file(shard, path / file, metadata={"format": "pt"})
    table = {name: file for file, shard in zip(files, shards, strict=True) for name in shard}
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": table}
    (path / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def load_model(path: Path, dtype: torch.dtype = torch.float32) -> tuple[Transformer, Tokenizer]:
    """Model in evaluation mode and its tokenizer; ValueError says which file is wrong and how."""
    folder = open_folder(path)
    return load_weights(folder, dtype), folder.tokenizer()


def load_weights(folder: ModelFolder, dtype: torch.dtype = torch.float32, int8: bool = False) -> Transformer:
    """The model of a folder that was read, in evaluation mode; with `int8` its matrices are, and `dtype` the rest."""
    with torch.device("meta"):
        model = Transformer(folder.config)
        if int8:
            in_int8(model, dtype)
    state: dict[str, Tensor] = {}
    for name, weight in folder.weights().items():
        state |= as_int8(name, weight, dtype) if int8 else {name: as_tensor(weight, dtype)}
    model.load_state_dict(state, assign=True)
    return model.requires_grad_(False).eval()


def as_int8(name: str, weight: Weight, dtype: torch.dtype) -> dict[str, Tensor]:
    """A matrix in int8 with its scales, as stored or rounded now; anything else as `dtype`."""
    stored = weight.int8()
    if stored is not None:
        values, scale = map(torch.from_numpy, stored)
        return {name: values, scale_of(name): scale}
    whole = as_tensor(weight, dtype)
    if whole.dim() != 2:
        return {name: whole}
    rounded = quantised(name, whole)
    return {name: rounded[name], scale_of(name): rounded[name + SCALE]}


def scale_of(name: str) -> str:
    """The name in an int8 model of a matrix's scales."""
    return name.removesuffix(".weight") + ".scale"


def as_tensor(weight: Weight, dtype: torch.dtype) -> Tensor:
    """A weight as `dtype`; bfloat16 is not widened on the way."""
    if dtype == torch.bfloat16:
        return torch.from_numpy(weight.words().view("i2")).view(torch.bfloat16)
    return torch.from_numpy(weight.float32()).to(dtype)


def quantised(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """How a tensor is stored in int8: a matrix with one scale per row, anything else as bfloat16."""
    if tensor.dim() != 2:
        return {name: tensor.to(torch.bfloat16)}
    scale = (tensor.float().abs().amax(1) / 127).clamp_min(1e-12)
    return {name: (tensor.float() / scale[:, None]).round().to(torch.int8), name + SCALE: scale}
