"""The denoising loop in torch: predict, choose, write, until nothing is masked in front of every hole's end.

Rule: a generator of drafts, one forward pass between two of them; cancellation is asked before every forward pass.
The operators are those of `cuda_ext.reference`; this file only strings them together. `backends/native.py` runs the
same loop as one native call.

    for draft in denoise(model, cache, canvas, Policy(), cancelled=lambda: False): ...
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from cuda_ext.reference import RowStats, choose, first_ends, gumbel, revise, row_stats
from cuda_ext.rules import Policy, expand
from diffusion.canvas import Canvas, ended
from diffusion.in_place import Surroundings
from diffusion.model.transformer import ContextCache, Transformer
from diffusion.request import Draft


def denoise(
    model: Transformer,
    cache: ContextCache | Surroundings,
    canvas: Canvas,
    policy: Policy,
    cancelled: Callable[[], bool],
    deadline_ms: float | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    stop_below: float = 0.0,
) -> Iterator[Draft]:
    """Drafts of `canvas` after each denoising step, the last one `done`; stops without one when cancelled.

    At the deadline, or at `policy.max_steps`, one last step decides everything that is left. It ends undecided where
    what it decided first is right with a chance below `stop_below`.
    """
    started = time.perf_counter()
    doubted_before = np.zeros_like(canvas.fixed)
    revisions_left = policy.max_revisions
    step = 0
    while not cancelled():
        step += 1
        late = deadline_ms is not None and (time.perf_counter() - started) * 1000 >= deadline_ms
        stats = predict(model, cache, canvas, temperature, seed, step)
        last = late or step >= policy.max_steps
        doubted = np.zeros_like(canvas.fixed)
        ids, masked = torch.from_numpy(canvas.ids), torch.from_numpy(canvas.masked)
        if last:
            written = guess(canvas, stats)
        else:
            left = policy.max_steps - step + 1
            written = choose(stats, ids, masked, canvas.holes, canvas.end_id, policy.threshold, left).numpy()
            revisable = torch.from_numpy(canvas.revealed & ~doubted_before)
            doubted = revise(stats, revisable, policy.revise_below, revisions_left).numpy()
            doubted_before |= doubted
            revisions_left -= int(doubted.sum())
        canvas.write(written, np.where(written == canvas.end_id, stats.end.numpy(), stats.probability.numpy()))
        if not last:
            taken_back = canvas.end_to_take_back()
            if taken_back is not None:
                doubted[taken_back] = True
            canvas.remask(doubted)
        undecided = bool(canvas.masked.any())
        done = last or not undecided or canvas.is_unsure(stop_below)
        reason = ended(late, undecided) if done else ""
        yield canvas.draft(guess(canvas, stats), step, step, reason)
        if done:
            return


def predict(
    model: Transformer, cache: ContextCache | Surroundings, canvas: Canvas, temperature: float, seed: int, step: int
) -> RowStats:
    """Statistics of every row of the canvas; rows that left it count as certain ends. One forward pass."""
    n_active = canvas.n_active
    if isinstance(cache, Surroundings) and n_active > 1 and canvas.ids[n_active - 1] == canvas.end_id:
        n_active -= 1  # the suffix joins the text: no end stands between them
    ids = torch.from_numpy(canvas.ids[:n_active])
    with torch.no_grad():
        hidden = model.denoise(ids[None], cache)
        logits = model.logits(hidden[0]).cpu()
    forbidden, ends = (torch.from_numpy(mask) for mask in expand(canvas.rules()[:n_active], canvas.flags))
    logits = logits.masked_fill(forbidden, -torch.inf)
    if temperature > 0:  # Gumbel-max: sampling by argmax, a function of the seed alone
        logits = logits / temperature + gumbel(seed, step, np.arange(len(logits)), logits.shape[1])
    return pad_with_ends(row_stats(logits, ids, ends), len(canvas.ids), canvas.end_id)


def pad_with_ends(stats: RowStats, n_rows: int, end_id: int) -> RowStats:
    """Statistics for `n_rows` rows, those behind the given ones being certain ends."""

    def pad(values: Tensor, fill: float) -> Tensor:
        return torch.cat((values, values.new_full((n_rows - len(values),), fill)))

    return RowStats(
        pad(stats.best, end_id), pad(stats.probability, 0), pad(stats.end, 1), pad(stats.entropy, 0), pad(stats.own, 1)
    )


def guess(canvas: Canvas, stats: RowStats) -> np.ndarray:
    """Ids (C,) with every masked row decided: the best text in front of each hole's likely end, ends from there."""
    masked = canvas.masked
    ids = np.where(masked, stats.best.numpy(), canvas.ids)
    rows, undecided = torch.from_numpy(canvas.ids), torch.from_numpy(masked)
    for start, stop in canvas.holes:
        end = first_ends(stats, rows, undecided, start, stop, canvas.end_id)
        ids[end:stop] = np.where(masked[end:stop], canvas.end_id, ids[end:stop])
    return ids
