r"""Confidence: the beginning of a draft that is shown: likely enough right, and of those the one that is worth most.

Rule: pure. The chance that a beginning is right is the product of its tokens' probabilities, each the chance that the
token is right if all before it are: what the model decided and what was recalled are both calibrated that way
(docs/quality.md has the curve). Undecided tokens count as probability 1.

    cut(draft, 0.4).text; cut(after(draft, n_typed), 0.4).text
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from diffusion.request import Draft

WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)")
LAST = re.compile(r"[\w)\]}\"'`:;]")  # what the last word of a part may end with: not an operator, comma or "("
BRACKET = re.compile(r"[()\[\]{}]")
# How often a wrong word begins like the right one, by characters typed of it; spaces tell nothing (2,718 requests of
# the replay of 25 held-out functions).
MISLEADING = (1.0, 0.2, 0.1, 0.07)
TELLING_CHARS = 3  # letters, digits and underscores of a beginning that is worth a key


def cut(draft: Draft, least: float, undecided: float = 1.0) -> Draft:
    """The beginning of a draft that is worth most: it ends with a word, and is right with a chance of `least` or more.

    Its text is "" where none of these is worth a key. With `least` 0 it is the whole draft. Tokens that are not decided
    yet count with the probability `undecided`.
    """
    keep = best_beginning(draft, least, undecided) if least else len(draft.text)
    if keep == len(draft.text):
        return draft
    masked = tuple((start, min(stop, keep)) for start, stop in draft.masked if start < keep)
    tokens = tuple((start, min(stop, keep), p) for start, stop, p in draft.tokens if start < keep)
    return dataclasses.replace(draft, text=draft.text[:keep], masked=masked, tokens=tokens)


def best_beginning(draft: Draft, least: float, undecided: float = 1.0) -> int:
    """Code points of that beginning: its chance, times the root of its letters, digits and underscores, is largest.

    The root, because a short text that is right is soon followed by the next, and a wrong end spoils all of a long one
    (docs/quality.md has the figures).
    """
    keep, most, telling, seen = 0, 0.0, 0, 0
    for end, probability in chances(draft, undecided):
        if probability < least:
            break
        telling, seen = telling + len(re.findall(r"\w", draft.text[seen:end])), end
        if telling >= TELLING_CHARS and probability * telling**0.5 >= most:
            keep, most = end, probability * telling**0.5
    return keep


def chances(draft: Draft, undecided: float) -> Iterator[tuple[int, float]]:
    """Where a beginning of the draft may end, in code points, and the chance that it is right, the shortest first."""
    tokens, stop, product, start, depth = iter(draft.tokens), 0, 1.0, 0, 0
    for end in word_ends(draft.text):
        while stop < end:
            _, stop, probability = next(tokens, (stop, end, 1.0))
            product *= probability or undecided
        depth, start = n_open(draft.text[start:end], depth), end
        if end == len(draft.text) or (LAST.match(draft.text, end - 1) and not depth):
            yield end, product


def n_open(text: str, depth: int) -> int:
    """How many brackets are open behind a text that begins `depth` brackets deep, strings not being told from code."""
    for bracket in BRACKET.findall(text):
        depth = depth + 1 if bracket in "([{" else max(0, depth - 1)
    return depth


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
