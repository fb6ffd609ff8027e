"""Writes an adapter's folder: the low-rank matrices, and a card that says what they are made for and of what.

Rule: hashes and counts, no path, no name and no text of what was learned. Files appear whole: written beside, then
moved.

    write_adapter(Path("mine"), best, about(base, at, config, learned, held_out, n_tokens))
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from diffusion.adapt.data import digest
from diffusion.adapt.run import AdaptRun, Run, whole
from diffusion.evaluate.cases import SourceFile
from diffusion.model.adapter import CARD, FORMAT, TENSORS


def about(
    base: str, at: Run, config: AdaptRun, learned: Sequence[SourceFile], held_out: Sequence[SourceFile], n_tokens: int
) -> dict[str, Any]:
    """What the card says; `base`: the `weights_hash` of the model that it belongs to."""
    return {
        "format": FORMAT,
        "base": base,
        "rank": config.rank,
        "learned": {"files": len(learned), "tokens": n_tokens, "sha256": hashes(learned)},
        "held_out": {"files": len(held_out), "sha256": hashes(held_out)},
        "run": {"steps": at.step, "minutes": round(at.seconds / 60, 1), "cpu_minutes": round(at.cpu_seconds / 60, 1)},
        "history": at.history,
    }


def hashes(files: Sequence[SourceFile]) -> list[str]:
    """SHA-256 of every file's text, sorted."""
    return sorted(digest(file.text) for file in files)


def write_adapter(out: Path, best: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write both files, the card last."""
    tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in best.items()}
    with whole(out / TENSORS) as unfinished:
        save_file(tensors, unfinished)
    write_card(out, card)


def write_card(out: Path, card: Mapping[str, Any]) -> None:
    """Write the card alone."""
    with whole(out / CARD) as unfinished:
        unfinished.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
