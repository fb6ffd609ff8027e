"""The shape of a model and which of the known variations of one transformer it has.

Rule: every field is checked for type and range on its own; whatever is wrong with a config.json becomes one ValueError
that names the file and the field. Two kinds of file are read: ours, and that of Hugging Face's Llama, Qwen2 and Qwen3,
which the families of `families.py` have as well.

    config = load_config(EMBEDDED, names=())
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from diffusion.fields import listed, shown
from diffusion.model.families import MODEL_TYPES, plain

EMBEDDED = Path(__file__).parents[1] / "weights"
EVERYTHING = 2**30  # `context_sees`, `canvas_sees`: every row of the kind, before and behind
MAX_JSON_BYTES = 1 << 27
MOST_CONTEXT = 1 << 20  # tokens
HEADS = ("lm_head.weight", "model.transformer.ff_out.weight")  # an output matrix of its own; the last is LLaDA's

# Field of ours: (smallest, largest). A vocabulary and a width beyond these do not fit 32-bit offsets.
RANGES: dict[str, tuple[float, float]] = {
    "vocab_size": (2, 1 << 20),
    "d_model": (8, 1 << 16),
    "n_layers": (1, 1024),
    "n_heads": (1, 1024),
    "n_kv_heads": (1, 1024),
    "d_ff": (8, 1 << 18),
    "rope_base": (1.0, 1e9),
    "max_context": (64, MOST_CONTEXT),
    "d_head": (0, 1024),
    "norm_eps": (1e-12, 1e-2),
    "context_sees": (1, EVERYTHING),
    "canvas_sees": (1, EVERYTHING),
}


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the model; saved as config.json beside the weights.

    `d_head`: width of one attention head; 0 means d_model / n_heads. `qkv_bias`, `qk_norm`: whether the projections
    have a bias, and queries and keys a norm per head. `tied`: the output matrix is the embedding. `extras`: a norm
    behind the embedding, a canvas embedding, and neighbours (our first models). `shift`: the row before predicts a
    canvas row's token. `context_sees` and `canvas_sees`: rows of a kind see one another in blocks of so many
    positions and all before them: 1 is causal, EVERYTHING has no limit.
    """

    vocab_size: int = 8192
    d_model: int = 256
    n_layers: int = 6
    n_heads: int = 4
    n_kv_heads: int = 2
    d_ff: int = 704
    rope_base: float = 10_000.0
    max_context: int = 512
    d_head: int = 0
    norm_eps: float = 1e-6
    qkv_bias: bool = False
    qk_norm: bool = True
    tied: bool = True
    extras: bool = True
    shift: bool = False
    context_sees: int = 1
    canvas_sees: int = EVERYTHING

    @property
    def in_place(self) -> bool:
        """Whether every row sees every row, so that the canvas stands between prefix and suffix."""
        return self.context_sees == EVERYTHING

    @property
    def on_grid(self) -> bool:
        """Whether context and canvas are one sequence of blocks, counted from its start."""
        return 1 < self.context_sees == self.canvas_sees < EVERYTHING

    @property
    def has_causal_rows(self) -> bool:
        """Whether rows of the context can judge what was drafted, token by token."""
        return not self.in_place and not self.on_grid

    def __post_init__(self) -> None:
        """Fill `d_head` in; ValueError names the field that cannot be."""
        for field in fields(self):
            check_field(field.name, getattr(self, field.name))
        if not self.d_head:
            if self.d_model % self.n_heads:
                raise ValueError(f"d_model {self.d_model} is no multiple of n_heads {self.n_heads}")
            object.__setattr__(self, "d_head", self.d_model // self.n_heads)
        if self.d_head % 2:
            raise ValueError(f"d_head {self.d_head} is odd")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_heads {self.n_heads} is no multiple of n_kv_heads {self.n_kv_heads}")


def check_field(name: str, value: Any) -> None:
    """ValueError unless `value` is of the field's type and in its range."""
    if name not in RANGES:
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, not {shown(value)}")
        return
    low, high = RANGES[name]
    kind = int if isinstance(low, int) else float
    allowed = (int,) if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise ValueError(f"{name} must be {'an integer' if kind is int else 'a number'}, not {shown(value)}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, not {shown(value)}")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; ValueError if there is none."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_JSON_BYTES:  # a FIFO would never end
            raise ValueError("it is no regular file, or too large")
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"no readable {path.name} in {path.parent}: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} does not hold a JSON object")
    return values


def load_config(path: Path, names: Collection[str] = (), card: Mapping[str, Any] | None = None) -> ModelConfig:
    """The shape that `path`/config.json describes; `names` of the tensors that are there, `card` of what ours adds."""
    values = read_json(path / "config.json")
    try:
        if "model_type" in values or "architectures" in values:
            return ModelConfig(**from_hugging_face(values, names) | dict(card or {}))
        unknown = values.keys() - {field.name for field in fields(ModelConfig)}
        if unknown:
            raise ValueError(f"it has fields that are not ours: {listed(sorted(unknown))}")
        return ModelConfig(**values | dict(card or {}))
    except ValueError as error:
        raise ValueError(f"{path / 'config.json'} is not a model configuration that is known here: {error}") from error


def from_hugging_face(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Our fields of a Hugging Face configuration; what the tensors tell (biases, norms, head) is read off `names`."""
    values = plain(values)
    refuse_unknown(values)
    head = any(name in names for name in HEADS)
    first = "model.layers.0.self_attn."
    heads = values.get("num_attention_heads")
    return {
        "vocab_size": values.get("vocab_size"),
        "d_model": values.get("hidden_size"),
        "n_layers": values.get("num_hidden_layers"),
        "n_heads": heads,
        "n_kv_heads": values.get("num_key_value_heads") or heads,
        "d_ff": values.get("intermediate_size"),
        "rope_base": rope(values).get("rope_theta", 10_000.0),
        "max_context": values.get("max_position_embeddings", 2048),
        "d_head": values.get("head_dim") or 0,
        "norm_eps": values.get("rms_norm_eps", 1e-6),
        "qkv_bias": first + "q_proj.bias" in names,
        "qk_norm": first + "q_norm.weight" in names,
        "tied": not head,  # some say tie_word_embeddings and have an output matrix of their own
        "extras": False,
        "canvas_sees": EVERYTHING,
    }


def rope(values: Mapping[str, Any]) -> dict[str, Any]:
    """The rotary settings, in the old or the new way of writing them."""
    nested = values.get("rope_parameters") or values.get("rope_scaling") or {}
    found = {"rope_theta": values["rope_theta"]} if "rope_theta" in values else {}
    return found | (dict(nested) if isinstance(nested, Mapping) else {"rope_type": nested})


def refuse_unknown(values: Mapping[str, Any]) -> None:
    """ValueError for a transformer that is not the one we run."""
    kind = values.get("model_type")
    if kind not in MODEL_TYPES:
        raise ValueError(f"model_type {shown(kind)} is none of {', '.join(MODEL_TYPES)}")
    settings = rope(values)
    scaling = settings.get("rope_type", settings.get("type", "default"))
    if scaling not in ("default", None):
        raise ValueError(f"rotary scaling {shown(scaling)} is not supported")
    if values.get("hidden_act", "silu") != "silu":
        raise ValueError(f"hidden_act {shown(values['hidden_act'])} is not silu")
    for name in ("mlp_bias", "use_sliding_window", "attention_out_bias", "use_mrope"):
        if values.get(name):
            raise ValueError(f"{name} is not supported")
