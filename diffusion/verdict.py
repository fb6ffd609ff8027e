"""Draft and verdict in torch: the canvas drafts many tokens at once, the causal rows of the same weights judge them.

Rule: a generator of drafts, one forward pass between two of them; cancellation is asked before every forward pass.
What is decided is what token-by-token decoding of the same weights decides, by construction: a token is written only
where a causal row, which sees decided text alone, says it. With no canvas and nothing to judge this *is* token by
token. `backends/native.py` runs the same loop as one native call.

    for draft in decode(model, cache, canvas, Verdict(), cancelled=lambda: False): ...

Speculative decoding (arXiv 2211.17192) whose draft model is the denoiser of block diffusion (2503.09573) and, where
that says nothing, a repetition of what the text ended with before (prompt lookup; as arXiv 2304.04487).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from cuda_ext.reference import RowStats, gumbel, looked_up, row_stats
from cuda_ext.rules import HISTORY, MAX_ROWS, Rule, Verdict, expand
from diffusion.canvas import Canvas, ended
from diffusion.model.config import ModelConfig
from diffusion.model.transformer import ContextCache
from diffusion.request import Draft, Start
from diffusion.vocabulary import NONE

Drafter = Literal["start", "canvas", "lookup"]


class Model(Protocol):
    """What the loop asks of a model: a `Transformer`, or one whose passes run with those of other threads."""

    @property
    def config(self) -> ModelConfig: ...  # noqa: D102

    def run(  # noqa: D102
        self, context: list[int], canvas: list[int], cache: ContextCache, decided: int = 0
    ) -> Tensor: ...

    def encode(self, ids: list[int], cache: ContextCache) -> Tensor: ...  # noqa: D102

    def logits(self, hidden: Tensor) -> Tensor: ...  # noqa: D102


@dataclass
class Stream:
    """The decided text behind the context, and where it stands on the canvas.

    `history`: the end of the context. `row`: the canvas row to be decided next; len(canvas.ids) when all are.
    `pending`: decided tokens whose keys and values are not in the cache. `drafted`: tokens proposed for the rows from
    `row` on; `drafter`: by whom. `in_vain`: passes since the canvas drafted a token that was accepted. `resting`:
    tokens to be decided before the canvas comes back; 0: it is there.
    """

    canvas: Canvas
    history: list[int]
    row: int = 0
    pending: list[int] = field(default_factory=list)
    drafted: list[int] = field(default_factory=list)
    drafter: Drafter = "start"
    in_vain: int = 0
    resting: int = 0

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


def decode(
    model: Model,
    cache: ContextCache,
    canvas: Canvas,
    policy: Verdict,
    cancelled: Callable[[], bool],
    deadline_ms: float | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    stop_below: float = 0.0,
    start: Start | None = None,
) -> Iterator[Draft]:
    """Drafts of `canvas` after each forward pass, the last one `done`; stops without one when cancelled.

    `canvas` is blank; what `start` says of its first hole is the first draft. At the deadline it ends with what is
    decided, the rest a guess. It ends undecided, too, where what is decided of the first hole is right with a chance
    below `stop_below`. The cache keeps the decided tokens behind the context, as far as they went through the model.
    """
    if model.config.context_sees != 1 or not cache.ids:
        raise ValueError("only a model whose context is causal, and not empty, judges drafts")
    started = time.perf_counter()
    stream = Stream(canvas, cache.ids[-HISTORY:])
    stream.skip_fixed()
    stream.drafted = canvas.proposed_by(start) if start else []
    draft_looked_up(stream, policy)
    guess = np.where(canvas.masked, canvas.end_id, canvas.ids)
    passes = 0
    while not cancelled():
        late = deadline_ms is not None and (time.perf_counter() - started) * 1000 >= deadline_ms
        if not late:
            passes += 1
            if crowded(stream, policy):
                encode_pending(model, cache, stream)
                continue
            guess = one_pass(model, cache, stream, policy, temperature, seed)
        done = late or stream.done or canvas.is_unsure(stop_below)
        reason = ended(late and not stream.done, not stream.done) if done else ""
        yield canvas.draft(guess, passes, passes, reason)
        if done:
            return


def crowded(stream: Stream, policy: Verdict) -> bool:
    """Whether fixed text leaves the next pass no room for all its rows."""
    judged, window = judged_draft(stream, policy), drafted_window(stream, policy)
    return len(stream.pending) + len(judged) + len(window) > MAX_ROWS


def encode_pending(model: Model, cache: ContextCache, stream: Stream) -> None:
    """A pass of pending tokens alone, all but the last."""
    with torch.no_grad():
        model.encode(stream.pending[:-1], cache)
    del stream.pending[:-1]


def judged_draft(stream: Stream, policy: Verdict) -> list[int]:
    """The drafted tokens that the next pass judges; there is a row behind them in the hole."""
    return stream.drafted[: min(policy.judge_rows, stream.stop - stream.row - 1)]


def one_pass(
    model: Model, cache: ContextCache, stream: Stream, policy: Verdict, temperature: float, seed: int
) -> np.ndarray:
    """Judge the draft, decide at least one row and draft anew; ids (C,) with a guess in every undecided row."""
    canvas, first = stream.canvas, stream.row
    judged, window = judged_draft(stream, policy), drafted_window(stream, policy)
    if not stream.pending:
        stream.pending = [cache.ids.pop()]  # the last token speaks again
    n_pending = len(stream.pending)
    with torch.no_grad():
        hidden = model.run(stream.pending + judged, window, cache, decided=n_pending)
        logits = model.logits(hidden[n_pending - 1 :]).cpu()
    rows = [*range(first, first + len(judged) + 1), *range(first, first + len(window))]
    rules = judging_rules(canvas, first, judged) + canvas.rules()[first : first + len(window)]
    stats = statistics(logits, canvas, rows, rules, temperature, seed)
    accepted, decided = judge(stream, stats, judged)
    weigh_canvas(stream, policy, bool(window), bool(judged), accepted, len(decided))
    cache.ids.extend(stream.pending + judged[:accepted])
    stream.pending = decided[accepted:]
    proposed = Proposed.of(stats, len(judged) + 1, first)
    stream.drafted = next_draft(stream, policy, proposed, len(judged), accepted, decided)
    stream.skip_fixed()
    draft_looked_up(stream, policy)
    return guessed(canvas, proposed)


def drafted_window(stream: Stream, policy: Verdict) -> list[int]:
    """What the canvas holds from `stream.row` on in this pass: the draft, then masks; [] where there is no canvas."""
    if stream.canvas.mask_id == NONE or stream.resting:
        return []
    window: list[int] = stream.canvas.ids[stream.row : stream.row + policy.canvas_rows].tolist()
    known = stream.drafted[: min(len(window), stream.stop - stream.row)]
    return known + window[len(known) :]


def judging_rules(canvas: Canvas, first: int, judged: list[int]) -> list[Rule]:
    """The rules of the judged tokens' rows and of the row behind them, as token by token each would have it."""
    ids, rules = canvas.ids.copy(), []
    for row, token in enumerate([*judged, canvas.mask_id], first):
        rules.append(canvas.rules(ids)[row])
        ids[row] = token
    return rules


def statistics(
    logits: Tensor, canvas: Canvas, rows: list[int], rules: list[Rule], temperature: float, seed: int
) -> RowStats:
    """Statistics of `logits` (R, V) under `rules`; a sample depends on the seed and on the canvas row alone."""
    forbidden, ends = (torch.from_numpy(mask) for mask in expand(rules, canvas.flags))
    logits = logits.masked_fill(forbidden, -torch.inf)
    if temperature > 0:  # Gumbel-max: sampling by argmax
        logits = logits / temperature + gumbel(seed, 0, np.array(rows), logits.shape[1])
    return row_stats(logits, torch.zeros(len(logits), dtype=torch.int64), ends)


def judge(stream: Stream, stats: RowStats, judged: list[int]) -> tuple[int, list[int]]:
    """Decide rows from the left: those drafted tokens that the causal rows say, and one more; (accepted, tokens)."""
    decided: list[int] = []
    first = stream.row
    for i, draft in enumerate([*judged, None]):
        ends = bool(stats.end[i] >= stats.probability[i])
        token = stream.canvas.end_id if ends else int(stats.best[i])
        stream.decide(token, float(stats.end[i] if ends else stats.probability[i]))
        if ends:
            return i, decided
        decided.append(token)
        if token != draft:
            return i, decided
        if stream.row > first + i + 1:  # the token closed its line
            return i + 1, decided
    raise AssertionError("the row behind the draft is no draft")


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
