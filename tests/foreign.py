"""Tiny random checkpoints of public diffusion families, each in the format its own repository has.

Rule: weights come from transformers, or are renamed from there (LLaDA); config.json, tokenizer and tensor names are as
published, nothing else: no card of ours.

    model = write("sdar", tmp_path / "SDAR-tiny"); open_folder(tmp_path / "SDAR-tiny").family == "sdar"
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from diffusion.model.vocab_files import SPLIT

SOURCES = sorted(Path(__file__).parents[1].glob("diffusion/*.py"))
N_TOKENS, N_ROWS = 500, 540  # of text; of the embedding, which is longer than the tokenizer, as published ones are
QWEN = ("<|endoftext|>", "<|im_end|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")


class Published(NamedTuple):
    """What a family's files are like: the class of transformers that has its shape, config.json, special tokens."""

    like: str
    config: dict[str, Any]
    tokens: tuple[str, ...]
    shape: dict[str, Any] = {}
    folder: str = "tiny"
    family: str = ""
    vocab_files: bool = False  # vocab.json and merges.txt, no tokenizer.json


OWN_HEAD = {"tie_word_embeddings": False}
DREAM = {"model_type": "Dream", "architectures": ["DreamModel"], "use_mrope": False, "mask_token_id": "<|mask|>"}
LLADA_TOKENS = ("<|endoftext|>", "<|startoftext|>", "<|mdm_mask|>")
SEED = ("<[begin▁of▁sentence]>", "<[end▁of▁sentence]>", "<[MASK_TOKEN]>")
SEED_FIM = ("<[fim-suffix]>", "<[fim-prefix]>", "<[fim-middle]>")
PUBLISHED = {
    "dream": Published("Qwen2", DREAM, (*QWEN, "<|beginoftext|>", "<|mask|>"), OWN_HEAD, vocab_files=True),
    "dreamon": Published(
        *("Qwen2", DREAM | {"expand_token_id": "<|expand|>"}),
        *((*QWEN, "<|beginoftext|>", "<|mask|>", "<|expand|>"), OWN_HEAD),
        family="dream",
        vocab_files=True,
    ),
    "open-dcoder": Published("Qwen2", {"model_type": "qwen2"}, (*QWEN, "<M>")),
    "mdlm": Published("Qwen2", {"model_type": "a2d-qwen2"}, (*QWEN, "<|mask|>"), folder="x-diffusion-mdlm-v0.1"),
    "mdlm, qwen3": Published(
        *("Qwen3", {"model_type": "a2d-qwen3"}, (*QWEN, "<|mask|>")),
        folder="Qwen3-0.6B-diffusion-mdlm-v0.1",
        family="mdlm",
    ),
    "llada": Published("Llama", {"model_type": "llada", "mask_token_id": "<|mdm_mask|>"}, LLADA_TOKENS, OWN_HEAD),
    "coda": Published("Qwen3", {"model_type": "CoDA", "mask_token_id": "<|mask|>"}, (*QWEN, "<|mask|>"), OWN_HEAD),
    "bd3lm": Published("Qwen2", {"model_type": "a2d-qwen2"}, (*QWEN, "<|mask|>"), folder="x-diffusion-bd3lm-v0.1"),
    "sdar": Published("Qwen3", {"model_type": "sdar"}, (*QWEN, "<|MASK|>"), OWN_HEAD),
    "fast-dllm-v2": Published("Qwen2", {"model_type": "Fast_dLLM_Qwen", "bd_size": 8}, (*QWEN, "|<MASK>|")),
    "stable-diffcoder": Published("Llama", {"model_type": "llama", "eos_token_id": SEED[1]}, SEED + SEED_FIM, OWN_HEAD),
    "dreamreasoner": Published("Qwen3", {"model_type": "Dream"}, (*QWEN, "<|mask|>"), OWN_HEAD),
}
CAUSAL = {  # trained to go on token by token, with markers for filling in the middle and without
    "qwen2.5-coder": Published(
        *("Qwen2", {"model_type": "qwen2", "eos_token_id": "<|endoftext|>"}),
        (*QWEN, "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
    ),
    "seed-coder": Published("Llama", {"model_type": "llama", "eos_token_id": SEED[1]}, SEED[:2] + SEED_FIM, OWN_HEAD),
    "smollm2": Published("Llama", {"model_type": "llama", "eos_token_id": "<|endoftext|>"}, QWEN[:2]),
}
IN_PLACE = ("dream", "dreamon", "open-dcoder", "mdlm", "mdlm, qwen3", "llada", "coda")
IN_BLOCKS = ("bd3lm", "sdar", "fast-dllm-v2", "stable-diffcoder", "dreamreasoner")
TIED = ("open-dcoder", "mdlm", "mdlm, qwen3", "bd3lm", "fast-dllm-v2", "qwen2.5-coder", "smollm2")

LLADA_CONFIG = {
    "block_type": "llama", "layer_norm_type": "rms", "rope": True, "alibi": False, "include_bias": False,
    "include_qkv_bias": False, "activation_type": "silu", "weight_tying": False, "attention_layer_norm": False,
}  # fmt: skip
LLADA_NAMES = {
    "model.embed_tokens": "wte", "model.norm": "ln_f", "lm_head": "ff_out", "model.layers": "blocks",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ff_norm", "self_attn.q_proj": "q_proj",
    "self_attn.k_proj": "k_proj", "self_attn.v_proj": "v_proj", "self_attn.o_proj": "attn_out",
    "mlp.gate_proj": "ff_proj", "mlp.up_proj": "up_proj", "mlp.down_proj": "ff_out",
}  # fmt: skip


@cache
def trained() -> str:
    """The JSON of a byte-level BPE of N_TOKENS with Qwen2's splitter and normaliser, without special tokens."""
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.normalizer, bpe.decoder = normalizers.NFC(), decoders.ByteLevel()
    split = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated")
    blocks = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, blocks])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=N_TOKENS, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([path.read_text(encoding="utf-8") for path in SOURCES], trainer)
    return bpe.to_str()


def write(name: str, path: Path, **changes: Any) -> Any:
    """Write the checkpoint `name` to `path`, its config.json changed; returns the model of transformers."""
    published = (PUBLISHED | CAUSAL)[name]
    path.mkdir(parents=True)
    ids = write_tokenizer(published, path)
    model = random_model(published.like, {"tie_word_embeddings": True} | published.shape)
    tensors = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    if name in TIED:
        del tensors["lm_head.weight"]
    config = model.config.to_dict() | {"eos_token_id": ids.get("<|im_end|>")} | published.config
    if name == "coda":
        del config["tie_word_embeddings"]
    if name == "llada":
        tensors = {renamed(key): tensor for key, tensor in tensors.items()}
        config = llada_config(config) | {"eos_token_id": "<|endoftext|>"}
    config = {key: ids.get(value, value) if key.endswith("_token_id") else value for key, value in config.items()}
    save_file(tensors, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(config | changes))
    return model


def write_tokenizer(published: Published, path: Path) -> dict[str, int]:
    """The tokenizer's files; ids of the special tokens. The FIM markers are ordinary added tokens, as Qwen has them."""
    bpe = tokenizers.Tokenizer.from_str(trained())
    bpe.add_tokens([AddedToken(token, special="fim" not in token, normalized=False) for token in published.tokens])
    ids = {token: bpe.token_to_id(token) for token in published.tokens}
    if published.vocab_files:
        bpe.model.save(str(path))
        (path / "added_tokens.json").write_text(json.dumps(ids))
    else:
        bpe.save(str(path / "tokenizer.json"))
    return ids


def random_model(like: str, shape: dict[str, Any]) -> Any:
    """A model of transformers with random weights, biases and gains included."""
    import transformers

    torch.manual_seed(1)
    config = getattr(transformers, f"{like}Config")(
        **{"vocab_size": N_ROWS, "num_hidden_layers": 2, "intermediate_size": 96, "max_position_embeddings": 4096},
        **{"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "attn_implementation": "eager"},
        **({"head_dim": 32} if like == "Qwen3" else {}),
        rms_norm_eps=1e-5 if like == "Llama" else 1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        **shape,
    )
    model = getattr(transformers, f"{like}ForCausalLM")(config).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.3 if parameter.dim() == 1 else 0.1)
    return model


def renamed(name: str) -> str:
    """LLaDA's name of a tensor of Llama."""
    for theirs, llada in LLADA_NAMES.items():
        name = name.replace(theirs, llada)
    return "model.transformer." + name


def llada_config(config: dict[str, Any]) -> dict[str, Any]:
    """OLMo's names of Llama's settings."""
    return LLADA_CONFIG | {
        "model_type": "llada", "architectures": ["LLaDAModelLM"], "mask_token_id": config["mask_token_id"],
        "d_model": config["hidden_size"], "n_layers": config["num_hidden_layers"],
        "n_heads": config["num_attention_heads"], "n_kv_heads": config["num_key_value_heads"],
        "mlp_hidden_size": config["intermediate_size"], "embedding_size": N_ROWS, "vocab_size": N_ROWS,
        "max_sequence_length": 4096, "rms_norm_eps": config["rms_norm_eps"], "rope_theta": 10_000.0,
    }  # fmt: skip


def theirs(model: Any, ids: list[int], seen: Tensor) -> Tensor:
    """Logits (R, V) of transformers where row r sees the rows of `seen` (R, R)."""
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[None, None]
    with torch.no_grad():
        logits: Tensor = model(input_ids=torch.tensor([ids]), attention_mask=mask, use_cache=False).logits[0]
    return logits
