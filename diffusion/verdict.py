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
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from cuda_ext.reference import RowStats, gumbel, row_stats
from cuda_ext.rules import AFTER_HEAD, HISTORY, MAX_ROWS, Rule, Verdict, expand
from diffusion.canvas import Canvas, ended
from diffusion.model.config import ModelConfig
from diffusion.model.transformer import ContextCache
from diffusion.request import Draft, Start
from diffusion.stream import (
    Proposed,
    Stream,
    draft_looked_up,
    drafted_window,
    guessed,
    judged_draft,
    next_draft,
    weigh_canvas,
)


class Model(Protocol):
    """What the loop asks of a model: a `Transformer`, or one whose passes run with those of other threads."""

    @property
    def config(self) -> ModelConfig: ...  # noqa: D102

    def run(  # noqa: D102
        self, context: list[int], canvas: list[int], cache: ContextCache, decided: int = 0
    ) -> Tensor: ...

    def encode(self, ids: list[int], cache: ContextCache) -> Tensor: ...  # noqa: D102

    def logits(self, hidden: Tensor) -> Tensor: ...  # noqa: D102


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
            if stream.weighing:
                guess = weigh_head(model, cache, stream, policy, temperature, seed)
            elif crowded(stream, policy):
                encode_pending(model, cache, stream)
                continue
            else:
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


def one_pass(
    model: Model, cache: ContextCache, stream: Stream, policy: Verdict, temperature: float, seed: int
) -> np.ndarray:
    """Judge the draft, decide at least one row and draft anew; ids (C,) with a guess in every undecided row."""
    canvas, first = stream.canvas, stream.row
    judged, window = judged_draft(stream, policy), drafted_window(stream, policy)
    logits = run(model, cache, stream, judged, window)
    rows = [*range(first, first + len(judged) + 1), *range(first, first + len(window))]
    rules = judging_rules(canvas, first, judged) + canvas.rules()[first : first + len(window)]
    stats = statistics(logits, canvas, rows, rules, temperature, seed)
    if first == 0 and canvas.has_head and stats.end[0] > 0.5:  # likelier than any token that contains what was typed
        stream.weighing = True
        cache.ids.extend(stream.pending)
        stream.pending = []
        return np.where(canvas.masked, canvas.end_id, canvas.ids)
    accepted, decided = judge(stream, stats, judged)
    weigh_canvas(stream, policy, bool(window), bool(judged), accepted, len(decided))
    cache.ids.extend(stream.pending + judged[:accepted])
    stream.pending = decided[accepted:]
    proposed = Proposed.of(stats, len(judged) + 1, first)
    stream.drafted = next_draft(stream, policy, proposed, len(judged), accepted, decided)
    stream.skip_fixed()
    draft_looked_up(stream, policy)
    return guessed(canvas, proposed)


def run(model: Model, cache: ContextCache, stream: Stream, judged: list[int], window: list[int]) -> Tensor:
    """Logits (1 + len(judged) + len(window), V): of the last pending token's row, and of those behind it."""
    if not stream.pending:
        stream.pending = [cache.ids.pop()]  # the last token speaks again
    n_pending = len(stream.pending)
    with torch.no_grad():
        hidden = model.run(stream.pending + judged, window, cache, decided=n_pending)
        return model.logits(hidden[n_pending - 1 :]).cpu()


def weigh_head(
    model: Model, cache: ContextCache, stream: Stream, policy: Verdict, temperature: float, seed: int
) -> np.ndarray:
    """Decide the first row, ids (C,) with ends in all others: the head, or the best of the tokens that need none.

    The head has the chance that what was typed goes on behind it, against that of all those tokens together.
    """
    canvas, head = stream.canvas, stream.canvas.left.head
    logits = run(model, cache, stream, [head], [])
    rules = [canvas.rules()[0], Rule(forbid=0, ends=AFTER_HEAD)]
    stats = statistics(logits, canvas, [0, 1], rules, temperature, seed)
    with_head, without = stats.end[0] * stats.end[1], 1 - stats.end[0]
    is_head = bool(with_head > without)
    best = stats.probability[0] / without if without > 0 else stats.probability[0] * 0
    chance = (with_head if is_head else best * without) / (with_head + without)
    token = head if is_head else int(stats.best[0])
    stream.decide(token, float(chance))
    cache.ids.extend(stream.pending + [head] * is_head)
    stream.pending = [token] * (not is_head)
    stream.drafted = stream.drafted[1:] if is_head and stream.drafted[:1] == [head] else []
    stream.weighing = False
    stream.skip_fixed()
    draft_looked_up(stream, policy)
    return np.where(canvas.masked, canvas.end_id, canvas.ids)


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
        at_head = stream.row == 0 and stream.canvas.has_head  # there `end` is the head's chance
        ends = bool(stats.end[i] >= stats.probability[i]) and not at_head
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
