r"""Fitting: a draft as it would be typed at its place: without what the line says already, in the file's indentation.

Rule: pure; drafts are fitted before anything else looks at them, spans and all, so that what is shown, remembered and
denoised again is the same. Where a file mixes tabs and spaces, or a line's level is not clear, its indentation stays,
and cleanup cuts what does not fit.

    fitted("  range(3)", "for i in ", unit="    ")    ->  "range(3)"
    fitted("if a:\n    b()", "", unit="\t")           ->  "if a:\n\tb()"
    Fitted(engine, left, unit).infill(request, cancelled)      # an engine whose drafts fit
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
_TELLING = re.compile(r"\w{3}")  # so much of a line that is said again is no chance
_LEADING = re.compile(r"[ \t]*")


@dataclass(frozen=True)
class Fitted:
    """An engine whose drafts fit behind `left`, the line before the hole, in a document with this indentation."""

    engine: Infills
    left: str
    unit: str

    def infill(self, request: InfillRequest, cancelled: Callable[[], bool]) -> Iterator[Draft]:
        """Drafts of the engine, fitted."""
        for draft in self.engine.infill(request, cancelled):
            yield fitted_draft(draft, self.left, self.unit)


def to_place(engine: Infills, snapshot: Snapshot, plan: Plan) -> Fitted:
    """The engine, with drafts that fit into a document."""
    text = snapshot.text
    unit = unit_of(text[max(0, plan.start - SEEN_CHARS) : plan.end + SEEN_CHARS].splitlines())
    return Fitted(engine, text[text.rfind("\n", 0, plan.start) + 1 : plan.start], unit)


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


def fitted_draft(draft: Draft, left: str, unit: str) -> Draft:
    """The draft with its text fitted and its spans where that is now."""
    text = fitted(draft.text, left, unit)
    if text == draft.text:
        return draft
    n_said = said_already(draft.text, left)
    places = [0] * n_said + moved(draft.text[n_said:], text)
    masked = tuple((places[a], places[b]) for a, b in draft.masked if places[a] < places[b])
    tokens = tuple((places[a], places[b], chance) for a, b, chance in draft.tokens if places[a] < places[b])
    return dataclasses.replace(draft, text=text, masked=masked, tokens=tokens)


def fitted(text: str, left: str, unit: str) -> str:
    """The text as it fits behind `left`."""
    return converted(text[said_already(text, left) :], unit, leading(left))


def said_already(text: str, left: str) -> int:
    """How many characters at the beginning of a text repeat a line that ends in a blank: the blank, or all of it."""
    said = left.strip(" \t")
    if not said or left[-1] not in " \t":
        return 0
    line = text.lstrip(" \t")
    again = line.removeprefix(said)
    doubled = len(again) < len(line) and again[:1] in (" ", "\t") and _TELLING.search(said)
    return len(text) - len(again.lstrip(" \t") if doubled else line)


def converted(text: str, unit: str, base: str) -> str:
    """The text with its further lines in the document's indentation, where their levels are clear below `base`."""
    first, *lines = text.split("\n")
    other = " " if unit == TAB else TAB
    indents = [leading(line) for line in lines if line.strip()]
    if not unit or set(base) - set(unit) or not indents or set("".join(indents)) != {other}:
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
