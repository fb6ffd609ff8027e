r"""Confidence: the beginning of a draft that is likely enough right to be shown.

Rule: pure. The chance that a beginning is right is the product of its tokens' probabilities, each the chance that the
token is right if all before it are: what the model decided and what was recalled are both calibrated that way
(docs/quality.md has the curve). What is not decided yet is given the benefit of the doubt.

    cut(draft, 0.4).text
"""

from __future__ import annotations

import dataclasses
import re

from diffusion.request import Draft

WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)")
LAST = re.compile(r"[\w)\]}\"'`:;]\Z")  # what the last word of a part may end with: not an operator, comma or "("
TELLING_CHARS = 3  # letters, digits and underscores of a beginning that is worth a key


def cut(draft: Draft, least: float) -> Draft:
    """The longest beginning of a draft that ends with a word and is right with a chance of at least `least`.

    Its text is "" where that says too little. With `least` 0 it is the whole draft.
    """
    keep = sure_chars(draft, least)
    if keep == len(draft.text):
        return draft
    if len(re.findall(r"\w", draft.text[:keep])) < TELLING_CHARS:
        keep = 0
    masked = tuple((start, min(stop, keep)) for start, stop in draft.masked if start < keep)
    tokens = tuple((start, min(stop, keep), p) for start, stop, p in draft.tokens if start < keep)
    return dataclasses.replace(draft, text=draft.text[:keep], masked=masked, tokens=tokens)


def sure_chars(draft: Draft, least: float) -> int:
    """Code points of that beginning; undecided tokens, which have probability 0, count as right."""
    reached, chance = 0, 1.0
    for _, stop, probability in draft.tokens:
        chance *= probability or 1.0
        if chance < least:
            ends = (end for end in word_ends(draft.text) if end <= reached and LAST.search(draft.text, 0, end))
            return max(ends, default=0)
        reached = stop
    return len(draft.text)


def settled(draft: Draft, least: float) -> bool:
    """Whether further denoising steps cannot lengthen the beginning that is shown."""
    chance = 1.0
    for _, _, probability in draft.tokens:
        chance *= probability
        if chance < least:
            return probability > 0
    return draft.done


def begun(draft: Draft) -> bool:
    """Whether the first word of a draft, cut or not, is decided."""
    first = next(iter(word_ends(draft.text)), 0)
    return bool(first) and not any(start < first for start, _ in draft.masked)


def word_ends(text: str) -> list[int]:
    """Where the words and the runs of other characters of a text end; the last is the end of the text."""
    return [match.end() for match in WORD.finditer(text)][:-1] + [len(text)] if text else []


def chance(tokens: tuple[tuple[int, int, float], ...], start: int = 0) -> float:
    """The chance that what is decided from `start` on is right."""
    product = 1.0
    for at, _, probability in tokens:
        product *= (probability or 1.0) if at >= start else 1.0
    return product
