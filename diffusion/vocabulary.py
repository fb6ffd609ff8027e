"""The token ids that mean something to the engine: mask, end of a hole, and the markers of the context layout.

Rule: a value that travels with a model; nothing else in `diffusion` knows an id by number.

    OURS.mask, OURS.specials
"""

from __future__ import annotations

from dataclasses import dataclass, field

RESERVED = tuple(f"<reserved_{i}>" for i in range(9, 16))


@dataclass(frozen=True)
class Vocabulary:
    """Token ids; None where a model has no such token.

    `mask`: a canvas row that is not decided (-1: the model has no such token). `end`: the end of a hole. `other`,
    `far_suffix`, `far_prefix`, `near_suffix` and `near_prefix` stand in front of the parts of the context, `file` in
    front of a file's first token and `eof` behind its last. `also_ends`: more tokens that end a hole where the model
    writes them. `specials`: every id that is never text, the ones above included.
    """

    mask: int = 0
    end: int = 1
    other: int | None = 2
    far_suffix: int | None = 3
    far_prefix: int | None = 4
    near_suffix: int | None = 5
    near_prefix: int | None = 6
    file: int | None = 7
    eof: int | None = 8
    also_ends: tuple[int, ...] = ()
    specials: frozenset[int] = field(default=frozenset(range(16)))


OURS = Vocabulary()
# Of a tokenizer that we train; the order is the token id.
OUR_SPECIAL_TOKENS = (
    "<mask>", "<end>", "<other>", "<far_suffix>", "<far_prefix>", "<near_suffix>", "<near_prefix>", "<file>", "<eof>",
    *RESERVED,
)  # fmt: skip
