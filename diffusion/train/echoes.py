"""Drafts for training canvases: what `recall` proposes from earlier places of the same file.

Rule: the same starts as at inference, found in the text of the file without the hole.

    draft = recalled_draft(rng, ids, start, stop, tokenizer)
"""

from __future__ import annotations

import numpy as np

from diffusion.recall import RECALL_ABOVE, recall
from diffusion.tokenizer import Tokenizer

NEAR_TOKENS = 3000  # before and behind the hole: recall looks no further
FIRST_SHARE = 0.8  # the likeliest guess, else any


def recalled_draft(
    rng: np.random.Generator, ids: np.ndarray, start: int, stop: int, tokenizer: Tokenizer
) -> np.ndarray | None:
    """Token ids of a guess for the hole ids[start:stop] of one file; None where nothing likely enough is recalled."""
    prefix, hole, suffix = (
        tokenizer.decode(part.tolist())
        for part in (ids[max(0, start - NEAR_TOKENS) : start], ids[start:stop], ids[stop : stop + NEAR_TOKENS])
    )
    guesses = [
        guess.text
        for guess in recall(prefix, suffix, multiline="\n" in hole)
        if guess.probability >= RECALL_ABOVE or rng.random() < 0.1
    ]
    if not guesses:
        return None
    text = guesses[0] if rng.random() < FIRST_SHARE else guesses[int(rng.integers(len(guesses)))]
    return np.array(tokenizer.encode(text), dtype=np.int64)
