"""Retrieval: definitions of the names in use at the cursor, and similar chunks of its file and of other open ones.

Rule: a choice is kept while the cursor stays in its region and the other files stay as they are, so that typing leaves
the engine's cached context valid. The names in a file are looked up once for each of its versions, in the model thread,
which alone may use this. Secret, ignored and overlong files never get here.

    related = Related(); related.choose(snapshot, offset, others)   # least relevant first, as InfillRequest wants it
"""

from __future__ import annotations

import heapq
import math
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from diffusion.request import OTHER_TOKENS
from lsp_server.text.documents import Snapshot

CHARS_PER_TOKEN = 4
CHUNK_LINES = 6  # of about as many tokens as there is room for
REGION_LINES = 16  # the cursor may move so far before another choice is made
NEAR_LINES = 12  # before the cursor: whose names count
NEAR_CHARS = 4_000  # and no more than this, where lines are endless
WINDOW_CHARS = 1200  # around the cursor, which the model sees anyway
SEEN_BEFORE = 2000  # characters before the cursor that it sees at most
OWN_CHARS = 30_000  # of the cursor's file, on either side of what the model sees: 5 ms to look at
MIN_LIKENESS = 0.15
MAX_CHUNKS, MAX_DEFINITIONS = 2, 3  # for OTHER_TOKENS
MAX_CHUNK_CHARS = 10_000  # a longer one could not be shown
REMEMBERED = 8  # documents
SCANNED_CHARS = 65_536  # of a text at once, by a pattern that holds the interpreter's lock
_NAME = re.compile(r"[^\W\d]\w{2,}")
_DEFINITION = re.compile(
    r"^[ \t]*(?:export |public |private |static |pub |async )*(?:def|class|function|fn|func|struct|interface|type|enum)"
    r"\s+(?:\([^)\n]*\)\s*)?(?P<name>\w+)[^\n]*",
    re.MULTILINE,
)

Names = tuple[str, ...]  # each once, in the order in which they first occur


class Indexed:
    """The chunks of one version of a file, and the names in each."""

    def __init__(self, text: str) -> None:
        """Cut up a text and look for names."""
        self.chunks = [chunk for chunk in chunks(text) if len(chunk) <= MAX_CHUNK_CHARS]
        self.names: list[Names] = [tuple(names_in(chunk)) for chunk in self.chunks]
        self.where: dict[str, list[int]] = {}  # the numbers of the chunks that hold a name
        for number, names in enumerate(self.names):
            for name in names:
                self.where.setdefault(name, []).append(number)


class Choice(NamedTuple):
    """What was chosen, and for what."""

    region: tuple[object, ...]
    texts: tuple[str, ...]


class Related:
    """The files that were looked at, and the choices for a few documents."""

    def __init__(self) -> None:
        """Start with none."""
        self._choices: OrderedDict[str, Choice] = OrderedDict()
        self._indexed: OrderedDict[tuple[object, ...], Indexed] = OrderedDict()

    def choose(
        self,
        snapshot: Snapshot,
        offset: int,
        others: Sequence[Snapshot],
        tokens: int = OTHER_TOKENS,
        stopped: Callable[[], bool] = lambda: False,
    ) -> tuple[str, ...]:
        """Return chunks for this cursor, least relevant first; the same ones while it stays in its region.

        `tokens`: what the model sees of them. `stopped` is asked before every file; what was looked at is kept.
        """
        row = snapshot.point_at(offset)[0]
        region = (row // REGION_LINES, tokens, *map(version_of, others))
        known = self._choices.get(snapshot.uri)
        if known is None or known.region != region:
            if not self.prepare(others, stopped):
                return ()
            files = [self._indexed[version_of(other)] for other in others]
            known = Choice(region, related_to(snapshot.text, offset, files, tokens))
            self._choices[snapshot.uri] = known
            self._choices.move_to_end(snapshot.uri)
            if len(self._choices) > REMEMBERED:
                self._choices.popitem(last=False)
        return known.texts

    def prepare(self, others: Sequence[Snapshot], stopped: Callable[[], bool]) -> bool:
        """Look at the files that are new or have changed, forget what nobody asks for; False when `stopped`."""
        for other in others:
            if stopped():
                return False
            version = version_of(other)
            if version not in self._indexed:
                self._indexed[version] = Indexed(other.text)
            self._indexed.move_to_end(version)
        while len(self._indexed) > len(others) + 1:  # one to spare: the file that the cursor was in before
            self._indexed.popitem(last=False)
        return True


def version_of(other: Snapshot) -> tuple[object, ...]:
    """Return what tells a version of a file from others; an editor may open a file again and count from 1."""
    return other.uri, other.version, hash(other.text)


def related_to(text: str, offset: int, others: Sequence[Indexed], tokens: int = OTHER_TOKENS) -> tuple[str, ...]:
    """Return like chunks, then definitions of the cursor's file, least relevant first, within the budget."""
    near = "\n".join(text[max(0, offset - NEAR_CHARS) : offset].split("\n")[-NEAR_LINES:])
    share = max(1, tokens // OTHER_TOKENS)
    found = [
        *definitions(text, offset, near)[: MAX_DEFINITIONS * share],
        *like_chunks(near, [*far_parts(text, offset), *others], MAX_CHUNKS * share),
    ]
    chosen: list[str] = []
    for chunk in found:
        if sum(map(len, chosen)) + len(chunk) <= CHARS_PER_TOKEN * tokens and chunk not in chosen:
            chosen.append(chunk)
    whole = [chunk for chunk in chosen if not any(chunk in other for other in chosen if other != chunk)]
    return tuple(reversed(whole))


def far_parts(text: str, offset: int) -> list[Indexed]:
    """Return the parts of the cursor's file that the model does not see: what is like it is mostly in its own file."""
    start, stop = max(0, offset - SEEN_BEFORE), offset + WINDOW_CHARS
    start, stop = text.rfind("\n", 0, start) + 1, text.find("\n", stop) + 1 or len(text)
    parts = text[max(0, start - OWN_CHARS) : start], text[stop : stop + OWN_CHARS]
    return [Indexed(part) for part in parts if part]


def names_in(text: str) -> dict[str, None]:
    """Return the names in a text, each once."""
    return dict.fromkeys(_NAME.findall(text))


def definitions(text: str, offset: int, near: str) -> list[str]:
    """Return first lines of definitions, outside of what the model sees, of names used near the cursor."""
    used = names_in(near)
    start, stop = max(0, offset - WINDOW_CHARS), offset + WINDOW_CHARS
    found: dict[str, str] = {}
    for match in defined(text):
        name = match["name"]
        if name in used and not start <= match.start() < stop:
            found.setdefault(name, match.group().strip())
    return [found[name] for name in sorted(found, key=near.rfind, reverse=True)]


def defined(text: str) -> Iterator[re.Match[str]]:
    """Every line that defines something; a text is looked through in pieces, cut at line breaks."""
    at = 0
    while at < len(text):
        stop = text.find("\n", at + SCANNED_CHARS) + 1 or len(text)
        yield from _DEFINITION.finditer(text, at, stop)
        at = stop


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


def like_chunks(near: str, others: Sequence[Indexed], n: int = MAX_CHUNKS) -> list[str]:
    """Return the chunks most like the code near the cursor: shared names, rare ones weigh more.

    Likeness is the weighted Jaccard index of two sets of names. Only chunks that can reach MIN_LIKENESS are compared:
    what a chunk shares with the names near the cursor must be that share of their weight alone.
    """
    wanted = names_in(near)
    n_chunks = sum(len(other.chunks) for other in others)
    weights: dict[str, float] = {}

    def weight(name: str) -> float:
        """Return what a name weighs; one that no chunk holds weighs 1."""
        if name not in weights:
            count = sum(len(other.where.get(name, ())) for other in others)
            weights[name] = math.log(1 + n_chunks / count) if count else 1.0
        return weights[name]

    def likeness(names: Names) -> float:
        """Return how like a chunk with these names is."""
        shared = sum(weight(name) for name in names if name in wanted)
        return shared / (sum(map(weight, wanted | dict.fromkeys(names))) or 1.0)

    least = MIN_LIKENESS * sum(map(weight, wanted)) * (1 - 1e-9)
    scored = []
    for at, other in enumerate(others):
        shared: defaultdict[int, float] = defaultdict(float)
        for name in wanted:
            for number in other.where.get(name, ()):
                shared[number] += weight(name)
        scored += [(-likeness(other.names[number]), at, number) for number, most in shared.items() if most >= least]
    best = heapq.nsmallest(n, scored)
    return [others[at].chunks[number] for score, at, number in best if -score >= MIN_LIKENESS]
