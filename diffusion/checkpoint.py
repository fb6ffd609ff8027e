"""Reads and writes a model folder as torch sees it: config.json, tokenizer.json, model.safetensors.

Rule: safetensors only, never pickle; whatever is wrong with a folder becomes one ValueError that names the file.

    save_model(Path("out"), model, tokenizer_json); model, tokenizer = load_model(Path("out"))
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from diffusion.config import load_config
from diffusion.model import Transformer
from diffusion.tokenizer import Tokenizer


def save_model(path: Path, model: Transformer, tokenizer_json: bytes, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write the folder; tensors are stored as `dtype`."""
    path.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in model.state_dict().items()}
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
        model.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()}, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{path / 'model.safetensors'} does not fit its config.json: {error}") from error
    return model.requires_grad_(False).eval(), tokenizer
