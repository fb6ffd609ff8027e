"""The token ids that mean something to the engine: mask, end of a hole, and the markers of the context layout.

Rule: a value that travels with a model; nothing else in `diffusion` knows an id by number.

    OURS.mask, OURS.end
"""

from __future__ import annotations

from dataclasses import dataclass

NONE = -1  # a model has no such token


@dataclass(frozen=True)
class Vocabulary:
    """Token ids, NONE where a model has no such token.

    `mask`: a canvas row that is not decided. `end`: the end of a hole. `other`, `far_suffix`, `far_prefix`,
    `near_suffix` and `near_prefix` stand in front of the parts of the context, `file` in front of a file's first token
    and `eof` behind its last. `also_ends`: more tokens that end a hole where the model writes them. `middle`: what
    stands behind suffix and prefix where the canvas follows both; `prefix_first`: the prefix in front of the suffix.
    `expand`: one masked row is to become two.
    """

    mask: int = 0
    end: int = 1
    other: int = 2
    far_suffix: int = 3
    far_prefix: int = 4
    near_suffix: int = 5
    near_prefix: int = 6
    file: int = 7
    eof: int = 8
    also_ends: tuple[int, ...] = ()
    middle: int = NONE
    expand: int = NONE
    prefix_first: bool = False

    @property
    def marks(self) -> frozenset[int]:
        """Every id that there is."""
        ids = {value for value in vars(self).values() if type(value) is int and value != NONE}
        return frozenset(ids | set(self.also_ends))


OURS = Vocabulary()
# Of a tokenizer that we train; the order is the token id.
OUR_SPECIAL_TOKENS = (
    "<mask>", "<end>", "<other>", "<far_suffix>", "<far_prefix>", "<near_suffix>", "<near_prefix>", "<file>", "<eof>",
    *(f"<reserved_{i}>" for i in range(9, 16)),
)  # fmt: skip
