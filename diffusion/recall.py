r"""Recall: looks up earlier places with the same preceding text and proposes what followed there.

Rule: pure functions on text, no model; the time grows with the open files (tens of milliseconds for 50). A guess is the
stretch of prefix, suffix or another file that follows the longest echo of the text before the hole, with the
probability that it is the whole answer, and of each of its words. The weights come from `diffusion.train.fit_recall`,
which sees training packages only.

    recall("a = f(x)\nb = f(x)\na = ", "")  ->  [Guess("f(x)", 0.2)]
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from diffusion.confidence import word_ends
from diffusion.request import Draft, Hole, InfillRequest, Start

PREFIX_CHARS, SUFFIX_CHARS, OTHER_CHARS = 16_000, 8_000, 16_000  # nearest to the hole, of each
RECALL_ABOVE = 0.02  # what is less likely right is no better a start than masks
KEY_CHARS = 3  # an echo shorter than this, or of spaces only, says nothing
MAX_ECHOES = 300
ECHO_CHARS, LEAD_OUT_CHARS = 200, 60  # how far echoes are measured, before and after
MAX_LINES, BLOCK_CHARS = 8, 600  # of a block

# One weight per entry of `features`.
LINE_WEIGHTS = (-6.422, 1.347, 0.369, 0.581, 1.084, -0.062, -0.251, 0.440)
BLOCK_WEIGHTS = (-6.749, 0.883, 0.393, 1.179, 0.830, -0.155, -0.535, -0.099)

# One weight per entry of `word_features`.
LINE_WORD_WEIGHTS = (2.871, -1.145, 1.849, -0.728, -0.711)
BLOCK_WORD_WEIGHTS = (3.160, -1.402, 1.869, -0.755, -0.586)


class Guess(NamedTuple):
    """A text for the hole, and the chance that it is exactly right."""

    text: str
    probability: float


class Echo(NamedTuple):
    """What all places that go on with the same text come to.

    `before` and `after`: most characters (spaces aside) that such a place shares with the text before and after the
    hole. `n_places`: such places. `distance`: characters from the hole to the nearest.
    """

    text: str
    before: int
    after: int
    n_places: int
    distance: int


def recall(prefix: str, suffix: str, *, multiline: bool = False, others: Sequence[str] = ()) -> list[Guess]:
    """Guesses for a hole between `prefix` and `suffix`, best first; [] where nothing echoes."""
    echoes = find_echoes(prefix[-PREFIX_CHARS:], suffix[:SUFFIX_CHARS], multiline, others)
    weights = BLOCK_WEIGHTS if multiline else LINE_WEIGHTS
    odds = [math.exp(sum(w * x for w, x in zip(weights, features(echo), strict=True))) for echo in echoes]
    guesses = [Guess(echo.text, odd / (1 + sum(odds))) for echo, odd in zip(echoes, odds, strict=True)]
    return sorted(guesses, key=lambda guess: -guess.probability)


class Recalled(NamedTuple):
    """All guesses for the only hole of a request, best first; `fixed` is the text behind the hole that stays."""

    guesses: list[Guess]
    multiline: bool = False
    fixed: str = ""

    def starts(self, above: float = RECALL_ABOVE) -> list[Start]:
        """What a canvas may start from, best first: the guesses that are likely enough."""
        return [Start(words(guess, self.guesses, self.multiline)) for guess in self.likely(above)]

    def answers(self, above: float = RECALL_ABOVE) -> list[Draft]:
        """The same guesses as finished drafts, for which the model was not asked."""
        return [
            Draft(0, text + self.fixed, (), probability, 0, True, "complete", ((0, len(text), probability),))
            for text, probability in self.likely(above)
        ]

    def likely(self, above: float) -> list[Guess]:
        """Those with at least this chance to be all right."""
        return [guess for guess in self.guesses if guess.probability >= above]


def recalled(request: InfillRequest) -> Recalled:
    """What is recalled for a request; nothing where it has several holes."""
    hole, *fixed = request.middle
    if not isinstance(hole, Hole) or len(fixed) > 1 or any(isinstance(part, Hole) for part in fixed):
        return Recalled([])
    kept = "".join(str(part) for part in fixed)
    guesses = recall(request.prefix, kept + request.suffix, multiline=hole.multiline, others=request.recall_from)
    return Recalled(guesses, hole.multiline, kept)


def words(guess: Guess, guesses: list[Guess], multiline: bool) -> tuple[tuple[str, float], ...]:
    """The words of a guess, each with the chance that it is right if all before it are.

    Where guesses go different ways, what they begin with is likelier than any of them.
    """
    weights = BLOCK_WORD_WEIGHTS if multiline else LINE_WORD_WEIGHTS
    found, before, start = [], 1.0, 0
    for stop in word_ends(guess.text):
        score = sum(w * x for w, x in zip(weights, word_features(guess, guesses, stop), strict=True))
        chance = min(before, 1 / (1 + math.exp(-score)))
        found.append((guess.text[start:stop], chance / before))
        before, start = chance, stop
    return tuple(found)


def word_features(guess: Guess, guesses: list[Guess], stop: int) -> tuple[float, ...]:
    """What the chance that the first `stop` characters of a guess are right is computed from."""
    shared_by = sum(other.probability for other in guesses if other.text.startswith(guess.text[:stop]))
    whole = float(stop == len(guess.text))
    return (1.0, logit(guess.probability), logit(shared_by), math.log1p(told(guess.text[:stop])), whole)


def logit(probability: float) -> float:
    """Log odds, kept finite."""
    probability = min(max(probability, 1e-4), 1 - 1e-4)
    return math.log(probability / (1 - probability))


def features(echo: Echo) -> tuple[float, ...]:
    """What the odds of an echo, against all other echoes and against "none of them", are computed from."""
    return (
        1.0,
        math.log1p(echo.before),
        min(echo.before, 60) / 20,
        math.log1p(echo.after),
        math.log(echo.n_places),
        math.log1p(echo.distance / 200),
        math.log1p(len(echo.text)),
        float(echo.after > 0),
    )


def find_echoes(prefix: str, suffix: str, multiline: bool, others: Sequence[str]) -> list[Echo]:
    """Every different continuation found."""
    found: dict[str, Echo] = {}
    backwards = prefix[: -ECHO_CHARS - 1 : -1]
    left = prefix.rpartition("\n")[2]
    indent = len(left) - len(left.lstrip())
    for text, at, distance in places(prefix, suffix, others):
        guess = block(text, at, indent, suffix) if multiline else line(text, at, suffix)
        if not guess.strip():
            continue
        stop = at + len(guess)
        before = told(shared(text[max(0, at - ECHO_CHARS) : at][::-1], backwards))
        after = told(shared(text[stop : stop + LEAD_OUT_CHARS], suffix))
        old = found.get(guess, Echo(guess, 0, 0, 0, distance))
        found[guess] = Echo(
            guess, max(old.before, before), max(old.after, after), old.n_places + 1, min(old.distance, distance)
        )
    return list(found.values())


def places(prefix: str, suffix: str, others: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """(text, offset, distance) behind every echo of the end of `prefix`, the nearest first."""
    key = prefix[-max(KEY_CHARS, len(prefix) - len(prefix.rstrip()) + 1) :]
    if len(key) < KEY_CHARS or key.isspace():
        return
    at, n = prefix.rfind(key, 0, len(prefix) - 1), 0
    while at >= 0 and n < MAX_ECHOES:
        yield prefix, at + len(key), len(prefix) - at
        at, n = prefix.rfind(key, 0, at + len(key) - 1), n + 1
    for text, far in ((suffix, 0), *((other[-OTHER_CHARS:], PREFIX_CHARS) for other in others)):
        at, n = text.find(key), 0
        while at >= 0 and n < MAX_ECHOES:
            yield text, at + len(key), far + at
            at, n = text.find(key, at + 1), n + 1


def line(text: str, at: int, suffix: str) -> str:
    """What follows on the line of `at`, as far as what stands right of the hole on its line; "" if that is missing."""
    stop = text.find("\n", at)
    rest = text[at : stop if stop >= 0 else len(text)].rstrip()
    right = suffix.partition("\n")[0].strip()
    if not right:
        return rest
    found = rest.rfind(right)
    return rest[:found] if found > 0 else ""


def block(text: str, at: int, indent: int, suffix: str) -> str:
    """The lines from `at` on that stay in their block, up to the line that stands behind the hole."""
    following = suffix.lstrip().partition("\n")[0].strip()
    first, *rest = text[at : at + BLOCK_CHARS].split("\n", MAX_LINES)
    lines = [first.rstrip()]
    for other in rest[: MAX_LINES - 1]:
        if not other.strip() or len(other) - len(other.lstrip()) < indent or other.strip() == following:
            break
        lines.append(other.rstrip())
    return "\n".join(lines)


def shared(a: str, b: str) -> str:
    """The common beginning, found by halves."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return a[:low]


def told(text: str) -> int:
    """Characters that are not spaces."""
    return len("".join(text.split()))
