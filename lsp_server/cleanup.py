r"""Fit a draft's text to the code around the hole: cut what repeats, close what must be closed.

Rule: pure functions that only cut the end of the text and add closers after it, so that the spans of a draft stay
where they are. Every draft and the final item go through the same `clean`, so the last draft is the final item.

    clean("x, y))", Frame(statement="print(", replaced=")", after="\n"))  ->  Cleaned(5, ")")
"""

from __future__ import annotations

from typing import NamedTuple

from lsp_server.brackets import CLOSERS, OPENERS, brackets, still_open, surplus_closers

_SEEN_AFTER = 2000  # characters after the hole that are compared with
_TELLING = 3  # letters and digits that make a repeated line or tail no coincidence


class Frame(NamedTuple):
    """The code around a hole: the statement before it, what the item replaces, and what stays after it."""

    statement: str
    replaced: str
    after: str


class Cleaned(NamedTuple):
    """What is left of a draft: its first `keep` characters, and closers to add behind them."""

    keep: int
    tail: str = ""

    def of(self, text: str) -> str:
        """Return the cleaned text."""
        return text[: self.keep] + self.tail


def clean(text: str, frame: Frame) -> Cleaned | None:
    """Return what of `text` to show, or None if nothing worth showing is left."""
    after = frame.after[:_SEEN_AFTER]
    must_stay_open = _must_stay_open(frame, after)
    keep = cut_surplus_closers(text, still_open(frame.statement), must_stay_open)
    keep = cut_repeated_rest_of_line(text[:keep], frame.statement, after, must_stay_open)
    keep = cut_repeated_lines(text[:keep], frame.statement.rpartition("\n")[2], after)
    keep = cut_trailing_space(text[:keep], after)
    tail = missing_closers(text[:keep], frame, must_stay_open)
    whole = text[:keep] + tail
    return Cleaned(keep, tail) if whole.strip() and whole != frame.replaced else None


def _must_stay_open(frame: Frame, after: str) -> int:
    """Return how many of the statement's open brackets the code after the hole closes."""
    return min(len(still_open(frame.statement)), len(surplus_closers(after)))


def cut_surplus_closers(text: str, before: str, must_stay_open: int) -> int:
    """Cut before the first closer that closes a bracket which must stay open, or that fits no open bracket."""
    stack = list(before)
    for index, char in brackets(text):
        if char in OPENERS:
            stack.append(char)
        elif len(stack) <= must_stay_open or OPENERS[stack[-1]] != char:
            return index
        else:
            stack.pop()
    return len(text)


def cut_repeated_rest_of_line(text: str, statement: str, after: str, must_stay_open: int) -> int:
    """Cut an end of `text` that repeats what follows on the cursor's line, unless brackets would be torn."""
    rest = after.partition("\n")[0].rstrip()
    for size in range(min(len(rest), len(text)), 0, -1):
        if not text.endswith(rest[:size]) or (size < len(rest) and not _telling(rest[:size])):
            continue
        cut = len(text) - size
        torn = any(char in CLOSERS or char in OPENERS for char in rest[:size])
        if not torn or len(still_open(statement + text[:cut])) == must_stay_open:
            return cut
    return len(text)


def cut_repeated_lines(text: str, left: str, after: str) -> int:
    """Cut from the line of `text` that repeats the next line after the hole, if all that follows repeats too.

    `left` is what stands before the hole on its first line.
    """
    following = [line.strip() for line in after.partition("\n")[2].split("\n") if line.strip()]
    if not following:
        return len(text)
    end = -len(left)
    lines = (left + text).split("\n")
    for number, line in enumerate(lines):
        rest = [other.strip() for other in lines[number:] if other.strip()]
        if _telling("".join(rest)) and rest == following[: len(rest)]:
            return max(end - 1, 0)  # the line break before it goes too
        end += len(line) + 1
    return len(text)


def cut_trailing_space(text: str, after: str) -> int:
    """Cut spaces and empty lines at the end, where the hole ends its line."""
    return len(text.rstrip()) if after[:1] in ("", "\n") else len(text)


def missing_closers(text: str, frame: Frame, must_stay_open: int) -> str:
    """Return the closers that the item replaces and the text left out."""
    stack = still_open(frame.statement + text)[must_stay_open:]
    owed = min(len(stack), len(surplus_closers(frame.replaced)))
    return "".join(OPENERS[char] for char in reversed(stack[:owed])) if owed == len(stack) else ""


def _telling(text: str) -> bool:
    """Tell whether a repetition of `text` can hardly be chance."""
    return sum(char.isalnum() for char in text) >= _TELLING
