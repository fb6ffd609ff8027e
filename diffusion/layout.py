"""Orders what lies around the cursor into context tokens.

Rule: `other | far suffix | far prefix | near suffix | near prefix`, from what changes least to what changes most.
Parts are cut at line breaks. Cut points lie on a grid, counted from the start of the prefix and from the end of the
suffix, so typing rarely moves them and the cached context stays valid.

    context = lay_out(tokenizer, Layout.of(512), prefix, suffix, others=())
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from diffusion.healing import Edge, heal_left, heal_right
from diffusion.tokenizer import Tokenizer
from diffusion.vocabulary import NONE

MARKERS = 8  # at most: five parts, start of file, end of file, and one to spare
SMALLEST = 512  # tokens of context that the budgets below are made for


@dataclass(frozen=True)
class Layout:
    """Borders in characters, caps in tokens; training shows the model parts of these sizes (train/batches.py).

    A cap does not depend on how full the other parts are: one that did would move the far prefix with every key typed.
    `max_context`: tokens in all; the far prefix takes what the caps leave.
    """

    max_context: int = 512
    prefix_grid: int = 384
    near_prefix_min: int = 96
    far_prefix_cells: int = 2
    suffix_grid: int = 192
    near_suffix_min: int = 96
    far_suffix_cells: int = 2
    other_tokens: int = 64
    far_suffix_tokens: int = 64
    near_suffix_tokens: int = 72
    near_prefix_tokens: int = 160

    @classmethod
    def of(cls, max_context: int) -> Layout:
        """Budgets that are the same shares of any `max_context`; ValueError if that is less than SMALLEST."""
        if max_context < SMALLEST:
            raise ValueError(f"max_context {max_context} is less than {SMALLEST} tokens")
        sizes = {name: size * max_context // SMALLEST for name, size in asdict(cls()).items() if "cells" not in name}
        return cls(**sizes)

    @property
    def capped(self) -> int:
        """Tokens of everything but the far prefix, at most."""
        return self.other_tokens + self.far_suffix_tokens + self.near_suffix_tokens + self.near_prefix_tokens + MARKERS


@dataclass(frozen=True)
class Context:
    """Token ids to encode, and the partial tokens that the cursor cut off at either side of the middle.

    `after`: tokens behind the canvas, for models that see everything (`in_place.py`).
    """

    ids: tuple[int, ...]
    left: Edge
    right: Edge
    after: tuple[int, ...] = ()


def lay_out(tokenizer: Tokenizer, layout: Layout, prefix: str, suffix: str, others: Sequence[str]) -> Context:
    """Context of at most `layout.max_context` tokens."""
    prefix, suffix = prefix.replace("\r\n", "\n"), suffix.replace("\r\n", "\n")
    left, right = heal_left(tokenizer, prefix), heal_right(tokenizer, suffix)
    prefix = prefix[: len(prefix) - len(left.text)]
    suffix = suffix[len(right.text) :]
    far_start, near_start = prefix_borders(layout, prefix)
    near_end, far_end = suffix_borders(layout, suffix)
    ids = tokenizer.vocabulary
    if ids.near_suffix == NONE:  # without a marker in front, a suffix would read as what comes before the prefix
        near_end = far_end = 0
    other = tokenizer.encode("\n".join(others))[-layout.other_tokens :]
    far_room = layout.max_context - layout.capped + (0 if other else layout.other_tokens)
    far_prefix = tokenizer.encode(prefix[far_start:near_start])
    near_prefix = tokenizer.encode(prefix[near_start:])[-layout.near_prefix_tokens :]
    near_suffix = tokenizer.encode(suffix[:near_end])[: layout.near_suffix_tokens]
    far_suffix = tokenizer.encode(suffix[near_end:far_end])[: layout.far_suffix_tokens]
    if far_end == len(suffix):
        (far_suffix if far_end > near_end else near_suffix).append(ids.eof)
    file_start = [ids.file] if far_start == 0 and len(far_prefix) <= far_room else []
    parts = (
        *([ids.other, *other] if other else []),
        *([ids.far_suffix, *far_suffix] if far_suffix else []),
        *(ids.far_prefix, *file_start, *far_prefix[max(0, len(far_prefix) - far_room) :]),
        *(ids.near_suffix, *near_suffix),
        *(ids.near_prefix, *near_prefix),
    )
    known = tuple(token for token in parts if token != NONE)
    return Context(known or (ids.end,), left, right)  # a text without a token yet: what stands between two texts


def line_break_before(text: str, at: int, reach: int) -> int:
    """Position of the last line break at or before `at`, at most `reach` back; `at` itself if there is none."""
    found = text.rfind("\n", max(0, at - reach), at + 1)
    return found if found >= 0 else at


def prefix_borders(layout: Layout, prefix: str) -> tuple[int, int]:
    """Start of the far prefix and of the near prefix."""
    grid, cells = layout.prefix_grid, layout.far_prefix_cells
    cell = max(0, (len(prefix) - layout.near_prefix_min) // grid)
    starts = [line_break_before(prefix, i * grid, grid) for i in (max(0, cell - cells), cell)]
    return (0 if cell <= cells else starts[0]), (0 if cell == 0 else starts[1])


def suffix_borders(layout: Layout, suffix: str) -> tuple[int, int]:
    """End of the near suffix and of the far suffix."""
    grid = layout.suffix_grid
    cell = max(0, (len(suffix) - layout.near_suffix_min) // grid)
    ends = []
    for i in (cell, max(0, cell - layout.far_suffix_cells)):
        at = len(suffix) - i * grid
        found = suffix.find("\n", at, at + grid) if i else -1
        ends.append(found if found >= 0 else at)
    return ends[0], ends[1]
