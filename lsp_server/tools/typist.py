"""The user of the replay: which keys they press to write a text, typos and auto-closed brackets included.

Rule: pure, deterministic for a seed. The document is `before + pending + after`; the cursor stands behind `before`;
`pending` are the closers that the editor put there.

    typist = Typist("", "f(x)", "", random.Random(0), auto_close=True)
    for key in typist.keys(): typist.splice(*key[:4])   # and look at typist.text
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import NamedTuple

from lsp_server.text.brackets import OPENERS

QUOTES = "\"'"
PAIRS = {**OPENERS, **{quote: quote for quote in QUOTES}}
TYPO_SHARE = 0.02
MIN_TELLING_CHARS = 3  # a suggestion of less is not worth a key


class Key(NamedTuple):
    """One key pressed: the edit (start, stop, new text), what of that was typed, and why ("typo", "undo" or "")."""

    start: int
    stop: int
    new: str
    typed: str
    why: str = ""


class Typist:
    """A document while somebody writes `truth` into it."""

    def __init__(self, before: str, truth: str, after: str, rng: random.Random, auto_close: bool) -> None:
        self.goal = before + truth
        self.before, self.pending, self.after = before, "", after
        self.rng, self.auto_close = rng, auto_close

    @property
    def text(self) -> str:
        """The document."""
        return self.before + self.pending + self.after

    def keys(self) -> Iterator[Key]:
        """The keys, until all of the text stands there; the document must be edited as they say."""
        while len(self.before) < len(self.goal):
            if self.rng.random() < TYPO_SHARE:
                at = len(self.before)
                yield Key(at, at, wrong := self.rng.choice("qxz"), wrong, "typo")
                yield Key(at, at + 1, "", "", "undo")
            yield self.press()

    def press(self) -> Key:
        """The next right key. Enter brings the indentation of the next line, closers may be typed over.

        Enter between a brace and the one that the editor put there gives that a line of its own; the arrow key that
        leaves the block counts as its Enter.
        """
        new, at = self.next_text(), len(self.before)
        if self.pending.startswith(new):
            return Key(at, at + len(new), new, new)
        if new.startswith("\n") and self.before.endswith("{") and self.pending.startswith("}"):
            line = self.before.rpartition("\n")[2]
            return Key(at, at, f"{new}\n{line[: len(line) - len(line.lstrip())]}", new)
        closer = PAIRS.get(new, "") if self.auto_close and self.opens(new) else ""
        return Key(at, at, new + closer, new)

    def opens(self, char: str) -> bool:
        """Whether an editor closes this bracket or quote at once."""
        following = (self.pending + self.after)[:1]
        line = self.before.rpartition("\n")[2]
        closes = char in QUOTES and (line[-1:].isalnum() or line.count(char) % 2 == 1)
        return char in PAIRS and (not following or following in " \n)]}") and not closes

    def next_text(self) -> str:
        """What the next right key brings: one character, or a line break with its indentation."""
        rest = self.goal[len(self.before) :]
        if not rest.startswith("\n"):
            return rest[:1]
        return rest[: len(rest) - len(rest.lstrip())]

    def splice(self, start: int, stop: int, new: str, typed: str) -> None:
        """Edit the document; the cursor stands behind `typed`, the beginning of `new`."""
        over = max(0, stop - len(self.before))
        behind = self.pending + self.after
        self.before = self.before[:start] + typed
        self.pending = new[len(typed) :] + self.pending[over:]
        self.after = behind[max(over, len(behind) - len(self.after)) :]

    def agrees(self, shown: str) -> bool:
        """Whether a suggestion is right to its end, and more than a bracket."""
        telling = sum(char.isalnum() for char in shown) >= MIN_TELLING_CHARS
        return telling and self.goal.startswith(self.before + shown)

    def right_chars(self, shown: str) -> int:
        """Characters of a suggestion that are right before its first error."""
        return len(os.path.commonprefix([shown, self.goal[len(self.before) :]]))

    def point(self, offset: int) -> dict[str, int]:
        """The position of an offset, in code points."""
        head = self.text[:offset]
        return {"line": head.count("\n"), "character": len(head) - head.rfind("\n") - 1}

    def offset(self, point: dict[str, int]) -> int:
        """The offset of a position."""
        lines = self.text.split("\n")
        return sum(len(line) + 1 for line in lines[: point["line"]]) + point["character"]
