r"""Silence: where a person who types wants no suggestion, and which texts are not worth showing.

Rule: pure; two tables of named rules, `WHERE` of places, looked at before the model is asked, and `WHAT` of texts. They
are for who types: who asks by hand gets everything. What is left of a suggestion on screen they never take away.

    at(snapshot, plan)           # "inside a number", or ""
    of(snapshot, plan, "x)")     # "too short", or ""
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from lsp_server.suggest.holes import Plan
from lsp_server.text import languages, syntax
from lsp_server.text.brackets import still_open
from lsp_server.text.documents import Snapshot

LEAST_CHARS = 3  # visible ones that a suggestion adds
LEAST_REPEATED_CHARS = 10  # visible ones left of the cursor: `f(` may well be followed by `f(`
_NUMBER = re.compile(r"(?<![\w$])\d[\w.]*\Z")
_WORD_END = re.compile(r"\w\Z")
_WORD = re.compile(r"\w*")
_TARGET = re.compile(r"\s*[\w.]+\s*:")  # of an annotation
_HEADER = re.compile(
    r"\s*(?:async |if|elif|else|for|while|def|class|try|except|finally|with|match|case)\b|.*\blambda\b"
)
_BRACE_HEADER = re.compile(r"\s*(?:\}\s*)?(?:if|else|for|while|do|switch|try|catch|finally)\b.*:\s*\Z")
_STATEMENT_ENDS = ")]}\"'`"


class Here(NamedTuple):
    """The cursor: what stands left and right of it on its line; the right without what a suggestion replaces."""

    snapshot: Snapshot
    plan: Plan
    left: str
    right: str

    @property
    def replaced(self) -> str:
        """The text that a suggestion replaces."""
        return self.snapshot.text[self.plan.start : self.plan.end]

    @property
    def is_at_end(self) -> bool:
        """Whether the cursor stands in code behind the last character of its line."""
        is_code = self.plan.kind not in ("string", "comment", "text")
        return is_code and bool(self.left.strip()) and not (self.replaced + self.right).strip()


def here(snapshot: Snapshot, plan: Plan) -> Here:
    """Return what the rules look at."""
    text, start = snapshot.text, plan.start
    return Here(
        snapshot, plan, text[snapshot.line_start(start) : start], text[plan.end : snapshot.line_end(plan.end)].rstrip()
    )


def at(snapshot: Snapshot, plan: Plan) -> str:
    """Return the name of the rule that keeps a place silent, "" if none does."""
    place = here(snapshot, plan)
    return next((name for name, holds in WHERE.items() if holds(place)), "")


def of(snapshot: Snapshot, plan: Plan, text: str) -> str:
    """Return the name of the rule that a text is not shown by, "" if there is none."""
    place = here(snapshot, plan)
    return next((name for name, holds in WHAT.items() if holds(place, text)), "")


def in_number(place: Here) -> bool:
    """Behind a digit of a number only the writer knows the next one."""
    return bool(_NUMBER.search(place.left))


def behind_statement(place: Here) -> bool:
    """Behind a statement that is over: its last bracket or quote is closed, or its semicolon is written."""
    left = place.left.rstrip()
    if not place.is_at_end or place.plan.multiline:
        return False
    return left.endswith(";") or (left[-1] in _STATEMENT_ENDS and is_whole(place.snapshot, place.plan.start))


def is_whole(snapshot: Snapshot, offset: int) -> bool:
    """Tell whether a piece of sound code, from the first word of a line on, ends at the end of the cursor's line."""
    line = snapshot.line_start(offset)
    left = snapshot.text[line:offset]
    if snapshot.tree is None:
        return False
    stop = snapshot.byte_at(line + len(left.rstrip()))
    start = snapshot.byte_at(line + len(left) - len(left.lstrip()))
    path = syntax.path_to(snapshot.tree, stop - 1)[1:]
    ending = [node for node in path if node.end_byte == stop and node.start_byte <= start and node.is_named]
    return bool(ending) and not any(node.has_error or node.is_error for node in ending)


def behind_stray_colon(place: Here) -> bool:
    """Behind a colon by habit: Python's where no block begins, or one in place of a brace."""
    if not place.is_at_end or not place.left.rstrip().endswith(":"):
        return False
    opener = languages.of(place.snapshot.language).body_opener
    if opener == "{":
        return bool(_BRACE_HEADER.match(place.left))
    if opener != ":" or still_open(place.left, place.snapshot.language):
        return False
    in_brackets = still_open(place.snapshot.text[place.plan.statement : place.plan.start], place.snapshot.language)
    return not (in_brackets or _HEADER.match(place.left) or _TARGET.fullmatch(place.left.rstrip()))


def behind_full_block(place: Here) -> bool:
    """Behind a header whose block is written already."""
    opener = languages.of(place.snapshot.language).body_opener
    if not opener or not place.is_at_end or not place.left.rstrip().endswith(opener):
        return False
    below = place.snapshot.text[place.snapshot.line_end(place.plan.end) :].split("\n")[1:]
    following = next((line for line in below if line.strip()), "")
    return _indent(following) > _indent(place.left)


def is_short(place: Here, text: str) -> bool:
    """Less than `LEAST_CHARS` visible characters that are not on the line already."""
    return _visible(text) - _visible(place.replaced) < LEAST_CHARS


def tears_word(place: Here, text: str) -> bool:
    """Amid a word: the word that the text makes of it does not end as it does."""
    rest = _WORD.match(place.replaced)
    if rest is None or not rest[0] or not _WORD_END.search(place.left):
        return False
    begun = _WORD.match(text)
    return begun is None or not begun[0].endswith(rest[0])


def repeats_neighbours(place: Here, text: str) -> bool:
    """With it, the lines are those above or below once more, indentation and all."""
    snapshot, plan = place.snapshot, place.plan
    lines = _lines(place.left + text + place.right)
    above = _lines(snapshot.text[: snapshot.line_start(plan.start)][-_near(text) :])
    below = _lines(snapshot.text[snapshot.line_end(plan.end) :][: _near(text)])
    return bool(lines) and lines in (above[-len(lines) :], below[: len(lines)])


def repeats_line(place: Here, text: str) -> bool:
    """It says once more all that stands left of the cursor."""
    left = place.left.strip()
    return _visible(left) >= LEAST_REPEATED_CHARS and text.lstrip().startswith(left)


def _near(text: str) -> int:
    """Return how many characters beside the cursor's line are enough to compare a text with."""
    return 2000 + 2 * len(text)


def _lines(text: str) -> list[str]:
    """Return the lines that say something, without the spaces at their ends."""
    return [line.rstrip() for line in text.split("\n") if line.strip()]


def _visible(text: str) -> int:
    """Return the number of characters that are no spaces."""
    return sum(not char.isspace() for char in text)


def _indent(line: str) -> int:
    """Return the characters of indentation of a line."""
    return len(line) - len(line.lstrip())


WHERE: dict[str, Callable[[Here], bool]] = {
    "inside a number": in_number,
    "behind a complete statement": behind_statement,
    "behind a colon that opens no block": behind_stray_colon,
    "behind a header that has its block": behind_full_block,
}
WHAT: dict[str, Callable[[Here, str], bool]] = {
    "too short": is_short,
    "the word at the cursor would be torn": tears_word,
    "repeats the lines beside it": repeats_neighbours,
    "repeats what is left of it": repeats_line,
}
