"""The infill mask at the cursor: what to fill, what of the line is replaced, what stays fixed, how large a canvas.

Rule: for a language with a grammar the tree decides, through the language's query; for others, and where the tree has
nothing sound to say, the line's characters do. None means: offer nothing here.

    plan = plan_at(snapshot, offset)   # Plan(start, end, middle=(Hole(16), "))"), statement, kind="arguments")
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from diffusion.request import Hole
from lsp_server.text import languages, syntax
from lsp_server.text.brackets import CLOSERS, OPENERS, still_open
from lsp_server.text.documents import Snapshot
from lsp_server.text.inside import inside_at

logger = logging.getLogger(__name__)

WITHIN_LINE_TOKENS, LINE_TOKENS, BLOCK_TOKENS = 16, 32, 64
MAX_KEPT_CHARS = 40
_STATEMENT_CHARS = 4000  # how far back an unfinished statement is read


class Plan(NamedTuple):
    """An infill mask at `start`; the item replaces text[start:end], which never leaves the line.

    `middle` is what the item's text fills: holes, and between or behind them what of text[start:end] must stay.
    `statement` is where the statement around the hole begins. `kind` is a word for what is asked for.
    """

    start: int
    end: int
    middle: tuple[Hole | str, ...]
    statement: int
    kind: str = "line"
    quote: str = ""  # of the string that the cursor is in

    @property
    def kept(self) -> str:
        """The fixed text, all parts in a row."""
        return "".join(part for part in self.middle if isinstance(part, str))

    @property
    def fixed_end(self) -> str:
        """The fixed text behind the last hole."""
        last = self.middle[-1]
        return last if isinstance(last, str) else ""

    @property
    def multiline(self) -> bool:
        """Whether the item may have several lines."""
        return any(isinstance(part, Hole) and part.multiline for part in self.middle)


class Place(NamedTuple):
    """What is known of the cursor: texts beside it on its line, the brackets open, the quote it is in."""

    snapshot: Snapshot
    offset: int
    left: str
    right: str
    statement: int
    open_brackets: str
    inside: str  # "", "string" or "comment"
    quote: str
    kinds: frozenset[str]


def plan_at(snapshot: Snapshot, offset: int, *, multiline: bool = True, max_tokens: int = 64) -> Plan | None:
    """Return the plan for a cursor, or None where nothing should be offered."""
    place = place_at(snapshot, offset)
    end = identifier_end(snapshot, offset)
    rest = snapshot.text[end : snapshot.line_end(offset)].rstrip()
    if place.inside:
        return _inside(place, end, rest, max_tokens)
    several = multiline and snapshot.tree is not None
    if not place.left.strip() and not rest and not place.open_brackets:
        kind = ("block" if snapshot.text.strip() else "file") if several else "line"
        return _plan(place, end, (Hole(min(BLOCK_TOKENS if several else LINE_TOKENS, max_tokens), several),), kind)
    kept = kept_closers(rest, place.open_brackets)
    if several and has_empty_body(place, rest):
        return _with_body(place, end, rest, max_tokens)
    if kept:
        middle = (Hole(min(WITHIN_LINE_TOKENS, max_tokens)), kept)
        return _plan(place, end + len(kept), middle, "arguments")
    tokens = WITHIN_LINE_TOKENS if rest or place.kinds else LINE_TOKENS
    kind = next(iter(sorted(place.kinds)), "inline" if rest else "arguments" if place.open_brackets else "line")
    return _plan(place, end, (Hole(min(tokens, max_tokens)),), kind)


def _plan(place: Place, end: int, middle: tuple[Hole | str, ...], kind: str) -> Plan:
    """Return the plan at the cursor."""
    return Plan(place.offset, end, middle, place.statement, kind, place.quote)


def _inside(place: Place, end: int, rest: str, max_tokens: int) -> Plan:
    """Return the plan inside a string or comment: the rest of its line; closing quotes and brackets stay."""
    hole = Hole(min(WITHIN_LINE_TOKENS, max_tokens))
    quote = place.quote
    kept = ""
    if place.inside == "string" and quote and rest.startswith(quote):
        kept = quote + kept_closers(rest[len(quote) :], place.open_brackets)
    if not kept or len(kept) != len(rest):
        return _plan(place, end, (hole,), place.inside)
    return _plan(place, end + len(kept), (hole, kept), place.inside)


def _with_body(place: Place, end: int, rest: str, max_tokens: int) -> Plan:
    """Return the plan of a header whose block is empty: the block, and what is missing of the header before it."""
    block = Hole(min(BLOCK_TOKENS, max_tokens), multiline=True)
    if not rest:
        return _plan(place, end, (block,), "body")
    return _plan(place, end + len(rest), (Hole(min(WITHIN_LINE_TOKENS, max_tokens)), rest, block), "header and body")


def has_empty_body(place: Place, rest: str) -> bool:
    """Tell whether a header stands at the cursor whose block is still to be written.

    With `rest` behind the cursor that must be closers and the block's opener: `def f(|):`, `while (|) {`.
    """
    opener = languages.of(place.snapshot.language).body_opener
    header = (rest or place.left).rstrip()
    if not opener or not header.endswith(opener) or len(rest) > MAX_KEPT_CHARS:
        return False
    closers = rest[: -len(opener)].strip() if rest else ""
    if rest and (not closers or kept_closers(closers, place.open_brackets) != closers):
        return False
    if not rest and place.open_brackets.removesuffix("{" if opener == "{" else ""):
        return False
    return is_empty_below(place)


def is_empty_below(place: Place) -> bool:
    """Tell whether the lines below the cursor's hold nothing that belongs to its block."""
    text = place.snapshot.text
    below = text[place.snapshot.line_end(place.offset) :].lstrip("\r\n")
    following = next((line for line in below.split("\n") if line.strip()), "")
    return indent_of(following) <= indent_of(place.left + place.right)


def indent_of(line: str) -> int:
    """Return the characters of indentation of a line."""
    return len(line) - len(line.lstrip())


def place_at(snapshot: Snapshot, offset: int) -> Place:
    """Look at the cursor."""
    line = snapshot.line_start(offset)
    left, right = snapshot.text[line:offset], snapshot.text[offset : snapshot.line_end(offset)]
    language = snapshot.language
    if snapshot.tree is None:
        inside = inside_at(snapshot, offset)
        return Place(snapshot, offset, left, right, line, still_open(left, language), inside.kind, "", frozenset())
    byte = snapshot.byte_at(offset)
    spot = syntax.spot_at(snapshot.tree, language, byte, snapshot.byte_at(line + indent_of(left)))
    at = syntax.statement_start(spot)
    statement = line if at is None else max(min(snapshot.offset_of_byte(at), line), offset - _STATEMENT_CHARS)
    before = snapshot.text[statement:offset]
    inside = inside_at(snapshot, offset, spot)
    kind = "string" if inside.kind == "text" else inside.kind
    found = spot.captures
    kinds = frozenset(kind for kind in ("import", "decorator") if any(n.start_byte < byte for n in found.get(kind, ())))
    return Place(snapshot, offset, left, right, statement, still_open(before, language), kind, inside.quote, kinds)


def kept_closers(rest: str, open_brackets: str) -> str:
    """Return `rest` if it is nothing but closers of open brackets, innermost first: the editor put them there."""
    wanted = "".join(OPENERS[char] for char in reversed(open_brackets))
    return rest if rest and all(char in CLOSERS for char in rest) and wanted.startswith(rest) else ""


def identifier_end(snapshot: Snapshot, offset: int) -> int:
    """Return the end of the identifier that the cursor stands inside, or the cursor."""
    text, end = snapshot.text, offset
    if offset and _is_word(text[offset - 1]):
        while end < len(text) and _is_word(text[end]):
            end += 1
    return end


def _is_word(char: str) -> bool:
    """Tell whether a character may stand inside an identifier."""
    return char.isalnum() or char == "_"
