"""The tokenizer of a folder: tokenizer.json, or built from vocab.json and merges.txt where there is none (Dream).

Rule: what is special is read from all the files that name it; nothing in the folder is run.

    added_tokens(path)["<|mask|>"]; built(path)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers

from diffusion.model.config import read_json

# Qwen2's: letters with one sign in front | a digit | signs with the line breaks behind them | line breaks | blanks.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def added_tokens(path: Path) -> dict[str, int]:
    """Ids of the tokens that were added to the vocabulary, by their text."""
    found: dict[Any, Any] = {}
    if (path / "added_tokens.json").exists():
        found |= read_json(path / "added_tokens.json")
    if (path / "tokenizer_config.json").exists():
        decoder = read_json(path / "tokenizer_config.json").get("added_tokens_decoder")
        for token_id, token in (decoder if isinstance(decoder, dict) else {}).items():
            if isinstance(token, dict) and str(token_id).isdigit():
                found[token.get("content")] = int(token_id)
    if (path / "tokenizer.json").exists():
        tokens = read_json(path / "tokenizer.json").get("added_tokens")
        for token in tokens if isinstance(tokens, list) else []:
            if isinstance(token, dict):
                found[token.get("content")] = token.get("id")
    return {text: at for text, at in found.items() if isinstance(text, str) and type(at) is int and at >= 0}


def built(path: Path) -> tokenizers.Tokenizer:
    """A byte-level BPE with Qwen2's splitter; ValueError says which file is wrong."""
    try:
        bpe = tokenizers.Tokenizer(models.BPE.from_file(str(path / "vocab.json"), str(path / "merges.txt")))
    except Exception as error:  # the Rust side raises bare Exception
        raise ValueError(f"{path} has no tokenizer.json, and vocab.json with merges.txt: {error}") from error
    split = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated")
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.Sequence([split, bytes_of]), decoders.ByteLevel()
    for text, token_id in sorted(added_tokens(path).items(), key=lambda token: token[1]):
        bpe.add_special_tokens([AddedToken(text, special=True, normalized=False)])
        if bpe.token_to_id(text) != token_id:
            raise ValueError(f"{path}: added token {text} has the id {token_id}, which does not follow the vocabulary")
    return bpe
