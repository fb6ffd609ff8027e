"""The denoising loop: predict, choose, write, until nothing is masked in front of every hole's end.

Rule: a generator of drafts, one forward pass between two of them; cancellation is asked before every forward pass.
The operators are those of `cuda_ext.reference`; this file only strings them together.

    for draft in denoise(model, cache, canvas, Policy(), cancelled=lambda: False): ...
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from cuda_ext.reference import Policy, RowStats, choose, first_ends, revise, row_stats
from diffusion.canvas import Canvas
from diffusion.model import ContextCache, Transformer
from diffusion.request import Draft
from diffusion.tokenizer import END, MASK, N_SPECIAL


def denoise(
    model: Transformer,
    cache: ContextCache,
    canvas: Canvas,
    policy: Policy,
    cancelled: Callable[[], bool],
    deadline_ms: float | None = None,
    temperature: float = 0.0,
    seed: int = 0,
) -> Iterator[Draft]:
    """Drafts of `canvas` after each denoising step, the last one `done`; stops without one when cancelled.

    At the deadline, or at `policy.max_steps`, one last step decides everything that is left.
    """
    started = time.perf_counter()
    rules = Rules(canvas)
    doubted_before = torch.zeros_like(canvas.fixed)
    revisions_left = policy.max_revisions
    step = 0
    while not cancelled():
        step += 1
        late = deadline_ms is not None and (time.perf_counter() - started) * 1000 >= deadline_ms
        stats = predict(model, cache, canvas, rules, temperature, seed + 7919 * step)
        last = late or step >= policy.max_steps
        if last:
            written = guess(canvas, stats)
        else:
            left = policy.max_steps - step + 1
            written = choose(stats, canvas.ids, canvas.masked, canvas.holes, END, policy.threshold, left)
            doubted = revise(stats, canvas.revealed & ~doubted_before, policy.revise_below, revisions_left)
            doubted_before |= doubted
            revisions_left -= int(doubted.sum())
        canvas.write(written, torch.where(written == END, stats.end, stats.probability))
        if not last:
            canvas.remask(doubted | rules.ends_to_take_back(canvas))
        done = last or not bool(canvas.masked.any())
        reason = ("deadline" if late else "complete") if done else ""
        yield canvas.draft(guess(canvas, stats), step, step, reason)
        if done:
            return


def predict(
    model: Transformer, cache: ContextCache, canvas: Canvas, rules: Rules, temperature: float, seed: int
) -> RowStats:
    """Statistics of every row of the canvas; rows that left it count as certain ends. One forward pass."""
    n_rows, n_active = len(canvas.ids), canvas.n_active
    device = cache.k.device
    with torch.no_grad():
        hidden = model.denoise(canvas.ids[None, :n_active].to(device), cache)
        logits = model.logits(hidden[0]).cpu()
    forbidden, ends = rules.masks(canvas)
    logits = logits.masked_fill(forbidden[:n_active], -torch.inf)
    if temperature > 0:  # Gumbel-max: sampling by argmax, a function of the seed alone
        uniform = torch.rand(logits.shape, generator=torch.Generator().manual_seed(seed))
        logits = logits / temperature - (-uniform.clamp(1e-9, 1 - 1e-7).log()).log()
    stats = row_stats(logits, canvas.ids[:n_active], ends[:n_active])
    return stats if n_active == n_rows else pad_with_ends(stats, n_rows)


def pad_with_ends(stats: RowStats, n_rows: int) -> RowStats:
    """Statistics for `n_rows` rows, those behind the given ones being certain ends."""

    def pad(values: Tensor, fill: float) -> Tensor:
        return torch.cat((values, values.new_full((n_rows - len(values),), fill)))

    return RowStats(
        pad(stats.best, END), pad(stats.probability, 0), pad(stats.end, 1), pad(stats.entropy, 0), pad(stats.own, 1)
    )


def guess(canvas: Canvas, stats: RowStats) -> Tensor:
    """Ids (C,) with every masked row decided: the best text in front of each hole's likely end, ends from there."""
    ids = torch.where(canvas.masked, stats.best, canvas.ids)
    for start, stop in canvas.holes:
        end = first_ends(stats, canvas.ids, canvas.masked, start, stop, END)
        ids[end:stop] = torch.where(canvas.masked[end:stop], END, ids[end:stop])
    return ids


class Rules:
    """Which tokens each row may hold and which end its hole: special tokens, line breaks, token healing.

    A line break ends a single-line hole. The first row must contain the partial token left of the cursor; the row in
    front of the last hole's end must contain the partial token right of it.
    """

    def __init__(self, canvas: Canvas) -> None:
        n_rows, vocab = len(canvas.ids), canvas.tokenizer.vocab_size
        self.forbidden = torch.zeros(n_rows, vocab, dtype=torch.bool)
        self.forbidden[:, :N_SPECIAL] = True
        self.forbidden[:, END] = False
        self.ends = torch.zeros(n_rows, vocab, dtype=torch.bool)
        self.ends[:, END] = True
        breaks = torch.from_numpy(canvas.tokenizer.line_breaks)
        for (start, stop), multiline in zip(canvas.holes, canvas.multiline, strict=True):
            if not multiline:
                self.ends[start:stop] |= breaks
        if canvas.left.allowed is not None:
            self.forbidden[0] = ~torch.from_numpy(canvas.left.allowed)
            self.ends[0] = False
        self.closers = None if canvas.right.allowed is None else torch.from_numpy(canvas.right.allowed)
        self.last_hole = canvas.holes[-1]

    def masks(self, canvas: Canvas) -> tuple[Tensor, Tensor]:
        """Forbidden tokens and ends, both bool (C, V), for what the canvas holds now."""
        if self.closers is None:
            return self.forbidden, self.ends
        forbidden = self.forbidden.clone()
        start, stop = self.last_hole
        ids, masked = canvas.ids.tolist(), canvas.masked.tolist()
        for row in range(start, stop):
            if not masked[row]:
                continue
            if row == start or (not masked[row - 1] and ids[row - 1] != END and not self.closers[ids[row - 1]]):
                forbidden[row] |= self.ends[row]
            if row + 1 < stop and not masked[row + 1] and ids[row + 1] == END:
                forbidden[row] |= ~(self.closers | self.ends[row])
                if bool(forbidden[row].all()):
                    forbidden[row] = self.forbidden[row]
        return forbidden, self.ends

    def ends_to_take_back(self, canvas: Canvas) -> Tensor:
        """Bool (C,): an end that this step wrote behind text which lacks the partial token right of the cursor."""
        rows = torch.zeros_like(canvas.fixed)
        if self.closers is None:
            return rows
        start, stop = self.last_hole
        ids = canvas.ids.tolist()
        ended = next((row for row in range(start, stop) if ids[row] == END), stop)
        if ended < stop and ended > start and ids[ended - 1] != MASK and not self.closers[ids[ended - 1]]:
            rows[ended] = True
        return rows
