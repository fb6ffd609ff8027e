"""What training asks of the model, in numbers: canvases of which sizes, how much of them masked, and what it weighs.

Rule: the defaults are what docs/training-log.md found no reason to change; whatever is not here is not a choice.

    Packer(data, rows=640, seed=1, recipe=Recipe(wrong_token_share=0.0)).batch(4)
"""

from __future__ import annotations

from dataclasses import dataclass

LARGEST_CANVAS = 64  # rows


@dataclass(frozen=True)
class Recipe:
    """Shares are of 1. Losses: `ar_weight` is that of the next-token loss beside 1 of the masked-diffusion loss.

    Sizes: a branch holds canvases of `canvas_rows` (drawn by `canvas_shares` unless the hole needs more) up to
    `canvas_budget` rows in all. `same_cut_share` of them begin where the first does.
    What is masked, by share of canvases:
        all_masked_share     every row
        from_left_share      every row from a random one of its text on
        length_known_share   a random number of its text rows
        the rest             a random number of its rows
    Weights: masked rows weigh 1 in all, or 1 each with `flat_weight`; `row_decay` below 1 replaces both. Text in front
    of a hole weighs `context_weight` in the next-token loss.
    Starts: `recall_share` of the holes start from recalled text, where the file has any, and `doubted_share` of those
    have some of it masked again. `own_draft_share` of the canvases hold what the model itself reveals.
    Places: a branch begins in the first `reach_share` of a sequence; its near parts have `near_mean` tokens on average
    (0: uniform).
    """

    ar_weight: float = 2.0
    canvas_rows: tuple[int, ...] = (16, 32, LARGEST_CANVAS)
    canvas_shares: tuple[float, ...] = (0.5, 0.35, 0.15)
    canvas_budget: int = 112
    same_cut_share: float = 0.35
    all_masked_share: float = 0.3
    from_left_share: float = 0.25
    length_known_share: float = 0.2
    complement_share: float = 0.3
    two_holes_share: float = 0.1
    wrong_token_share: float = 0.06
    revealed_weight: float = 0.1
    flat_weight: bool = False
    recall_share: float = 0.35
    doubted_share: float = 0.5
    own_draft_share: float = 0.0
    context_weight: float = 1.0
    row_decay: float = 1.0
    reach_share: float = 0.1
    near_mean: float = 0.0


VERDICT = Recipe(
    canvas_rows=(8, 12, 16, 24, 32, LARGEST_CANVAS), canvas_shares=(0.1, 0.2, 0.3, 0.2, 0.15, 0.05), canvas_budget=60,
    all_masked_share=0.4, from_left_share=0.45, length_known_share=0.0, complement_share=0.0, wrong_token_share=0.0,
    recall_share=0.1, context_weight=0.5, row_decay=0.85, reach_share=0.12, near_mean=45.0, ar_weight=1.0,
    two_holes_share=0.05,
)  # fmt: skip  # of a causal base that learns to draft: rows count as far as a verdict reaches
CHECKS = Recipe(
    recall_share=0.0, from_left_share=0.0, length_known_share=0.35
)  # of held-out batches: losses of all versions stay comparable
