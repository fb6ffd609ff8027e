"""The operators of one denoising step in plain torch: these define what is right for every native twin.

Rule: functions of tensors, no state, no tokenizer. C is the number of canvas rows, V the vocabulary. The native twins
are in include/mezzotint/core.h.

    stats = row_stats(logits, ids, ends); ids = choose(stats, ids, masked, holes, ...)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cuda_ext.rules import LONGEST_MATCH


@dataclass(frozen=True)
class RowStats:
    """What one forward pass says of every canvas row, each (C,): best text token, its probability, chance of an end.

    `entropy` (nats) is that of the whole distribution; `own` is the probability of the token the row holds now.
    """

    best: Tensor
    probability: Tensor
    end: Tensor
    entropy: Tensor
    own: Tensor


def row_stats(logits: Tensor, ids: Tensor, ends: Tensor) -> RowStats:
    """Statistics of float32 `logits` (C, V) for rows that hold `ids` (C,).

    `ends` (C, V) or (1, V), bool: tokens that end the row's hole; they count as one outcome, never as text. A
    forbidden token has a logit of -inf. Ties go to the lowest token id; 0 where no text is possible.
    """
    log_p = torch.log_softmax(logits, dim=-1).nan_to_num(nan=-torch.inf)
    p = log_p.exp()
    text, best = logits.masked_fill(ends, -torch.inf).max(dim=-1)
    possible = text > -torch.inf
    probability = p.gather(1, best[:, None])[:, 0]
    entropy = -(p * log_p.clamp_min(-1e4)).sum(dim=-1)
    own = p.gather(1, ids[:, None])[:, 0]
    return RowStats(best * possible, probability * possible, (p * ends).sum(dim=-1), entropy, own)


def first_ends(stats: RowStats, ids: Tensor, masked: Tensor, start: int, stop: int, end_id: int) -> int:
    """Row where the hole [start, stop) ends as far as is known: a revealed end, or a masked row that is likelier to
    be one than not. Rows in front of revealed text cannot be ends. `stop` if there is none.
    """  # noqa: D205, D209
    rows = torch.arange(start, stop, device=ids.device)
    is_end = (~masked & (ids == end_id))[start:stop]
    is_text = (~masked & (ids != end_id))[start:stop]
    last_text = int(rows[is_text].max()) if bool(is_text.any()) else -1
    likely = is_end | (masked[start:stop] & (stats.end[start:stop] >= 0.5))
    found = rows[likely & (rows > last_text)]
    return int(found[0]) if len(found) else stop


def open_rows(stats: RowStats, ids: Tensor, masked: Tensor, holes: list[tuple[int, int]], end_id: int) -> Tensor:
    """Bool (C,): masked rows in front of their hole's end, which are still to become text."""
    rows = torch.zeros_like(masked)
    for start, stop in holes:
        end = first_ends(stats, ids, masked, start, stop, end_id)
        rows[start:end] = masked[start:end]
    return rows


def choose(
    stats: RowStats,
    ids: Tensor,
    masked: Tensor,
    holes: list[tuple[int, int]],
    end_id: int,
    threshold: float,
    steps_left: int,
) -> Tensor:
    """New ids (C,): the rows that this step reveals hold their token, all others what they held.

    Text in front of a hole's end is revealed from `threshold` on, and always as many rows, the first ones, as must be
    for the rest to fit into `steps_left` steps, this one included. Ends are revealed from the right, from `threshold`
    on; a hole with no masked row in front of its end is settled whole.
    """
    written = ids.clone()
    still_open = open_rows(stats, ids, masked, holes, end_id)
    for start, stop in holes:
        end = first_ends(stats, ids, masked, start, stop, end_id)
        settled = (~masked & (ids == end_id)) | (masked & (stats.end >= threshold))
        tail = settled[end:stop].flip(0).cumprod(0).flip(0).bool()
        if not bool(still_open[start:end].any()):
            tail = torch.ones_like(tail)
        written[end:stop] = torch.where(tail & masked[end:stop], end_id, written[end:stop])
    k_min = -(-int(still_open.sum()) // steps_left)
    reveal = still_open & (stats.probability >= threshold)
    unsure = (still_open & ~reveal).nonzero()[:, 0]
    reveal[unsure[: max(0, k_min - int(reveal.sum()))]] = True
    return torch.where(reveal, stats.best, written)


def revise(stats: RowStats, revealed: Tensor, revise_below: float, at_most: int) -> Tensor:
    """Bool (C,): the `revealed` rows least believed in, below `revise_below`, `at_most` of them."""
    doubted = revealed & (stats.own < revise_below)
    if int(doubted.sum()) <= at_most:
        return doubted
    kept = torch.zeros_like(doubted)
    kept[stats.own.masked_fill(~doubted, 2.0).sort(stable=True).indices[:at_most]] = True
    return kept & doubted


def philox(seed: int, step: int, rows: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """First word (uint64 holding 32 bits) of Philox 4x32-10 (Salmon et al., SC 2011) for every (row, token).

    The counter is (token, row, step, 0), the key the 64-bit `seed`; `rows` and `tokens` broadcast.
    """
    low, word = np.uint64(0xFFFFFFFF), np.uint64(32)
    c0, c1 = np.broadcast_arrays(tokens.astype(np.uint64), rows.astype(np.uint64))
    c2, c3 = np.full_like(c0, step), np.zeros_like(c0)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (p1 >> word) ^ c1 ^ np.uint64(k0), p1 & low, (p0 >> word) ^ c3 ^ np.uint64(k1), p0 & low
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0


def gumbel(seed: int, step: int, rows: np.ndarray, vocab_size: int) -> Tensor:
    """Standard Gumbel noise, float32 (len(rows), V): logits over a temperature plus this, argmax, is a sample."""
    bits = philox(seed, step, rows[:, None], np.arange(vocab_size)[None])
    uniform = torch.from_numpy(((bits >> np.uint64(8)).astype(np.float32) + 0.5) / 16777216)
    return -(-uniform.log()).log()


def looked_up(text: list[int], least: int) -> list[int]:
    """Tokens behind the place where `text` stood as it ends now, at least its last `least` tokens.

    The longest match counts, up to LONGEST_MATCH tokens; of equal ones the last.
    """
    longest, found = least - 1, len(text)
    for end in range(len(text) - 1, 0, -1):
        same = 0
        while same < min(end, LONGEST_MATCH) and text[end - 1 - same] == text[-1 - same]:
            same += 1
        if same > longest:
            longest, found = same, end
        if longest == LONGEST_MATCH:
            break
    return text[found:]
