"""A model folder as far as it can be read without torch: where it is, its shape, its hash.

Rule: whatever is wrong with a folder becomes one ValueError that names the file.

    config = load_config(EMBEDDED)
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path

EMBEDDED = Path(__file__).parents[1] / "weights"
SCALE = ".scale"  # behind the name of an int8 matrix: its float32 scales, one per output channel


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the model; saved as config.json beside the weights."""

    vocab_size: int = 8192
    d_model: int = 256
    n_layers: int = 6
    n_heads: int = 4
    n_kv_heads: int = 2
    d_ff: int = 704
    rope_base: float = 10_000.0
    max_context: int = 512

    @property
    def d_head(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.n_heads


def load_config(path: Path) -> ModelConfig:
    """Read config.json; ValueError if it is missing, not JSON, or has fields we do not know."""
    try:
        values = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"no readable config.json in {path}: {error}") from error
    known = {field.name for field in fields(ModelConfig)}
    if not isinstance(values, dict) or not known >= values.keys():
        raise ValueError(f"{path / 'config.json'} is not a Mezzotint model configuration")
    return ModelConfig(**values)


def weights_hash(path: Path) -> str:
    """First 12 hex digits of the SHA-256 of the weights file."""
    return hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()[:12]
