"""Orders the text around the cursor for public checkpoints: in place, or suffix and prefix in front of the canvas.

Rule: pure, as `layout.py` is for our own models. Both sides are cut at line breaks on a grid, so that typing rarely
moves a cut. Text of other files is left out: these models have no marker for it.

    in_place(tokenizer, 2048, prefix, suffix)       # [first] prefix | suffix [end of text], the canvas between them
    in_front(tokenizer, 2048, prefix, suffix)       # [first] marker suffix marker prefix marker, the canvas behind
"""

from __future__ import annotations

from dataclasses import dataclass

from cuda_ext.rules import MAX_ROWS
from diffusion.healing import Edge, heal_left, heal_right
from diffusion.layout import MARKERS, Context, line_break_before
from diffusion.tokenizer import Tokenizer
from diffusion.vocabulary import NONE

GRID = 384  # characters between two places where a side may be cut
CHARS_PER_TOKEN = 3  # of code, rather too few: a side is cut in characters first, then in tokens
SUFFIX_SHARE = 4  # one of so many tokens
LEAST_SUFFIX = 128  # tokens


@dataclass(frozen=True)
class Sides:
    """Tokens on either side of the canvas, whether the suffix goes to the file's end, and the cut tokens."""

    prefix: list[int]
    suffix: list[int]
    to_the_end: bool
    left: Edge
    right: Edge


def sides(tokenizer: Tokenizer, rows: int, prefix: str, suffix: str, lend: bool) -> Sides:
    """What of prefix and suffix fits beside a canvas into `rows` tokens in all.

    `lend`: a side takes what the other leaves; else its room is its own, and typing moves no cut of the other.
    """
    prefix, suffix = prefix.replace("\r\n", "\n"), suffix.replace("\r\n", "\n")
    left, right = heal_left(tokenizer, prefix), heal_right(tokenizer, suffix)
    prefix, suffix = prefix[: len(prefix) - len(left.text)], suffix[len(right.text) :]
    room = rows - MAX_ROWS - MARKERS
    n_suffix = max(LEAST_SUFFIX, room // SUFFIX_SHARE)
    n_prefix = room if lend else room - n_suffix
    before = tokenizer.encode(prefix[prefix_start(prefix, n_prefix * CHARS_PER_TOKEN) :])
    n_suffix = max(n_suffix, room - len(before)) if lend else n_suffix
    shown = suffix[: suffix_stop(suffix, n_suffix * CHARS_PER_TOKEN)]
    behind = tokenizer.encode(shown)
    to_the_end = len(shown) == len(suffix) and len(behind) <= n_suffix
    behind = until_line(tokenizer, behind, n_suffix)
    before = from_line(tokenizer, before, room - len(behind) if lend else n_prefix)
    return Sides(before, behind, to_the_end, left, right)


def from_line(tokenizer: Tokenizer, ids: list[int], most: int) -> list[int]:
    """The last `most` of `ids`, from a line on that begins in their first quarter, if one does."""
    ids, cut = ids[-most:], len(ids) > most
    starts = (at + 1 for at in range(len(ids) // 4) if tokenizer.token_bytes[ids[at]].endswith(b"\n"))
    return ids[next(starts, 0) :] if cut else ids


def until_line(tokenizer: Tokenizer, ids: list[int], most: int) -> list[int]:
    """The first `most` of `ids`, up to a line that ends in their last quarter, if one does."""
    ids, cut = ids[:most], len(ids) > most
    ends = (at for at in range(len(ids), len(ids) * 3 // 4, -1) if b"\n" in tokenizer.token_bytes[ids[at - 1]])
    return ids[: next(ends, len(ids))] if cut else ids


def prefix_start(prefix: str, most: int) -> int:
    """The first character of `prefix` that is shown of at most `most`."""
    cells = -(-max(0, len(prefix) - most) // GRID)
    return line_break_before(prefix, cells * GRID, GRID) if cells else 0


def suffix_stop(suffix: str, most: int) -> int:
    """The character of `suffix` behind the last that is shown, the grid being counted from the end of the file."""
    cells = -(-max(0, len(suffix) - most) // GRID)
    return line_break_before(suffix, len(suffix) - cells * GRID, GRID) if cells else len(suffix)


def in_place(tokenizer: Tokenizer, rows: int, prefix: str, suffix: str) -> Context:
    """Prefix and suffix, with the canvas to come between them."""
    found, ids = sides(tokenizer, rows, prefix, suffix, lend=True), tokenizer.vocabulary
    before = [*known(ids.file), *found.prefix] or [ids.end]  # something in front: the row before predicts a token
    behind = [*found.suffix, *(known(ids.eof) if found.to_the_end else [])]
    return Context((*before, *behind), found.left, found.right, len(behind))


def in_front(tokenizer: Tokenizer, rows: int, prefix: str, suffix: str) -> Context:
    """Suffix and prefix, in the order that the model knows, and the canvas to come behind."""
    found, ids = sides(tokenizer, rows, prefix, suffix, lend=False), tokenizer.vocabulary
    parts = [[ids.near_suffix, *found.suffix], [ids.near_prefix, *found.prefix]]
    first, second = parts[::-1] if ids.prefix_first else parts
    return Context((*known(ids.file), *first, *second, ids.middle), found.left, found.right)


def known(token_id: int) -> list[int]:
    """The token, where the model has it."""
    return [] if token_id == NONE else [token_id]
