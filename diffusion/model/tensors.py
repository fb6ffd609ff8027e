"""Weights on disk, read where they are used: one safetensors file or shards, ours or Hugging Face's names, four types.

Rule: numpy only. Nothing is memory-mapped: a file that shrinks while it is mapped ends the process (SIGBUS), one that
shrinks while it is read is a ValueError. Every tensor that the shape asks for must be there with its shape, and every
tensor that is there must be used; else one ValueError says which. Matrices may be int8 with one float32 scale per
output channel, in `name.scale`.

    weights(open_tensors(path), config, path)["embed.weight"].words()
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import SEEK_END, RawIOBase
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from diffusion.fields import listed, shown
from diffusion.model.config import ModelConfig, read_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SCALE = ".scale"  # behind the name of an int8 matrix
ITEM_BYTES = {"BF16": 2, "F16": 2, "F32": 4, "I8": 1}
EXPONENT = {"BF16": ("<u2", 0x7F80), "F16": ("<u2", 0x7C00), "F32": ("<u4", 0x7F800000)}  # all ones: infinite, or none
LARGEST = 3.3895e38  # that is still a number in bfloat16
CHECKED_AT_ONCE = 1 << 20  # values
MAX_HEADER_BYTES = 100_000_000  # of a safetensors file, as the format has it
IGNORED = (".rotary_emb.inv_freq",)  # buffers that some checkpoints carry

# Ours: where it stands in Hugging Face's Llama, Qwen2 and Qwen3, put together along the first axis; {} is the block.
HUGGING_FACE = {
    "embed.weight": ("model.embed_tokens.weight",),
    "norm.weight": ("model.norm.weight",),
    "head.weight": ("lm_head.weight",),
    "attn_norm.weight": ("model.layers.{}.input_layernorm.weight",),
    "mlp_norm.weight": ("model.layers.{}.post_attention_layernorm.weight",),
    "qkv.weight": tuple(f"model.layers.{{}}.self_attn.{part}_proj.weight" for part in "qkv"),
    "qkv.bias": tuple(f"model.layers.{{}}.self_attn.{part}_proj.bias" for part in "qkv"),
    "q_norm.weight": ("model.layers.{}.self_attn.q_norm.weight",),
    "k_norm.weight": ("model.layers.{}.self_attn.k_norm.weight",),
    "o.weight": ("model.layers.{}.self_attn.o_proj.weight",),
    "gate_up.weight": ("model.layers.{}.mlp.gate_proj.weight", "model.layers.{}.mlp.up_proj.weight"),
    "down.weight": ("model.layers.{}.mlp.down_proj.weight",),
}
# The same of LLaDA, whose names are its own.
LLADA = {
    "embed.weight": ("model.transformer.wte.weight",),
    "norm.weight": ("model.transformer.ln_f.weight",),
    "head.weight": ("model.transformer.ff_out.weight",),
    "attn_norm.weight": ("model.transformer.blocks.{}.attn_norm.weight",),
    "mlp_norm.weight": ("model.transformer.blocks.{}.ff_norm.weight",),
    "qkv.weight": tuple(f"model.transformer.blocks.{{}}.{part}_proj.weight" for part in "qkv"),
    "o.weight": ("model.transformer.blocks.{}.attn_out.weight",),
    "gate_up.weight": ("model.transformer.blocks.{}.ff_proj.weight", "model.transformer.blocks.{}.up_proj.weight"),
    "down.weight": ("model.transformer.blocks.{}.ff_out.weight",),
}


@dataclass(frozen=True, eq=False)
class Stored:
    """One tensor of a file: its name, type and shape, and where its bytes are."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: RawIOBase
    start: int
    n_bytes: int

    def read(self, most: int | None = None) -> np.ndarray:
        """Its bytes (uint8), at most so many; ValueError if the file has become shorter or cannot be read.

        ValueError also if a value is no number.
        """
        data = np.empty(self.n_bytes if most is None else min(self.n_bytes, most), dtype=np.uint8)
        rest = data.data
        try:
            self.file.seek(self.start)
            while rest and (n_bytes := self.file.readinto(rest)):
                rest = rest[n_bytes:]
        except OSError as error:
            raise ValueError(f"a file of weights cannot be read any more: {error}") from error
        if rest:
            raise ValueError("a file of weights has become shorter while it was read")
        if not finite(self.dtype, data):
            raise ValueError(f"the weights are damaged: {self.name} holds infinite values, or some that are no numbers")
        return data


@dataclass(frozen=True, eq=False)
class Weight:
    """One weight of ours, of one stored tensor or of several put together; each part has its int8 scales or None.

    `added`: `down` and `up` of an adapter, whose product is added to the values.
    """

    parts: tuple[tuple[Stored, Stored | None], ...]
    added: tuple[np.ndarray, np.ndarray] | None = None

    def float32(self) -> np.ndarray:
        """All values, float32."""
        values = np.concatenate([as_float32(stored, scale) for stored, scale in self.parts])
        return values if self.added is None else sum_of(self.parts[0][0].name, values, *self.added)

    def words(self) -> np.ndarray:
        """All values as bfloat16 words (uint16), rounded to nearest even."""
        if self.added is not None:
            return rounded(self.float32())
        return np.concatenate(
            [
                stored.read().view("<u2").reshape(stored.shape)
                if stored.dtype == "BF16"
                else rounded(as_float32(stored, scale))
                for stored, scale in self.parts
            ]
        )

    def int8(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Int8 values (N, K) and float32 scales (N,), where that is how they are stored."""
        if any(stored.dtype != "I8" or scale is None for stored, scale in self.parts):
            return None
        if self.added is not None:
            return quantised(self.float32())
        pairs = [(s.read().view("i1").reshape(s.shape), as_float32(scale, None)) for s, scale in self.parts if scale]
        return np.concatenate([q for q, _ in pairs]), np.concatenate([scale for _, scale in pairs])


def sum_of(name: str, values: np.ndarray, down: np.ndarray, up: np.ndarray) -> np.ndarray:
    """What an adapter makes of a weight; ValueError if that is more than bfloat16 holds."""
    with np.errstate(over="ignore", invalid="ignore"):
        found: np.ndarray = values + up @ down
    if not np.abs(found).max() <= LARGEST:  # so is what is no number
        raise ValueError(f"the adapter makes values of {name} that are too large, or no numbers")
    return found


def finite(dtype: str, data: np.ndarray) -> bool:
    """Whether all values are numbers, none of them infinite; one that is not makes every text nonsense."""
    if dtype not in EXPONENT:
        return True
    kind, ones = EXPONENT[dtype]
    words = data.view(kind)
    parts = (words[at : at + CHECKED_AT_ONCE] for at in range(0, len(words), CHECKED_AT_ONCE))
    return not any(((part & ones) == ones).any() for part in parts)


def as_float32(stored: Stored, scale: Stored | None) -> np.ndarray:
    """Values of one tensor."""
    if stored.dtype == "BF16":
        return widened(stored.read().view("<u2")).reshape(stored.shape)
    kind = {"F32": "<f4", "F16": "<f2", "I8": "i1"}[stored.dtype]
    values: np.ndarray = stored.read().view(kind).reshape(stored.shape).astype(np.float32)
    return values * as_float32(scale, None)[:, None] if scale is not None else values


def quantised(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Float32 `values` (N, K) as int8 and one float32 scale per row."""
    scales = np.maximum(np.abs(values).max(axis=1) / 127, 1e-12).astype(np.float32)
    return np.rint(values / scales[:, None]).astype(np.int8), scales


def rounded(values: np.ndarray) -> np.ndarray:
    """Float32 `values` as bfloat16 words, to nearest even."""
    bits = np.ascontiguousarray(values).view("<u4")
    words: np.ndarray = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return words


def widened(words: np.ndarray) -> np.ndarray:
    """Float32 of bfloat16 words."""
    values: np.ndarray = (words.astype(np.uint32) << 16).view(np.float32)
    return values


def open_tensors(folder: Path) -> dict[str, Stored]:
    """Every tensor of a model folder, by the name it has in the files; ValueError says what is wrong with them."""
    if not (folder / INDEX).exists():
        return dict(read_shard(folder / SINGLE))
    table = read_json(folder / INDEX).get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(file, str) for file in table.values()):
        raise ValueError(f"{folder / INDEX} has no weight_map")
    files = sorted(set(table.values()))
    if any(Path(file).name != file for file in files):
        raise ValueError(f"{folder / INDEX} names files outside of its folder")
    tensors = {name: stored for file in files for name, stored in read_shard(folder / file)}
    missing = sorted(table.keys() - tensors.keys())
    if missing:
        raise ValueError(f"{folder}: {listed(missing)} named in {INDEX} but in no shard")
    return tensors


def read_shard(path: Path) -> Iterator[tuple[str, Stored]]:
    """The tensors of one safetensors file."""
    try:
        if not path.is_file():
            raise ValueError("there is no such file")
        file = path.open("rb", buffering=0)
        header, start, n_bytes = read_header(file)
        for name, entry in header.items():
            if name != "__metadata__":
                dtype, shape, first, last = checked(name, entry, n_bytes)
                yield name, Stored(name, dtype, shape, file, start + first, last - first)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error


def read_header(file: RawIOBase) -> tuple[dict[str, Any], int, int]:
    """What a safetensors file says of its tensors, where their bytes begin, and how many there are."""
    size = file.seek(0, SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(8) or b"", "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
        raise ValueError("it is no safetensors file, or cut off")
    header = json.loads(file.read(length) or b"")
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    return header, 8 + length, size - 8 - length


def checked(name: str, entry: Any, n_bytes: int) -> tuple[str, tuple[int, ...], int, int]:
    """Type, shape and place of a tensor; ValueError unless they are such, and the place is in the file."""
    fields = entry if isinstance(entry, dict) else {}
    dtype, shape, place = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise ValueError(f"{listed([name])} is {shown(dtype)}, not one of {', '.join(ITEM_BYTES)}")
    if not is_counts(shape) or not is_counts(place) or len(place) != 2 or not place[0] <= place[1] <= n_bytes:
        raise ValueError(f"{listed([name])} is not in it, or it is cut off")
    return dtype, tuple(shape), place[0], place[1]


def is_counts(values: Any) -> TypeGuard[list[int]]:
    """Whether these are some numbers of things."""
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def expected(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every weight of a model, by our names."""
    d, ff = config.d_model, config.d_ff
    heads, rotated = config.n_heads * config.d_head, (config.n_heads + 2 * config.n_kv_heads) * config.d_head
    shapes: dict[str, tuple[int, ...]] = {"embed.weight": (config.vocab_size, d), "norm.weight": (d,)}
    if not config.tied:
        shapes["head.weight"] = (config.vocab_size, d)
    if config.extras:
        shapes |= {"embed_norm.weight": (d,), "canvas_embed": (d,), "left.weight": (d, d), "right.weight": (d, d)}
    block: dict[str, tuple[int, ...]] = {"attn_norm.weight": (d,), "mlp_norm.weight": (d,), "qkv.weight": (rotated, d)}
    block |= {"o.weight": (d, heads), "gate_up.weight": (2 * ff, d), "down.weight": (d, ff)}
    block |= {"qkv.bias": (rotated,)} if config.qkv_bias else {}
    block |= {"q_norm.weight": (config.d_head,), "k_norm.weight": (config.d_head,)} if config.qk_norm else {}
    return shapes | {f"blocks.{i}.{name}": shape for i in range(config.n_layers) for name, shape in block.items()}


def sources(name: str, stored: Mapping[str, Stored]) -> tuple[str, ...]:
    """Names in the files of what a weight of ours is made of."""
    if "embed.weight" in stored:
        return (name,)
    theirs = LLADA if LLADA["embed.weight"][0] in stored else HUGGING_FACE
    block, _, rest = name.removeprefix("blocks.").partition(".") if name.startswith("blocks.") else ("", "", name)
    return tuple(source.format(block) for source in theirs.get(rest, (name,)))


def weights(stored: Mapping[str, Stored], config: ModelConfig, path: Path) -> dict[str, Weight]:
    """Every weight by our name."""
    shapes = expected(config)
    made_of = {name: sources(name, stored) for name in shapes}
    missing = sorted({part for parts in made_of.values() for part in parts} - stored.keys())
    if missing:
        raise ValueError(f"{path} does not fit its config.json: {listed(missing)} missing")
    used = {part for parts in made_of.values() for part in parts}
    used |= {part + SCALE for part in used} | ({"lm_head.weight"} if config.tied else set())
    unused = sorted(name for name in stored.keys() - used if not name.endswith(IGNORED))
    if unused:
        raise ValueError(f"{path} does not fit its config.json: nothing uses {listed(unused)}")
    return {name: made_from(stored, parts, shapes[name], path) for name, parts in made_of.items()}


def made_from(stored: Mapping[str, Stored], parts: tuple[str, ...], shape: tuple[int, ...], path: Path) -> Weight:
    """One weight; ValueError if its parts do not have its shape, or int8 lacks its scales."""
    found = tuple((stored[part], stored.get(part + SCALE)) for part in parts)
    for part, (tensor, scale) in zip(parts, found, strict=True):
        if (tensor.dtype == "I8") != (scale is not None):
            raise ValueError(f"{path}: {part} is {tensor.dtype} {'without' if scale is None else 'with'} scales")
        if scale is not None and (scale.shape != tensor.shape[:1] or scale.dtype != "F32"):
            raise ValueError(f"{path}: {part}{SCALE} is {scale.dtype} {shown(scale.shape)}, not F32 {tensor.shape[:1]}")
        if tensor.n_bytes != math.prod(tensor.shape) * ITEM_BYTES[tensor.dtype] or tensor.shape[1:] != shape[1:]:
            raise ValueError(f"{path} does not fit its config.json: {part} is {shown(tensor.shape)}, not {shape}")
    if sum(tensor.shape[0] for tensor, _ in found) != shape[0]:
        raise ValueError(f"{path} does not fit its config.json: {' + '.join(parts)} are not {shape} in all")
    return Weight(found)
