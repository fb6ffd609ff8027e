"""Token healing: a token that the cursor cuts is predicted again, and must start with what was typed of it.

Rule: the context ends, and goes on, at a border that the tokenizer would have chosen; the text between that border
and the cursor (an `Edge`) becomes a constraint: the canvas begins, or its hole ends, with a token that contains it.

    edge = heal_left(tokenizer, "import nu")   # Edge(" nu", tokens that begin with " nu")

Most words are one token there, and some are two of which the first ends amid what was typed: "interac" is "inter" and a
part of "active". That first one is the edge's `head`; the loop weighs it against the tokens that contain all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from diffusion.tokenizer import Tokenizer
from diffusion.vocabulary import NONE


@dataclass(frozen=True, eq=False)
class Edge:
    """Text cut off at the cursor, and the tokens (bool (vocab_size,)) that may stand there; None: no constraint.

    Instead of one of them, `head` may stand there (NONE: no token) and one of `after_head` behind it.
    """

    text: str
    allowed: np.ndarray | None
    head: int = NONE
    after_head: np.ndarray | None = None

    @property
    def as_one(self) -> Edge:
        """Without the head."""
        return Edge(self.text, self.allowed)


NO_EDGE = Edge("", None)


Known = dict[tuple[bytes, bool], "np.ndarray | None"]
MAX_KNOWN = 64  # of a tokenizer; each is an array as long as its vocabulary
_KNOWN: WeakKeyDictionary[Tokenizer, Known] = WeakKeyDictionary()  # forgotten with the tokenizer


def tokens_around(tokenizer: Tokenizer, part: bytes, at_start: bool) -> np.ndarray | None:
    """Tokens that begin (or end) with `part`; None unless one of them has more than that."""
    known = _KNOWN.setdefault(tokenizer, {})
    if (part, at_start) not in known:
        if len(known) >= MAX_KNOWN:
            known.clear()
        known[part, at_start] = _tokens_around(tokenizer, part, at_start)
    return known[part, at_start]


def _tokens_around(tokenizer: Tokenizer, part: bytes, at_start: bool) -> np.ndarray | None:
    """Look for them."""
    found = tokenizer.starting_with(part) if at_start else tokenizer.ending_with(part)
    return found if any(len(tokenizer.token_bytes[i]) > len(part) for i in np.flatnonzero(found)) else None


def heal_left(tokenizer: Tokenizer, prefix: str) -> Edge:
    """The partial token at the end of `prefix`.

    Indentation that the user (or the editor) already gave to the line is a decision, not a partial token; but where the
    tokenizer joins its last blank to the word behind it, that blank is given back.
    """
    line = prefix[prefix.rfind("\n") if "\n" in prefix else 0 :][-256:]
    pieces = tokenizer.pieces(line)
    if not pieces or pieces[-1].isdigit():
        return NO_EDGE
    if line[0] in "\r\n" and line != "\n" and line.isspace():
        return given_back(tokenizer, [line[-1].encode()]) if tokenizer.indent_joins_word else NO_EDGE
    return given_back(tokenizer, [tokenizer.token_bytes[i] for i in tokenizer.encode(pieces[-1])])


def given_back(tokenizer: Tokenizer, tokens: list[bytes]) -> Edge:
    """The longest end of `tokens` that some token goes on from."""
    for first in range(len(tokens)):
        part = b"".join(tokens[first:])
        allowed = tokens_around(tokenizer, part, True)
        text = decoded(part)
        if allowed is not None and text:
            return Edge(text, allowed, *head_of(tokenizer, part))
    return NO_EDGE


def head_of(tokenizer: Tokenizer, part: bytes) -> tuple[int, np.ndarray | None]:
    """The longest token that `part` begins with, and those that begin with the rest of it; (NONE, None) without any."""
    for end in range(len(part) - 1, 0, -1):
        head = tokenizer.id_of(part[:end])
        if head != NONE and (after := tokenizer.starting_with(part[end:])).any():
            return head, after
    return NONE, None


def heal_right(tokenizer: Tokenizer, suffix: str) -> Edge:
    """The partial token at the start of `suffix`."""
    piece = next(iter(tokenizer.pieces(suffix[:256])), "")
    if not piece or piece[0].isspace() or piece.isdigit():
        return NO_EDGE
    tokens = [tokenizer.token_bytes[i] for i in tokenizer.encode(piece)]
    for last in range(len(tokens), 0, -1):
        part = b"".join(tokens[:last])
        allowed = tokens_around(tokenizer, part, False)
        text = decoded(part)
        if allowed is not None and text:
            return Edge(text, allowed)
    return NO_EDGE


def decoded(part: bytes) -> str:
    """Text of whole UTF-8 characters, "" if `part` cuts one."""
    try:
        return part.decode("utf-8")
    except UnicodeDecodeError:
        return ""
