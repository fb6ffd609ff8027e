"""Reads and writes a model folder as torch sees it: config.json, tokenizer.json, model.safetensors.

Rule: safetensors only, never pickle; whatever is wrong with a folder becomes one ValueError that names the file.
Matrices may be int8 with one scale per output channel: `name` int8 (N, K) and `name.scale` float32 (N,).

    save_model(Path("out"), model, tokenizer_json); model, tokenizer = load_model(Path("out"))
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffusion.model.config import SCALE, load_config
from diffusion.model.transformer import Transformer
from diffusion.tokenizer import Tokenizer


def save_model(path: Path, model: Transformer, tokenizer_json: bytes, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write the folder; tensors are stored as `dtype`, with torch.int8 all but the matrices as bfloat16."""
    path.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    if dtype == torch.int8:
        tensors = {k: v for name, tensor in state.items() for k, v in quantised(name, tensor).items()}
    else:
        tensors = {name: tensor.to(dtype).contiguous() for name, tensor in state.items()}
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    (path / "config.json").write_text(json.dumps(asdict(model.config), indent=1) + "\n", encoding="utf-8")
    (path / "tokenizer.json").write_bytes(tokenizer_json)


def load_model(path: Path, dtype: torch.dtype = torch.float32) -> tuple[Transformer, Tokenizer]:
    """Model in evaluation mode and its tokenizer; ValueError says which file is wrong and how."""
    config = load_config(path)
    tokenizer = Tokenizer.load(path / "tokenizer.json")
    if tokenizer.vocab_size != config.vocab_size:
        raise ValueError(f"{path}: tokenizer has {tokenizer.vocab_size} tokens, the model {config.vocab_size}")
    try:
        tensors = load_file(path / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise ValueError(f"cannot read {path / 'model.safetensors'}: {error}") from error
    with torch.device("meta"):
        model = Transformer(config)
    try:
        model.load_state_dict({name: tensor.to(dtype) for name, tensor in restored(tensors).items()}, assign=True)
    except (RuntimeError, KeyError) as error:
        raise ValueError(f"{path / 'model.safetensors'} does not fit its config.json: {error}") from error
    return model.requires_grad_(False).eval(), tokenizer


def quantised(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """How a tensor is stored in int8: a matrix with one scale per row, anything else as bfloat16."""
    if tensor.dim() != 2:
        return {name: tensor.to(torch.bfloat16)}
    scale = (tensor.float().abs().amax(1) / 127).clamp_min(1e-12)
    return {name: (tensor.float() / scale[:, None]).round().to(torch.int8), name + SCALE: scale}


def restored(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file, those stored in int8 as float32; KeyError if a scale is missing."""
    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith(SCALE)}
    return {
        name: tensor.float() * tensors[name + SCALE][:, None] if tensor.dtype == torch.int8 else tensor
        for name, tensor in kept.items()
    }
