r"""Confidence: the beginning of a draft that is likely enough right to be shown.

Rule: pure. The chance that a beginning is right is the product of its tokens' probabilities, each the chance that the
token is right if all before it are: what the model decided and what was recalled are both calibrated that way
(docs/quality.md has the curve). Undecided tokens count as probability 1.

    cut(draft, 0.4).text; cut(after(draft, n_typed), 0.4).text
"""

from __future__ import annotations

import dataclasses
import re

from diffusion.request import Draft

WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)")
LAST = re.compile(r"[\w)\]}\"'`:;]\Z")  # what the last word of a part may end with: not an operator, comma or "("
# How often a wrong word begins like the right one, by characters typed of it; spaces tell nothing (2,718 requests of
# the replay of 25 held-out functions).
MISLEADING = (1.0, 0.2, 0.1, 0.07)
TELLING_CHARS = 3  # letters, digits and underscores of a beginning that is worth a key


def cut(draft: Draft, least: float, undecided: float = 1.0) -> Draft:
    """The longest beginning of a draft that ends with a word and is right with a chance of at least `least`.

    Its text is "" where that is not worth a key. With `least` 0 it is the whole draft. Tokens that are not decided yet
    count with the probability `undecided`.
    """
    keep = sure_chars(draft, least, undecided) if least else len(draft.text)
    if least and len(re.findall(r"\w", draft.text[:keep])) < TELLING_CHARS:
        keep = 0
    if keep == len(draft.text):
        return draft
    masked = tuple((start, min(stop, keep)) for start, stop in draft.masked if start < keep)
    tokens = tuple((start, min(stop, keep), p) for start, stop, p in draft.tokens if start < keep)
    return dataclasses.replace(draft, text=draft.text[:keep], masked=masked, tokens=tokens)


def sure_chars(draft: Draft, least: float, undecided: float = 1.0) -> int:
    """Code points of that beginning."""
    reached, chance = 0, 1.0
    for _, stop, probability in draft.tokens:
        chance *= probability or undecided
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


def after(draft: Draft, n_typed: int) -> Draft:
    """What is left of a draft when its first `n_typed` code points were typed, the word begun so being likelier now."""
    start = max((end for end in [0, *word_ends(draft.text)] if end <= n_typed), default=0)
    stop = min((end for end in word_ends(draft.text) if end > n_typed), default=n_typed)
    word = [token for token in draft.tokens if token[1] > start and token[0] < stop]
    tokens = [token for token in draft.tokens if token[1] > n_typed]
    if word and word[0][0] < n_typed and all(probability for _, _, probability in word):
        likely = believed(chance(tuple(word)), len(draft.text[word[0][0] : n_typed].lstrip()))
        tokens = [(n_typed, word[-1][1], likely), *(token for token in tokens if token[0] >= word[-1][1])]
    return dataclasses.replace(
        draft,
        text=draft.text[n_typed:],
        masked=tuple((max(0, a - n_typed), b - n_typed) for a, b in draft.masked if b > n_typed),
        tokens=tuple((max(0, a - n_typed), b - n_typed, p) for a, b, p in tokens),
    )


def believed(probability: float, n_typed: int) -> float:
    """How likely a word is right now that its first characters were typed (Bayes' rule)."""
    wrong = (1 - probability) * MISLEADING[min(n_typed, len(MISLEADING) - 1)]
    return probability / (probability + wrong)


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
