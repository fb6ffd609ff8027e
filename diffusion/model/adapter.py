"""An adapter: low-rank matrices for one base's weights, merged into them while they are read.

Rule: numpy only. What it is made for is in its card, by a hash of the base's weights; what does not belong to the base,
is malformed or has wrong shapes is one ValueError. Both backends get W + up @ down, quantised anew per output channel
where the base is int8. The card names hashes and counts, no path and no text of what was learned.

    folder = replace(folder, adapter=open_adapter(Path("mine"), folder.config, weights_hash(folder.path)))
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from diffusion.fields import listed, shown
from diffusion.model.config import ModelConfig, read_json
from diffusion.model.tensors import ITEM_BYTES, Stored, Weight, as_float32, expected, read_shard

CARD, TENSORS = "adapter.json", "adapter.safetensors"
FORMAT = 1  # of the card
DOWN, UP = ".down", ".up"  # behind a matrix's name: (rank, K) and (N, rank)
MOST_RANK = 1024


@dataclass(frozen=True, eq=False)
class Adapter:
    """What was read of a folder; `pairs`: `down` and `up`, float32, of each matrix that it changes."""

    path: Path
    card: Mapping[str, Any]
    pairs: Mapping[str, tuple[np.ndarray, np.ndarray]]

    @property
    def digest(self) -> str:
        """First 12 hex digits of a SHA-256 of its tensors."""
        found = hashlib.sha256()
        for name, (down, up) in sorted(self.pairs.items()):
            found.update(name.encode() + down.tobytes() + up.tobytes())
        return found.hexdigest()[:12]

    def merged(self, weights: dict[str, Weight]) -> dict[str, Weight]:
        """The base's weights with what is added to them."""
        return weights | {name: replace(weights[name], added=pair) for name, pair in self.pairs.items()}


def open_adapter(path: Path, config: ModelConfig, base: str) -> Adapter:
    """Read a folder, or a file in one, for the base with this shape and `weights_hash`; ValueError says what is wrong.

    Nothing of the base has been read or freed by then.
    """
    path = path.expanduser()
    folder = path.parent if path.is_file() else path
    if not (folder / CARD).is_file():
        raise ValueError(f"{path} is no adapter: it has no {CARD}")
    card = read_json(folder / CARD)
    if card.get("format") != FORMAT:
        raise ValueError(f"{folder / CARD} has format {shown(card.get('format'))}; this version reads {FORMAT}")
    if card.get("base") != base:
        raise ValueError(
            f"the adapter {folder} belongs to other weights ({shown(card.get('base'))}) than the model's ({base}): "
            "make one for this model with `mezzotint adapt`"
        )
    return Adapter(folder, card, pairs_of(folder / TENSORS, config))


def pairs_of(path: Path, config: ModelConfig) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The matrices in a file; ValueError unless they come in pairs that fit the base's."""
    shapes = {name: shape for name, shape in expected(config).items() if len(shape) == 2}
    stored = dict(read_shard(path))
    names = {name.removesuffix(part) for name in stored for part in (DOWN, UP) if name.endswith(part)}
    if names - shapes.keys() or stored.keys() != {name + part for name in names for part in (DOWN, UP)}:
        wanted = {name + part for name in names & shapes.keys() for part in (DOWN, UP)}
        odd = sorted(stored.keys() ^ wanted)
        raise ValueError(f"{path} does not fit the model: {listed(odd)} missing, or not of it")
    if not names:
        raise ValueError(f"{path} holds nothing")
    pairs = {}
    for name in sorted(names):
        down, up = stored[name + DOWN], stored[name + UP]
        rank = down.shape[0] if len(down.shape) == 2 else 0
        n, k = shapes[name]
        fits = 0 < rank <= MOST_RANK and down.shape == (rank, k) and up.shape == (n, rank)
        if not fits or "I8" in (down.dtype, up.dtype):
            raise ValueError(
                f"{path} does not fit the model: {name} is {shown(up.shape)} by {shown(down.shape)}, not for {n, k}"
            )
        pairs[name] = numbers(path, name, down), numbers(path, name, up)
    return pairs


def numbers(path: Path, name: str, stored: Stored) -> np.ndarray:
    """The values of one matrix, float32; ValueError if they are cut off or no numbers."""
    if stored.n_bytes != math.prod(stored.shape) * ITEM_BYTES[stored.dtype]:
        raise ValueError(f"{path}: {name} is not as long as its shape says")
    return as_float32(stored, None)
