"""Orders what lies around the cursor into context tokens.

Rule: `other | far suffix | far prefix | near suffix | near prefix`, from what changes least to what changes most.
Parts are cut at line breaks on a grid that is counted from the start of the prefix and from the end of the suffix, so
typing moves no border but every few hundred characters, and then only the near parts are encoded anew.

    context = lay_out(tokenizer, prefix, suffix, others=(), max_tokens=512)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffusion.healing import Edge, heal_left, heal_right
from diffusion.request import OTHER_TOKENS
from diffusion.tokenizer import EOF, FAR_PREFIX, FAR_SUFFIX, FILE, NEAR_PREFIX, NEAR_SUFFIX, OTHER, Tokenizer

# Borders in characters, caps in tokens; training shows the model parts of these sizes (train/batches.py). A cap does
# not depend on how full the other parts are: one that did would move the far prefix with every key typed.
PREFIX_GRID, NEAR_PREFIX_MIN, FAR_PREFIX_CELLS = 384, 96, 2
SUFFIX_GRID, NEAR_SUFFIX_MIN, FAR_SUFFIX_CELLS = 192, 96, 2
FAR_SUFFIX_TOKENS, NEAR_SUFFIX_TOKENS, NEAR_PREFIX_TOKENS = 64, 72, 160
MARKERS = 8  # at most: five parts, start of file, end of file, and one to spare
MIN_CONTEXT = OTHER_TOKENS + FAR_SUFFIX_TOKENS + NEAR_SUFFIX_TOKENS + NEAR_PREFIX_TOKENS + MARKERS


@dataclass(frozen=True)
class Context:
    """Token ids to encode, and the partial tokens that the cursor cut off at either side of the middle."""

    ids: tuple[int, ...]
    left: Edge
    right: Edge


def lay_out(tokenizer: Tokenizer, prefix: str, suffix: str, others: Sequence[str], max_tokens: int) -> Context:
    """Context of at most `max_tokens` (MIN_CONTEXT or more) tokens; the far prefix takes what the caps leave."""
    prefix, suffix = prefix.replace("\r\n", "\n"), suffix.replace("\r\n", "\n")
    left, right = heal_left(tokenizer, prefix), heal_right(tokenizer, suffix)
    prefix = prefix[: len(prefix) - len(left.text)]
    suffix = suffix[len(right.text) :]
    far_start, near_start = prefix_borders(prefix)
    near_end, far_end = suffix_borders(suffix)
    other = tokenizer.encode("\n".join(others))[-OTHER_TOKENS:]
    far_room = max_tokens - MIN_CONTEXT + (0 if other else OTHER_TOKENS)
    far_prefix = tokenizer.encode(prefix[far_start:near_start])
    near_prefix = tokenizer.encode(prefix[near_start:])[-NEAR_PREFIX_TOKENS:]
    near_suffix = tokenizer.encode(suffix[:near_end])[:NEAR_SUFFIX_TOKENS]
    far_suffix = tokenizer.encode(suffix[near_end:far_end])[:FAR_SUFFIX_TOKENS]
    if far_end == len(suffix):
        (far_suffix if far_end > near_end else near_suffix).append(EOF)
    file_start = [FILE] if far_start == 0 and len(far_prefix) <= far_room else []
    ids = (
        *([OTHER, *other] if other else []),
        *([FAR_SUFFIX, *far_suffix] if far_suffix else []),
        *(FAR_PREFIX, *file_start, *far_prefix[max(0, len(far_prefix) - far_room) :]),
        *(NEAR_SUFFIX, *near_suffix),
        *(NEAR_PREFIX, *near_prefix),
    )
    return Context(ids, left, right)


def line_break_before(text: str, at: int, reach: int) -> int:
    """Position of the last line break at or before `at`, at most `reach` back; `at` itself if there is none."""
    found = text.rfind("\n", max(0, at - reach), at + 1)
    return found if found >= 0 else at


def prefix_borders(prefix: str) -> tuple[int, int]:
    """Start of the far prefix and of the near prefix."""
    cell = max(0, (len(prefix) - NEAR_PREFIX_MIN) // PREFIX_GRID)
    starts = [line_break_before(prefix, i * PREFIX_GRID, PREFIX_GRID) for i in (max(0, cell - FAR_PREFIX_CELLS), cell)]
    return (0 if cell <= FAR_PREFIX_CELLS else starts[0]), (0 if cell == 0 else starts[1])


def suffix_borders(suffix: str) -> tuple[int, int]:
    """End of the near suffix and of the far suffix."""
    cell = max(0, (len(suffix) - NEAR_SUFFIX_MIN) // SUFFIX_GRID)
    ends = []
    for i in (cell, max(0, cell - FAR_SUFFIX_CELLS)):
        at = len(suffix) - i * SUFFIX_GRID
        found = suffix.find("\n", at, at + SUFFIX_GRID) if i else -1
        ends.append(found if found >= 0 else at)
    return ends[0], ends[1]
