r"""Cleanup: removes text from a draft that repeats what follows, leaves the block, or loops.

Rule: pure functions that only cut the end of the text and put back what must stay behind it, so that the spans of a
draft stay where they are. Every draft and the final item go through the same `clean`, so the last draft is the final
item. Texts have LF line ends: editors insert those as the file's own.

    clean("x, y))", Frame(statement="print(", kept=")", after=")\n"))  ->  Cleaned(4, ")")
"""

from __future__ import annotations

import re
from typing import NamedTuple

from lsp_server.text import languages
from lsp_server.text.brackets import CLOSERS, OPENERS, brackets, still_open, surplus_closers

_SEEN_AFTER = 2000  # characters after the hole that are compared with
_TELLING = 3  # letters and digits that make a repeated line or tail no coincidence
_MARKERS = re.compile("\ufffd|<[|｜][\\w▁ ]+[|｜]>")  # half a character, and a model's own tokens
_PHRASE = re.compile(r"(.{3,60}?)\1{2,}")
_AGAIN = 10  # letters and digits of a line that a text does not hold twice
_LEAVES = re.compile(r"\s*(break|continue|pass|raise|return|throw|yield)\b")  # stands at the end of several branches
_HEADER = re.compile(r"\s*(async|case|class|def|elif|else|except|finally|for|if|match|try|while|with)\b.*:\s*")


class Frame(NamedTuple):
    """The code around a hole.

    `statement` is the statement before it, `replaced` the identifier's end that the item replaces, `kept` the fixed
    text that the item ends in, `between` what stays between two holes, `after` everything behind the last hole, `kept`
    included. `quote`: of its string.
    """

    statement: str
    after: str
    replaced: str = ""
    kept: str = ""
    between: str = ""
    quote: str = ""
    language: str = "python"


class Cleaned(NamedTuple):
    """What is left of a draft: its first `keep` characters, and the fixed text behind them."""

    keep: int
    tail: str = ""

    def of(self, text: str) -> str:
        """Return the cleaned text."""
        return text[: self.keep] + self.tail


def cleaned(text: str, frame: Frame) -> str:
    """Return what to show of `text`, "" for nothing."""
    found = clean(text, frame)
    return found.of(text) if found else ""


def clean(text: str, frame: Frame) -> Cleaned | None:
    """Return what of `text` to show, or None if nothing worth showing is left."""
    if frame.between:
        return clean_both(text, frame)
    after, left = frame.after[:_SEEN_AFTER], frame.statement.rpartition("\n")[2]
    keep = cut_lines_ahead(text[: cut_ahead(text.removesuffix(frame.kept), frame)], frame)
    if not frame.quote:
        keep = cut_repeated_rest_of_line(text[:keep], frame, after, _must_stay_open(frame, after))
    keep = cut_repeated_lines(text[:keep], left, after)
    keep = cut_dangling(text[:keep], after, frame.language)
    keep = cut_trailing_space(text[:keep], after)
    whole = text[:keep]
    return Cleaned(keep, frame.kept) if whole.strip() and whole != frame.replaced else None


def cut_for_good(text: str, frame: Frame) -> bool:
    """Tell whether a text is cut before its end however it goes on: what is denoised behind it is never seen."""
    if frame.between:
        return False
    text = text.removesuffix(frame.kept)  # it stands behind a hole that is not finished, too
    whole = text[: text.rfind("\n") + 1]  # of the last line more may come
    return cut_ahead(text, frame) < len(text) or cut_lines_ahead(whole, frame) < len(whole)


def cut_ahead(text: str, frame: Frame) -> int:
    """Cut where what comes behind changes nothing: at a model's token, at a quote or bracket that must stay open."""
    after, keep = frame.after[:_SEEN_AFTER], len(_MARKERS.split(text, maxsplit=1)[0])
    if frame.quote:
        return cut_at_quote(text[:keep], frame.quote, after)
    before = still_open(frame.statement, frame.language)
    return cut_surplus_closers(text[:keep], before, _must_stay_open(frame, after), frame.language)


def cut_lines_ahead(text: str, frame: Frame) -> int:
    """Cut where no line behind changes anything: at one that is out of the block, or that the text holds already."""
    left = frame.statement.rpartition("\n")[2]
    keep = cut_runaway(text)
    keep = cut_said_again(text[:keep], left)
    return cut_broken_out(text[:keep], left)


def clean_both(text: str, frame: Frame) -> Cleaned | None:
    """Clean two holes and keep what is fixed between them; where the first must be cut the second goes."""
    head, found, body = text.partition(frame.between)
    first_frame = frame._replace(between="", kept=frame.between, after=frame.between + frame.after)
    first = clean(head, first_frame)
    keep = first.keep if first is not None else 0
    if not found or (keep < len(head) and not head[:keep].strip()):
        return None
    before = frame.statement + head + frame.between
    second = clean(body, Frame(before, frame.after, language=frame.language)) if keep == len(head) else None
    if second is None:
        return Cleaned(keep, frame.between) if head[:keep].strip() else None
    return Cleaned(len(head) + len(frame.between) + second.keep)


def _must_stay_open(frame: Frame, after: str) -> int:
    """Return how many of the statement's open brackets the code after the hole closes."""
    return min(len(still_open(frame.statement, frame.language)), len(surplus_closers(after, frame.language)))


def cut_at_quote(text: str, quote: str, after: str) -> int:
    """Cut a string's text before its closing quote, if that follows already, and at its line's end."""
    line = text.partition("\n")[0]
    if quote not in after.partition("\n")[0]:
        return len(line)
    found = re.search(rf"(?<!\\){re.escape(quote)}", line)
    return found.start() if found else len(line)


def cut_runaway(text: str) -> int:
    """Cut behind the first of three equal lines or phrases in a row."""
    phrase = next((found for found in _PHRASE.finditer(text) if _telling(found[1])), None)
    if phrase is not None:
        return len(text[: phrase.start() + len(phrase[1])].rstrip())
    lines = text.split("\n")
    for number in range(1, len(lines) - 1):
        if lines[number - 1].strip() == lines[number].strip() == lines[number + 1].strip() and lines[number].strip():
            return len("\n".join(lines[:number]))
    return len(text)


def cut_said_again(text: str, left: str) -> int:
    """Cut before a line that the text holds already, indentation and all.

    One in a hundred blocks that people write does, where it is no line that leaves a branch.
    """
    end, seen = -len(left), set[str]()
    for line in (left + text).split("\n"):
        if line in seen:
            return end - 1
        if sum(char.isalnum() for char in line) >= _AGAIN and not _LEAVES.match(line):
            seen.add(line)
        end += len(line) + 1
    return len(text)


def cut_dangling(text: str, after: str, language: str) -> int:
    """Cut last lines that open a block (`else:`) which nothing follows, in languages without closing brackets."""
    below = next((line for line in after.split("\n")[1:] if line.strip()), "")
    while languages.of(language).body_opener == ":" and "\n" in text:
        head, _, last = text.rpartition("\n")
        if not _HEADER.fullmatch(last) or indent(below) > indent(last):
            break
        text = head.rstrip()
    return len(text)


def indent(line: str) -> int:
    """How many blanks a line begins with."""
    return len(line) - len(line.lstrip())


def cut_broken_out(text: str, left: str) -> int:
    """Cut before the first line that is indented less, or with other characters, than the line of the hole."""
    base = left[: len(left) - len(left.lstrip())]
    lines = text.split("\n")
    for number, line in enumerate(lines[1:], 1):
        if line.strip() and not line.startswith(base):
            return len("\n".join(lines[:number]))
    return len(text)


def cut_surplus_closers(text: str, before: str, must_stay_open: int, language: str = "python") -> int:
    """Cut before the first closer that closes a bracket which must stay open, or that fits no open bracket."""
    stack = list(before)
    for index, char in brackets(text, language):
        if char in OPENERS:
            stack.append(char)
        elif len(stack) <= must_stay_open or OPENERS[stack[-1]] != char:
            return index
        else:
            stack.pop()
    return len(text)


def cut_repeated_rest_of_line(text: str, frame: Frame, after: str, must_stay_open: int) -> int:
    """Cut an end of `text` that repeats what follows on the cursor's line, unless brackets would be torn."""
    rest = after.partition("\n")[0].rstrip()
    for size in range(min(len(rest), len(text)), 0, -1):
        if not text.endswith(rest[:size]) or (size < len(rest) and not _telling(rest[:size])):
            continue
        cut = len(text) - size
        torn = any(char in CLOSERS or char in OPENERS for char in rest[:size])
        if not torn or len(still_open(frame.statement + text[:cut], frame.language)) == must_stay_open:
            return cut
    return len(text)


def cut_repeated_lines(text: str, left: str, after: str) -> int:
    """Cut from the line of `text` that repeats the next line after the hole.

    With the same indentation, that is; or if all behind it repeats the lines that follow, too. `left` is what stands
    before the hole on its first line.
    """
    below = [line.rstrip() for line in after.partition("\n")[2].split("\n") if line.strip()]
    following = [line.strip() for line in below]
    if not following:
        return len(text)
    end = -len(left)
    lines = (left + text).split("\n")
    for number, line in enumerate(lines):
        rest = [other.strip() for other in lines[number:] if other.strip()]
        again = number > 0 and line.rstrip() == below[0] and _telling(line)
        if again or (_telling("".join(rest)) and rest == following[: len(rest)]):
            return max(end - 1, 0)  # the line break before it goes too
        end += len(line) + 1
    return len(text)


def whole_lines(text: str, kept: str) -> str:
    """Return a text that no end was found for without its last line, which breaks off, where there are others."""
    return text.removesuffix(kept).rpartition("\n")[0] or text


def cut_trailing_space(text: str, after: str) -> int:
    """Cut spaces and empty lines at the end, where the hole ends its line."""
    return len(text.rstrip()) if after[:1] in ("", "\n") else len(text)


def _telling(text: str) -> bool:
    """Tell whether a repetition of `text` can hardly be chance."""
    return sum(char.isalnum() for char in text) >= _TELLING
