"""The layout of checkpoints that see everything: one text, `[begin] prefix | canvas | suffix [end]`.

Rule: nothing of such a context can be kept exactly from one pass to the next, since each of its rows sees the canvas.
Every pass reads all rows anew (refresh 1). What does not fit is cut at line breaks, far from the cursor.

    context = lay_out_in_place(tokenizer, 2048, prefix, suffix); context.ids, context.after
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cuda_ext.rules import MAX_ROWS
from diffusion.healing import NO_EDGE, heal_left
from diffusion.layout import Context
from diffusion.tokenizer import Tokenizer
from diffusion.vocabulary import NONE

MOST_ROWS = 2048  # of a pass, canvas included: what these families were trained on
SUFFIX_SHARE = 4  # one token in so many is the suffix's, where the prefix would take all
CHARS_A_TOKEN = 16  # more text than that per token is not looked at


@dataclass(eq=False)
class Surroundings:
    """Where another model's cache would be: the tokens in front of the canvas, and those behind it."""

    ids: list[int] = field(default_factory=list)
    after: tuple[int, ...] = ()

    def keep(self, n_tokens: int) -> None:
        """Forget everything behind the first `n_tokens` tokens."""
        del self.ids[n_tokens:]


def lay_out_in_place(tokenizer: Tokenizer, max_rows: int, prefix: str, suffix: str) -> Context:
    """What stands in front of the canvas and behind it, at most `max_rows` tokens with the largest canvas."""
    prefix, suffix = prefix.replace("\r\n", "\n"), suffix.replace("\r\n", "\n")
    vocabulary, room = tokenizer.vocabulary, max_rows - MAX_ROWS - 2
    left = heal_left(tokenizer, prefix)
    prefix = prefix[: len(prefix) - len(left.text)]
    before = tokenizer.encode(prefix[-room * CHARS_A_TOKEN :])
    after = tokenizer.encode(suffix[: room * CHARS_A_TOKEN])
    for_suffix = max(room // SUFFIX_SHARE, room - len(before))
    whole = len(after) <= for_suffix
    after = after if whole else until_line(tokenizer, after[:for_suffix])
    if len(before) > room - len(after):
        before = from_line(tokenizer, before[-(room - len(after)) :])
    begin = [token for token in (vocabulary.file,) if token != NONE]
    end = [token for token in (vocabulary.eof,) if token != NONE and whole]
    ids = (*begin, *before) or (vocabulary.end,)  # a canvas that is shifted reads the row before it
    return Context(ids, left, NO_EDGE, (*after, *end))


def from_line(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    """`ids` from the first line that begins in their first quarter; all of them if none does."""
    for at in range(len(ids) // 4):
        if tokenizer.token_bytes[ids[at]].endswith(b"\n"):
            return ids[at + 1 :]
    return ids


def until_line(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    """`ids` up to the last line that ends in their last quarter; all of them if none does."""
    for at in range(len(ids) - 1, len(ids) * 3 // 4, -1):
        if b"\n" in tokenizer.token_bytes[ids[at]]:
            return ids[: at + 1]
    return ids
