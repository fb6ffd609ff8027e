"""Retrieval: definitions of the names in use at the cursor, and similar chunks of other open files.

Rule: pure functions on texts. A choice is kept while the cursor stays in its region and the other files stay as they
are, so that typing leaves the engine's cached context valid. Secret, ignored and overlong files never get here.

    related = Related(); related.choose(snapshot, offset, others)   # least relevant first, as InfillRequest wants it
"""

from __future__ import annotations

import math
import re
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from diffusion.request import OTHER_TOKENS
from lsp_server.text.documents import Snapshot
from lsp_server.text.languages import DEFINITION

BUDGET_CHARS = 4 * OTHER_TOKENS
CHUNK_LINES = 6  # of about as many tokens as there is room for
REGION_LINES = 16  # the cursor may move so far before another choice is made
NEAR_LINES = 12  # before the cursor: whose names count
WINDOW_CHARS = 1200  # around the cursor, which the model sees anyway
MIN_LIKENESS = 0.15
MAX_CHUNKS, MAX_DEFINITIONS = 2, 3
REMEMBERED = 8  # documents
_NAME = re.compile(r"[^\W\d]\w{2,}")


class Choice(NamedTuple):
    """What was chosen, and for what."""

    region: tuple[object, ...]
    texts: tuple[str, ...]


class Related:
    """The choices for a few documents."""

    def __init__(self) -> None:
        """Start with none."""
        self._choices: OrderedDict[str, Choice] = OrderedDict()

    def choose(self, snapshot: Snapshot, offset: int, others: Sequence[Snapshot]) -> tuple[str, ...]:
        """Return chunks for this cursor, least relevant first; the same ones while it stays in its region."""
        row = snapshot.point_at(offset)[0]
        region = (row // REGION_LINES, *((other.uri, other.version) for other in others))
        known = self._choices.get(snapshot.uri)
        if known is None or known.region != region:
            known = Choice(region, related_to(snapshot.text, offset, [other.text for other in others]))
            self._choices[snapshot.uri] = known
            self._choices.move_to_end(snapshot.uri)
            if len(self._choices) > REMEMBERED:
                self._choices.popitem(last=False)
        return known.texts

    def forget(self, uri: str) -> None:
        """Drop the choice for a document."""
        self._choices.pop(uri, None)


def related_to(text: str, offset: int, others: Sequence[str]) -> tuple[str, ...]:
    """Return like chunks of other files, then definitions of this one, least relevant first, within the budget."""
    near = "\n".join(text[:offset].split("\n")[-NEAR_LINES:])
    found = [*definitions(text, offset, near), *like_chunks(near, others)]
    chosen: list[str] = []
    for chunk in found:
        if sum(map(len, chosen)) + len(chunk) <= BUDGET_CHARS and chunk not in chosen:
            chosen.append(chunk)
    return tuple(reversed(chosen))


def names_in(text: str) -> Counter[str]:
    """Return the names in a text and how often they occur."""
    return Counter(_NAME.findall(text))


def definitions(text: str, offset: int, near: str) -> list[str]:
    """Return first lines of definitions, outside of what the model sees, of names used near the cursor."""
    used = names_in(near)
    start, stop = max(0, offset - WINDOW_CHARS), offset + WINDOW_CHARS
    found: dict[str, str] = {}
    for match in DEFINITION.finditer(text):
        name = match["name"]
        if name in used and not start <= match.start() < stop:
            found.setdefault(name, match.group().strip())
    return [found[name] for name in sorted(found, key=near.rfind, reverse=True)][:MAX_DEFINITIONS]


def chunks(text: str) -> Iterator[str]:
    """Cut a text into stretches of some lines, at blank lines where there are any."""
    lines: list[str] = []
    for line in text.split("\n"):
        if lines and (len(lines) >= CHUNK_LINES or not line.strip()):
            yield "\n".join(lines)
            lines = []
        if line.strip():
            lines.append(line)
    if lines:
        yield "\n".join(lines)


def like_chunks(near: str, others: Sequence[str]) -> list[str]:
    """Return the chunks of other files most like the code near the cursor: shared names, rare ones weigh more."""
    candidates = [(chunk, names_in(chunk)) for other in others for chunk in chunks(other)]
    spread = Counter(name for _, names in candidates for name in names)
    weight = {name: math.log(1 + len(candidates) / count) for name, count in spread.items()}
    wanted = names_in(near)

    def likeness(names: Counter[str]) -> float:
        """Return the weighted Jaccard index of two sets of names."""
        shared = sum(weight[name] for name in names if name in wanted)
        return shared / (sum(weight.get(name, 1.0) for name in wanted | names) or 1.0)

    scored = [(likeness(names), number) for number, (_, names) in enumerate(candidates)]
    best = sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:MAX_CHUNKS]
    return [candidates[number][0] for score, number in best if score >= MIN_LIKENESS]
