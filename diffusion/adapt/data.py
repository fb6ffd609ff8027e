"""What an adaptation learns from and what it is measured on: files, held out by a hash of their path, and tokens.

Rule: pure; a file stays on its side of the split when others come or go, and what is held out is learned by no copy.

    learn, check = split(files); data = in_memory(learn, folder.tokenizer())
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffusion.evaluate.cases import SourceFile
from diffusion.grammars import language_of
from diffusion.tokenizer import Tokenizer
from diffusion.train.dataset import Dataset
from diffusion.train.prose import for_training

HELD_OUT_SHARE = 0.2
LEAST_FILES, LEAST_HELD_OUT, LEAST_TOKENS = 8, 2, 4_000


def digest(text: str) -> str:
    """SHA-256 of a text, as an adapter's card has it."""
    return hashlib.sha256(text.encode()).hexdigest()


def split(files: Sequence[SourceFile]) -> tuple[list[SourceFile], list[SourceFile]]:
    """Files to learn from and files held out; ValueError if there are too few. Of equal texts one is kept."""
    different = {digest(file.text): file for file in sorted(files, key=lambda file: file.name, reverse=True)}
    order = sorted(different.values(), key=lambda file: digest(file.name))
    if len(order) < LEAST_FILES:
        raise ValueError(
            f"{len(order)} files of source code are too few to learn from: it takes {LEAST_FILES}, some of which are "
            "held out"
        )
    share = sum(int(digest(file.name)[:8], 16) < HELD_OUT_SHARE * 2**32 for file in order)
    n_held_out = max(LEAST_HELD_OUT, share)
    return order[n_held_out:], order[:n_held_out]


def in_memory(files: Sequence[SourceFile], tokenizer: Tokenizer, least: int = LEAST_TOKENS) -> Dataset:
    """The files as a corpus, their prose thinned as that of the base was; ValueError if they hold too little."""
    texts = [for_training(file.text, file.name) if language_of(file.name) else file.text for file in files]
    ids = [np.array(one, dtype=np.int64) for one in tokenizer.encode_batch(texts) if len(one)]
    n_tokens = sum(map(len, ids))
    if n_tokens < max(1, least):
        raise ValueError(f"{n_tokens} tokens in {len(files)} files are too few: it takes {max(1, least)}")
    zeros = np.zeros(len(ids), dtype=np.int64)
    return Dataset(np.concatenate(ids), np.cumsum([0, *map(len, ids)]), zeros, zeros, tokenizer, Path())
