"""Checkpoints whose files do not say all that our card says: what is known of each family, and of each ambiguous one.

Rule: one table. A family is told by `model_type` and by the tensors that are there, or, where several families say the
same, by the name of the repository that the hub's cache gives it. Token ids are looked up by the token's text.

    family_of(path, "Dream", names)    # Family(mask="<|mask|>", begin="<|beginoftext|>", ..., shift=True)
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffusion.vocabulary import NONE, Vocabulary

NO_TOKENS = Vocabulary(NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE)
QK_NORM = "model.layers.0.self_attn.q_norm.weight"


@dataclass(frozen=True)
class Family:
    """A family that sees everything: its tokens by their text, "" for none; whether the row before predicts."""

    mask: str
    end: str = "<|endoftext|>"
    begin: str = ""
    closes: bool = False  # `end` stands behind the suffix
    shift: bool = False


DREAM = Family("<|mask|>", begin="<|beginoftext|>", closes=True, shift=True)
BY_REPO = {
    "fredzzp/open-dcoder-0.5b": Family("<M>", shift=True),
    "dllm-hub/qwen2.5-coder-0.5b-instruct-diffusion-mdlm-v0.1": Family("<|mask|>"),
}


def family_of(path: Path, model_type: str, names: Collection[str]) -> Family | None:
    """The family of a folder without a card; None if it is none of these. ValueError where it cannot be told."""
    found = re.search(r"models--([^/]+?)--([^/]+)/snapshots/", str(path) + "/")
    if found and (family := BY_REPO.get(f"{found[1]}/{found[2]}".lower())):
        return family
    if model_type == "Dream":
        if QK_NORM in names:
            raise ValueError(f"{path} is a Dream that sees blocks (DreamReasoner); those cannot be run yet")
        return DREAM
    if model_type.startswith("a2d-"):
        raise ValueError(f"{path} may see everything (mdlm) or blocks (bd3lm): only a mezzotint.json can say which")
    return None


def vocabulary_of_family(path: Path, family: Family, config: dict[str, Any], rows: int) -> Vocabulary:
    """The ids of its tokens; ValueError if one is missing or config.json says another mask."""
    ids = added_tokens(path)
    found: dict[str, int] = {}
    for name, text in (("mask", family.mask), ("end", family.end), ("begin", family.begin)):
        if text and not 0 <= ids.get(text, NONE) < rows:
            raise ValueError(f"{path} has no token {text}, its family's {name}")
        found[name] = ids.get(text, NONE)
    said = config.get("mask_token_id", found["mask"])
    if said != found["mask"]:
        raise ValueError(f"{path}: config.json says that the mask is {said!r}, the tokenizer {found['mask']}")
    eof = found["end"] if family.closes else NONE
    return replace(NO_TOKENS, mask=found["mask"], end=found["end"], file=found["begin"], eof=eof)


def added_tokens(path: Path) -> dict[str, int]:
    """Text and id of the tokens that stand beside the vocabulary."""
    try:
        if (path / "tokenizer.json").is_file():
            added = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
            return {str(token["content"]): int(token["id"]) for token in added}
        return {str(k): int(v) for k, v in json.loads((path / "added_tokens.json").read_text("utf-8")).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: its added tokens cannot be read: {error}") from error
