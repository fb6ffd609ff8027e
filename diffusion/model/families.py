"""Public diffusion checkpoints: what their files do not say, one entry a family, and which family a folder holds.

Rule: facts and pure functions; config.json, tokenizer and the names of the tensors decide together, and a combination
that is not in the table is one sentence. config.json alone does not tell: two families call themselves Dream.

    recognised({"model_type": "sdar"}, {"<|MASK|>": 151669}, names, where="")  # ("sdar", FAMILIES["sdar"])
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from diffusion.fields import shown


@dataclass(frozen=True)
class Family:
    """One family.

    `model_types`: as config.json says it; of our own kind, llama and qwen2, the mask must tell the rest. `masks`: how a
    tokenizer may write the mask. `sees`: rows see one another in blocks of so many and all before them, 0: all see all;
    `sees_field` of config.json says otherwise. `shift`: the row before predicts a token. `norms`: whether queries and
    keys have norms, None where either may be. `first` stands in front of every text; `closed`: the end of text stands
    behind one. `named`: a part of the name, where families are alike in every file.
    """

    model_types: tuple[str, ...]
    masks: tuple[str, ...]
    sees: int = 0
    sees_field: str = ""
    shift: bool = False
    norms: bool | None = None
    first: str = ""
    closed: bool = False
    named: str = ""


A2D = ("a2d-qwen2", "a2d-qwen3")
FAMILIES: dict[str, Family] = {
    # Dream-Coder, DiffuCoder; DreamOn where the tokenizer has EXPAND
    "dream": Family(("Dream",), ("<|mask|>",), shift=True, norms=False, first="<|beginoftext|>", closed=True),
    "dreamreasoner": Family(("Dream",), ("<|mask|>", "<|MASK|>"), sees=32, sees_field="block_size", norms=True),
    "open-dcoder": Family(("qwen2",), ("<M>",), shift=True),
    "mdlm": Family(A2D, ("<|mask|>",), named="mdlm"),
    "bd3lm": Family(A2D, ("<|mask|>",), sees=32, sees_field="block_size", named="bd3lm"),
    "llada": Family(("llada",), ("<|mdm_mask|>",), first="<|startoftext|>"),
    "coda": Family(("CoDA",), ("<|mask|>",), shift=True, norms=True),
    "sdar": Family(("sdar",), ("<|MASK|>",), sees=4, sees_field="block_size", norms=True),
    "fast-dllm-v2": Family(("Fast_dLLM_Qwen",), ("|<MASK>|",), sees=32, sees_field="bd_size", shift=True),
    "stable-diffcoder": Family(("llama",), ("<[MASK_TOKEN]>",), sees=4, first="<[begin▁of▁sentence]>"),
}
PLAIN = ("llama", "qwen2", "qwen3")  # values of `model_type` that causal checkpoints have as well
MODEL_TYPES = tuple(dict.fromkeys((*PLAIN, *(kind for family in FAMILIES.values() for kind in family.model_types))))
MASKS = tuple(dict.fromkeys((*(mask for family in FAMILIES.values() for mask in family.masks), "<[MASK]>")))

EXPAND = "<|expand|>"  # one masked row becomes two
ENDS = ("<|endoftext|>", "<|im_end|>", "<|dlm_pad|>")  # of a text, of a turn, of what was filled up
FILE_ENDS = ("<|file_sep|>", "<|repo_name|>", "<|fim_pad|>", "<file_sep>", "<fim_pad>")  # of a file among others


class Fim(NamedTuple):
    """Fill in the middle: what stands in front of the suffix, of the prefix, and of what is between them.

    `prefix_first`: causal checkpoints with these markers have learned the prefix in front of the suffix.
    """

    suffix: str
    prefix: str
    middle: str
    prefix_first: bool


FIM = (
    Fim("<|fim_suffix|>", "<|fim_prefix|>", "<|fim_middle|>", prefix_first=True),  # Qwen2.5-Coder
    Fim("<fim_suffix>", "<fim_prefix>", "<fim_middle>", prefix_first=True),  # StarCoder's
    Fim("<[fim-suffix]>", "<[fim-prefix]>", "<[fim-middle]>", prefix_first=False),  # Seed-Coder
)

# LLaDA's config.json is OLMo's: theirs, and what Hugging Face's Llama calls it.
LLADA_FIELDS = {
    "model_type": "model_type",
    "embedding_size": "vocab_size",
    "d_model": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "mlp_hidden_size": "intermediate_size",
    "max_sequence_length": "max_position_embeddings",
    "rms_norm_eps": "rms_norm_eps",
    "rope_theta": "rope_theta",
    "activation_type": "hidden_act",
    "eos_token_id": "eos_token_id",
    "mask_token_id": "mask_token_id",
}
LLADA_IS = {  # settings with which it is the transformer that we run
    "block_type": "llama",
    "layer_norm_type": "rms",
    "rope": True,
    "alibi": False,
    "include_bias": False,
    "include_qkv_bias": False,
    "attention_layer_norm": False,
    "bias_for_layer_norm": False,
    "input_emb_norm": False,
    "scale_logits": False,
}


def plain(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A config.json with Hugging Face's names of its fields; ValueError for a LLaDA that is no Llama."""
    if values.get("model_type") != "llada":
        return values
    for name, wanted in LLADA_IS.items():
        if values.get(name, wanted) not in (wanted, None):
            raise ValueError(f"{name} {shown(values[name])} is not supported, only {shown(wanted)}")
    known = {"embedding_size": values.get("vocab_size"), **values}
    return {theirs: known[name] for name, theirs in LLADA_FIELDS.items() if name in known}


def recognised(
    values: Mapping[str, Any], tokens: Mapping[str, int], names: Collection[str], where: str
) -> tuple[str, Family] | None:
    """The family of a config.json, special `tokens` and the `names` of tensors; None: a causal checkpoint, perhaps.

    `where`: its path, which tells those apart whose files are alike. ValueError if nothing in the table fits.
    """
    kind, norms = values.get("model_type"), "model.layers.0.self_attn.q_norm.weight" in names
    like = {name: family for name, family in FAMILIES.items() if kind in family.model_types}
    fit = {
        name: family
        for name, family in like.items()
        if any(mask in tokens for mask in family.masks) and family.norms in (None, norms)
    }
    if len(fit) > 1:
        text = f"{where} {values.get('_name_or_path', '')}".lower()
        named = {name: family for name, family in fit.items() if family.named in text}
        if len(named) != 1:
            raise ValueError(f'{" and ".join(fit)} have the same files; say "family" in mezzotint.json which it is')
        fit = named
    if not fit and kind not in PLAIN and like:
        masks = [token for token in MASKS if token in tokens] or ["no mask token"]
        has = f"{masks[0]} and {'norms' if norms else 'no norms'} of queries and keys"
        raise ValueError(f"model_type {shown(kind)} with {has} is no checkpoint of {', '.join(like)}")
    return next(iter(fit.items()), None)


def chosen(name: object, tokens: Mapping[str, int]) -> tuple[str, Family]:
    """The family that a card names; ValueError if there is none, or the tokenizer does not have its mask."""
    if name not in FAMILIES:
        raise ValueError(f"family {shown(name)} is none of {', '.join(FAMILIES)}")
    family = FAMILIES[str(name)]
    if not any(mask in tokens for mask in family.masks):
        raise ValueError(f"the tokenizer has no {' or '.join(family.masks)}, the mask of {name}")
    return str(name), family


def token_ids(family: Family, values: Mapping[str, Any], tokens: Mapping[str, int]) -> dict[str, Any]:
    """The ids of a `Vocabulary`; ValueError if mask or end are not known, or config.json contradicts the tokenizer."""
    mask = next(tokens[mask] for mask in family.masks if mask in tokens)
    for field, known in (("mask_token_id", mask), ("expand_token_id", tokens.get(EXPAND))):
        if isinstance(values.get(field), int) and values[field] != known:
            raise ValueError(f"{field} is {values[field]}, but in the tokenizer it is {known}")
    said = values.get("eos_token_id")
    ends = [tokens[end] for end in ENDS if end in tokens]
    ends += [end for end in (said if isinstance(said, list) else [said]) if isinstance(end, int) and end not in ends]
    if not ends:
        raise ValueError("no end of text is named (eos_token_id)")
    ids: dict[str, Any] = {"mask": mask, "end": ends[0], "also_ends": tuple(ends[1:])}
    ids |= {"file": tokens[family.first]} if family.first in tokens else {}
    ids |= {"eof": ends[0]} if family.closed else {}
    if family.sees == 0:
        return ids | ({"expand": tokens[EXPAND]} if EXPAND in tokens else {})
    return ids | {name: at for name, at in fim_ids(tokens).items() if name != "prefix_first"}


def fim_ids(tokens: Mapping[str, int]) -> dict[str, Any]:
    """The ids of a `Vocabulary` that a tokenizer's markers for filling in the middle give; {} where it has none."""
    fim = next((fim for fim in FIM if all(name in tokens for name in fim[:3])), None)
    if fim is None:
        return {}
    ids = {name: tokens[text] for name, text in zip(("near_suffix", "near_prefix", "middle"), fim[:3], strict=True)}
    return {**ids, "prefix_first": fim.prefix_first}


def sees(family: Family, values: Mapping[str, Any]) -> int:
    """How many positions a block has, 0: all see all."""
    said = values.get(family.sees_field)
    return said if isinstance(said, int) and not isinstance(said, bool) and said > 1 else family.sees
