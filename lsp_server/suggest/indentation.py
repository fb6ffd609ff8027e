r"""Indentation: lines of a draft that are indented by tabs in a file of spaces, or the other way round.

Rule: pure; drafts are converted before anything else looks at them, spans and all, so that what is shown, remembered
and denoised again is the document's own. Where a file mixes both, or a line's level is not clear, nothing is changed,
and cleanup cuts what does not fit.

    converted("if a:\n    b()", "\t", base="")   ->  "if a:\n\tb()"
    InStyle(engine, "\t", base="").infill(request, cancelled)      # an engine whose drafts are converted
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from diffusion.request import Draft, InfillRequest
from lsp_server.suggest.candidates import Infills
from lsp_server.suggest.holes import Plan
from lsp_server.text.documents import Snapshot

TAB = "\t"
WIDTHS = (4, 2, 8, 3)  # of a level, in spaces, that models write
SEEN_CHARS = 8000  # of the document, on each side of the hole
_OPENS = re.compile(r"[:{(\[]\s*$")  # the end of a line below which the next one is a level deeper
_LEADING = re.compile(r"[ \t]*")


@dataclass(frozen=True)
class InStyle:
    """An engine whose drafts have the indentation of the document; `base` is that of the line with the hole."""

    engine: Infills
    unit: str
    base: str

    def infill(self, request: InfillRequest, cancelled: Callable[[], bool]) -> Iterator[Draft]:
        """Drafts of the engine, converted."""
        for draft in self.engine.infill(request, cancelled):
            yield converted_draft(draft, self.unit, self.base)


def in_style(engine: Infills, snapshot: Snapshot, plan: Plan) -> Infills:
    """The engine, with drafts in the style of a document, if that has one."""
    text = snapshot.text
    unit = unit_of(text[max(0, plan.start - SEEN_CHARS) : plan.end + SEEN_CHARS].splitlines())
    line = text[text.rfind("\n", 0, plan.start) + 1 : plan.start]
    return InStyle(engine, unit, leading(line)) if unit else engine


def leading(line: str) -> str:
    """The blanks that a line begins with."""
    found = _LEADING.match(line)
    return found[0] if found else ""


def unit_of(lines: list[str]) -> str:
    """One level of a document's indentation: a tab or so many spaces; "" where both occur, or neither."""
    indents = [leading(line) for line in lines if line.strip()]
    kinds = {kind for indent in indents for kind in indent}
    if kinds == {TAB}:
        return TAB
    steps = Counter(len(b) - len(a) for a, b in pairwise(indents) if len(b) > len(a))
    return " " * steps.most_common(1)[0][0] if kinds == {" "} and steps else ""


def converted_draft(draft: Draft, unit: str, base: str) -> Draft:
    """The draft with its text converted and its spans where that is now."""
    text = converted(draft.text, unit, base)
    if text == draft.text:
        return draft
    places = moved(draft.text, text)
    masked = tuple((places[a], places[b]) for a, b in draft.masked if places[a] < places[b])
    tokens = tuple((places[a], places[b], chance) for a, b, chance in draft.tokens if places[a] < places[b])
    return dataclasses.replace(draft, text=text, masked=masked, tokens=tokens)


def converted(text: str, unit: str, base: str) -> str:
    """The text with its further lines in the document's indentation; as it is, where their levels are not clear."""
    first, *lines = text.split("\n")
    other = " " if unit == TAB else TAB
    indents = [leading(line) for line in lines if line.strip()]
    if set(base) - set(unit) or not indents or set("".join(indents)) != {other}:
        return text
    n_base = len(base) // len(unit)
    for width in (1,) if other == TAB else WIDTHS:
        levels = [len(indent) // width for indent in indents]
        if all(len(indent) % width == 0 for indent in indents) and fit(
            [first, *filter(str.strip, lines)], n_base, levels
        ):
            return "\n".join([first, *(unit * (len(leading(line)) // width) + line.lstrip(" \t") for line in lines)])
    return text


def fit(lines: list[str], base: int, levels: list[int]) -> bool:
    """Whether levels are those of code: deeper by one below what opens a block, else as deep or less."""
    steps = zip(lines, pairwise([base, *levels]), strict=False)
    return all(b == a + 1 if _OPENS.search(line) else b <= a for line, (a, b) in steps)


def moved(old: str, new: str) -> list[int]:
    """Where each place of the old text is in the new one, which differs in the blanks that lines begin with."""
    places: list[int] = []
    start = 0
    for number, (before, after) in enumerate(zip(old.split("\n"), new.split("\n"), strict=True)):
        n_before, n_after = (len(leading(before)), len(leading(after))) if number else (0, 0)
        places += [start + min(at, n_after) for at in range(n_before)]
        places += [start + n_after + at for at in range(len(before) - n_before + 1)]
        start += len(after) + 1
    return places
