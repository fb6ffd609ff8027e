"""Chooses the holes that training asks the model to fill: what editors ask for, cut from token ids.

Rule: works on token ids and a per-vocabulary table only, so that fresh holes cost nothing in every epoch.

    table = TokenTable.of(tokenizer); start, stop = choose_hole(rng, ids, table, lo=100, hi=160)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffusion.tokenizer import Tokenizer

OPENING, CLOSING = b"([{", b")]}"
KINDS = ("rest of line", "whole lines", "block", "arguments", "random span")
KIND_SHARES = (0.4, 0.2, 0.12, 0.12, 0.16)
MAX_LINES = 5


@dataclass(frozen=True)
class TokenTable:
    """What a token does to the layout of code; every array has one entry per token id."""

    newline: np.ndarray  # bool: begins with a line break
    indent: np.ndarray  # int: columns of indentation behind the line break
    depth: np.ndarray  # int: brackets it opens minus brackets it closes
    opens: np.ndarray  # bool: ends with an opening bracket
    closes: np.ndarray  # bool: begins with a closing bracket
    colon: np.ndarray  # bool: ends with a colon

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> TokenTable:
        """The table of a tokenizer."""
        tokens = tokenizer.token_bytes
        return cls(
            newline=np.array([t[:1] == b"\n" or t[:2] == b"\r\n" for t in tokens]),
            indent=np.array([len(t.lstrip(b"\r\n").expandtabs(4)) if t[:1] in (b"\n", b"\r") else 0 for t in tokens]),
            depth=np.array([sum(c in OPENING for c in t) - sum(c in CLOSING for c in t) for t in tokens]),
            opens=np.array([t[-1:] in (b"(", b"[", b"{") for t in tokens]),
            closes=np.array([t.lstrip()[:1] in (b")", b"]", b"}") for t in tokens]),
            colon=np.array([t[-1:] == b":" for t in tokens]),
        )


def line_end(ids: np.ndarray, start: int, table: TokenTable) -> int:
    """Index of the first line break at or behind `start`, or the end of `ids`."""
    breaks = np.flatnonzero(table.newline[ids[start : start + 256]])
    return start + int(breaks[0]) if len(breaks) else min(start + 256, len(ids))


def line_start(ids: np.ndarray, index: int, table: TokenTable) -> int:
    """Index of the last line break at or before `index`, or 0."""
    low = max(0, index - 256)
    breaks = np.flatnonzero(table.newline[ids[low : index + 1]])
    return low + int(breaks[-1]) if len(breaks) else low


def choose_hole(rng: np.random.Generator, ids: np.ndarray, table: TokenTable, lo: int, hi: int) -> tuple[int, int]:
    """A half-open span of `ids` (one file) whose start lies in [lo, hi); it may be empty."""
    start = int(rng.integers(lo, max(lo + 1, hi)))
    kind = KINDS[int(rng.choice(len(KINDS), p=KIND_SHARES))]
    if kind == "random span":
        return start, min(start + int(rng.integers(1, 28)), len(ids))
    if kind == "arguments" and (span := argument_span(ids, start, table)):
        return span
    if kind == "block" and (span := block_span(ids, start, table)):
        return span
    if kind == "whole lines":
        first = min(line_end(ids, start, table) + 1, len(ids))
        return first, lines_end(ids, first, int(rng.integers(1, MAX_LINES + 1)), table)
    return rest_of_line(rng, ids, start, table)


def rest_of_line(rng: np.random.Generator, ids: np.ndarray, index: int, table: TokenTable) -> tuple[int, int]:
    """From a token of the line of `index`, often its first, to the line's end."""
    first, end = line_start(ids, index, table) + 1, line_end(ids, index, table)
    if end <= first:
        return index, end
    start = first if rng.random() < 0.25 else int(rng.integers(first, end + (rng.random() < 0.3)))
    return start, end


def lines_end(ids: np.ndarray, start: int, n_lines: int, table: TokenTable) -> int:
    """End of the n-th line that begins at `start`, blank lines not counted."""
    end = line_end(ids, start, table)
    for _ in range(n_lines - 1):
        while end + 1 < len(ids) and table.newline[ids[end + 1]]:
            end += 1
        end = line_end(ids, min(end + 1, len(ids)), table)
    return end


def block_span(ids: np.ndarray, index: int, table: TokenTable) -> tuple[int, int] | None:
    """The body under the next line behind `index` that ends with a colon, from its first token to its last."""
    for _ in range(8):
        end = line_end(ids, index, table)
        if end + 1 >= len(ids):
            return None
        if end > 0 and table.colon[ids[end - 1]]:
            return end + 1, dedent(ids, end, table)
        index = end + 1
    return None


def dedent(ids: np.ndarray, body_break: int, table: TokenTable) -> int:
    """Index of the line break behind the block whose first line begins with the break at `body_break`."""
    indent = table.indent[ids[body_break]]
    last = end = line_end(ids, body_break + 1, table)
    while end + 1 < len(ids) and end - body_break < 200:
        if table.newline[ids[end + 1]]:  # a blank line
            end += 1
        elif table.indent[ids[end]] < indent:
            break
        else:
            last = end = line_end(ids, end + 1, table)
    return last


def argument_span(ids: np.ndarray, index: int, table: TokenTable) -> tuple[int, int] | None:
    """What stands between the next opening bracket behind `index` and the token that closes it."""
    window = ids[index : index + 200]
    opening = np.flatnonzero(table.opens[window])
    if not len(opening):
        return None
    first = int(opening[0]) + 1
    below = np.flatnonzero(np.cumsum(table.depth[window[first:]]) < 0)
    if not len(below) or not table.closes[window[first + below[0]]]:
        return None
    return index + first, index + first + int(below[0])
