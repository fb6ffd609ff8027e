"""The stream of a verdict run: the text decided from the left, and what is drafted behind it.

Rule: tokens and statistics, no model. A draft is what was recalled, what the canvas says, or what is looked up; it is
what the next pass judges, never what is decided (`verdict.py`).

    stream = Stream(canvas, history); judged, window = judged_draft(stream, policy), drafted_window(stream, policy)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from cuda_ext.reference import RowStats, looked_up
from cuda_ext.rules import Verdict
from diffusion.canvas import Canvas
from diffusion.vocabulary import NONE

Drafter = Literal["start", "canvas", "lookup"]


@dataclass
class Stream:
    """The decided text behind the context, and where it stands on the canvas.

    `history`: the end of the context. `row`: the canvas row to be decided next; len(canvas.ids) when all are.
    `pending`: decided tokens whose keys and values are not in the cache. `drafted`: tokens proposed for the rows from
    `row` on; `drafter`: by whom. `in_vain`: passes since the canvas drafted a token that was accepted. `resting`:
    tokens to be decided before the canvas comes back; 0: it is there. `weighing`: the next pass looks at what would
    follow the head of the partial token left of the cursor.
    """

    canvas: Canvas
    history: list[int]
    row: int = 0
    pending: list[int] = field(default_factory=list)
    drafted: list[int] = field(default_factory=list)
    drafter: Drafter = "start"
    in_vain: int = 0
    resting: int = 0
    weighing: bool = False

    def skip_fixed(self) -> None:
        """Move `row` over fixed text, which is decided, to the next row of a hole."""
        while self.row < len(self.canvas.ids) and self.canvas.fixed[self.row]:
            self.pending.append(int(self.canvas.ids[self.row]))
            self.row += 1

    @property
    def stop(self) -> int:
        """The row behind the hole of `row`."""
        return next((stop for start, stop in self.canvas.holes if start <= self.row < stop), self.row)

    @property
    def done(self) -> bool:
        """Whether every hole is decided."""
        return self.row >= len(self.canvas.ids)

    def decide(self, token: int, probability: float) -> None:
        """Write `token` at `row`; the end settles the rest of its hole."""
        ended = token == self.canvas.end_id
        last = self.stop if ended else self.row + 1
        ids = self.canvas.ids.copy()
        ids[self.row : last] = token
        stop = self.stop
        self.canvas.write(ids, np.full(len(ids), probability, dtype=np.float32))
        closed = self.row + 1 < stop and self.canvas.ids[self.row + 1] == self.canvas.end_id
        self.row = stop if closed else last


def judged_draft(stream: Stream, policy: Verdict) -> list[int]:
    """The drafted tokens that the next pass judges; there is a row behind them in the hole."""
    return stream.drafted[: min(policy.judge_rows, stream.stop - stream.row - 1)]


def drafted_window(stream: Stream, policy: Verdict) -> list[int]:
    """What the canvas holds from `stream.row` on in this pass: the draft, then masks; [] where there is no canvas."""
    if stream.canvas.mask_id == NONE or stream.resting:
        return []
    window: list[int] = stream.canvas.ids[stream.row : stream.row + policy.canvas_rows].tolist()
    known = stream.drafted[: min(len(window), stream.stop - stream.row)]
    return known + window[len(known) :]


@dataclass(frozen=True)
class Proposed:
    """What the canvas rows from `first` on say, each (W,): token, probability, whether the hole rather ends there."""

    first: int
    best: list[int]
    probability: list[float]
    ends: list[bool]

    @classmethod
    def of(cls, stats: RowStats, start: int, first: int) -> Proposed:
        """From the statistics of the canvas rows, which are those from `start` on."""
        best, probability = stats.best[start:], stats.probability[start:]
        return cls(first, best.tolist(), probability.tolist(), (stats.end[start:] >= probability).tolist())


def next_draft(
    stream: Stream, policy: Verdict, proposed: Proposed, n_judged: int, accepted: int, decided: list[int]
) -> list[int]:
    """Tokens for the rows from `stream.row` on: the rest of the draft as long as it holds, else what the canvas says.

    The canvas's word counts where it says what was decided last, for the rows behind stand on it.
    """
    if stream.row == stream.stop or not decided or len(decided) != stream.row - proposed.first:
        return []
    rest = stream.drafted[n_judged:]
    if accepted == n_judged and rest and rest[0] == decided[-1]:
        return rest[1:]
    stream.drafter = "canvas"
    last, stop = len(decided) - 1, min(len(proposed.best), stream.stop - proposed.first)
    if last >= stop or proposed.ends[last] or proposed.best[last] != decided[-1]:
        return []
    tokens = []
    for i in range(last + 1, stop):
        if proposed.ends[i] or proposed.probability[i] < policy.draft_above:
            break
        tokens.append(proposed.best[i])
    return tokens


def draft_looked_up(stream: Stream, policy: Verdict) -> None:
    """Where nobody drafts anything, draft what is looked up."""
    if stream.drafted or not policy.look_up or stream.done:
        return
    ids = stream.canvas.ids[: stream.row]
    decided = ids[stream.canvas.fixed[: stream.row] | (ids != stream.canvas.end_id)].tolist()
    stream.drafted = looked_up(stream.history + decided, policy.look_up)[: policy.judge_rows]
    if stream.drafted:
        stream.drafter = "lookup"


def weigh_canvas(
    stream: Stream, policy: Verdict, has_window: bool, has_judged: bool, accepted: int, n_decided: int
) -> None:
    """Whether the canvas goes on.

    A pass is in vain where it accepts none of the canvas's tokens and judges no first draft.
    """
    if stream.drafter == "canvas" and accepted:
        stream.in_vain = stream.resting = 0
    elif has_window and (stream.drafter != "start" or not has_judged):
        stream.in_vain += 1
    stream.resting = max(0, stream.resting - n_decided)
    if policy.patience and stream.in_vain >= policy.patience:
        stream.in_vain, stream.resting = 0, policy.rest


def guessed(canvas: Canvas, proposed: Proposed) -> np.ndarray:
    """Ids (C,): undecided rows hold what the canvas says up to where it would end the hole, ends behind."""
    ids = np.where(canvas.masked, canvas.end_id, canvas.ids)
    for start, stop in canvas.holes:
        for row in range(start, stop):
            at = row - proposed.first
            if canvas.masked[row] and 0 <= at < len(proposed.best):
                if proposed.ends[at]:
                    break
                ids[row] = proposed.best[at]
    return ids
