"""The canvas: rows that are fixed, masked or revealed, and what they read as text.

Rule: the only mutable thing in a denoising run; it knows tokens and bytes, not the model. Numpy only: the torch
loop and the native loop share it. C is the number of rows.

    canvas = Canvas.blank(tokenizer, (Hole(16),), left=NO_EDGE, right=NO_EDGE); canvas.draft(step=0, ...)
"""

from __future__ import annotations

import codecs
import math
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

import numpy as np

from cuda_ext.rules import AFTER_HEAD, CLOSES, HEAD, LEFT, RIGHT, Rule, row_rules, unsure
from diffusion.healing import Edge
from diffusion.request import UNSURE, Draft, Hole, Start
from diffusion.tokenizer import Tokenizer
from diffusion.vocabulary import NONE


@dataclass
class Canvas:
    """Rows of one infilling run.

    `ids` int64 (C,): the mask, the end or a text token. `fixed` bool (C,): rows that must stay. `probability` float32
    (C,): the probability of a revealed row's token. `holes` are half-open row ranges; `multiline` says of each hole
    whether it may hold line breaks.
    """

    tokenizer: Tokenizer
    ids: np.ndarray
    fixed: np.ndarray
    probability: np.ndarray
    holes: list[tuple[int, int]]
    multiline: list[bool]
    left: Edge
    right: Edge

    @classmethod
    def blank(
        cls,
        tokenizer: Tokenizer,
        middle: tuple[Hole | str, ...],
        left: Edge,
        right: Edge,
        start: Start | None = None,
    ) -> Canvas:
        """All holes masked, or the first as `start` says; the text between them fixed."""
        mask = tokenizer.vocabulary.mask
        ids: list[int] = []
        fixed: list[bool] = []
        holes: list[tuple[int, int]] = []
        for part in middle:
            tokens = [mask] * part.max_tokens if isinstance(part, Hole) else tokenizer.encode(part)
            if isinstance(part, Hole):
                holes.append((len(ids), len(ids) + len(tokens)))
            ids += tokens
            fixed += [not isinstance(part, Hole)] * len(tokens)
        multiline = [part.multiline for part in middle if isinstance(part, Hole)]
        left = left if isinstance(middle[0], Hole) else Edge(left.text, None)
        right = right if isinstance(middle[-1], Hole) else Edge(right.text, None)
        rows, certain = np.array(ids, dtype=np.int64), np.ones(len(ids), dtype=np.float32)
        canvas = cls(tokenizer, rows, np.array(fixed), certain, holes, multiline, left, right)
        if start is not None and start.text:
            canvas.begin(start)
        return canvas

    def begin(self, start: Start) -> None:
        """Put `start` into the first hole, its doubtful tokens masked; what does not fit is left out."""
        first, stop = self.holes[0]
        left = self.left.text if first == 0 else ""
        right = self.right.text if len(self.holes) == 1 and start.closed else ""
        pieces = [(left, 1.0), *start.pieces, (right, 1.0)]
        tokens, n_fixed = self._encoded(left, "".join(text for text, _ in [*start.pieces, (right, 1.0)]))
        tokens = tokens[: stop - first]
        _, spans = decode_spans([self.tokenizer.token_bytes[token] for token in tokens])
        sure = [share(pieces, *span) for span in spans]
        row = first + len(tokens)
        self.ids[first:row] = [token if p > 0 else self.mask_id for token, p in zip(tokens, sure, strict=True)]
        self.probability[first:row] = [p or 1.0 for p in sure]
        self.fixed[first : min(first + n_fixed, row)] = True
        if start.closed:
            self.ids[row:stop] = self.end_id

    def proposed_by(self, start: Start) -> list[int]:
        """Tokens of the first hole as `start` would have them, up to the first doubtful piece; nothing is written."""
        if not start.text:
            return []
        first, stop = self.holes[0]
        sure = takewhile(lambda piece: piece[1] > 0, start.pieces)
        left = self.left.text if first == 0 else ""
        right = self.right.text if len(self.holes) == 1 and start.closed else ""
        tokens = self.tokenizer.encode(left + "".join(text for text, _ in sure) + right)[: stop - first]
        return tokens if self._fits(tokens) else []

    def _fits(self, tokens: list[int]) -> bool:
        """Whether the first of the tokens contains the partial token left of the cursor, or the first two do."""
        if self.left.allowed is None or (tokens and self.left.allowed[tokens[0]]):
            return True
        after = self.left.after_head if self.has_head else None
        return after is not None and len(tokens) > 1 and tokens[0] == self.left.head and bool(after[tokens[1]])

    def _encoded(self, left: str, text: str) -> tuple[list[int], int]:
        """Tokens of left + text, and how many must stay.

        Where the first token ends inside `left`, the rule of its row forbids it, and the model would write that row
        over without the next. The text left of the cursor then stays as tokens of its own, and needs no rule.
        """
        tokens = self.tokenizer.encode(left + text)
        if not left or self.left.allowed is None or self.left.allowed[tokens[0]]:
            return tokens, 0
        self.left = Edge(left, None)
        head = self.tokenizer.encode(left)
        return [*head, *self.tokenizer.encode(text)], len(head)

    @property
    def mask_id(self) -> int:
        """What a row holds that is not decided."""
        return self.tokenizer.vocabulary.mask

    @property
    def end_id(self) -> int:
        """What a row holds that is behind its hole's text."""
        return self.tokenizer.vocabulary.end

    @cached_property
    def flags(self) -> np.ndarray:
        """Uint8 (vocab_size,): what every token is in this run, the partial tokens at the edges included."""
        flags: np.ndarray = self.tokenizer.flags.copy()
        for edge, flag in ((self.left, LEFT), (self.right, RIGHT)):
            if edge.allowed is not None:
                flags[edge.allowed] |= flag
        if self.has_head:
            flags[self.left.head] |= HEAD
            flags[self.left.after_head] |= AFTER_HEAD
        return flags

    @property
    def has_head(self) -> bool:
        """Whether the partial token left of the cursor may be two tokens: the canvas begins with rows for both."""
        return self.left.head != NONE and self.holes[0][0] == 0 and self.holes[0][1] > 1

    def rules(self, ids: np.ndarray | None = None) -> list[Rule]:
        """Which tokens each row may hold now, or if the canvas held `ids` (C,)."""
        ids = self.ids if ids is None else ids
        masked = (ids == self.mask_id) & ~self.fixed
        has_left, has_right = self.left.allowed is not None, self.right.allowed is not None
        return row_rules(ids, masked, self.flags, self.holes, self.multiline, has_left, has_right)

    def end_to_take_back(self) -> int | None:
        """The row of an end that was written behind text which lacks the partial token right of the cursor."""
        start, stop = self.holes[-1]
        ended = next((row for row in range(start, stop) if self.ids[row] == self.end_id), stop)
        if self.right.allowed is None or ended in (start, stop) or self.ids[ended - 1] == self.mask_id:
            return None
        return None if self.right.allowed[self.ids[ended - 1]] else ended

    @property
    def masked(self) -> np.ndarray:
        """Bool (C,): rows not decided yet."""
        masked: np.ndarray = (self.ids == self.mask_id) & ~self.fixed
        return masked

    @property
    def revealed(self) -> np.ndarray:
        """Bool (C,): rows that hold text the model chose."""
        revealed: np.ndarray = ~self.masked & ~self.fixed & (self.ids != self.end_id)
        return revealed

    def is_unsure(self, below: float) -> bool:
        """Whether the first hole's text, decided up to there, is right with a chance below `below`."""
        hole = slice(*self.holes[0])
        is_text = (self.ids != self.end_id) & ~self.masked
        return unsure(self.fixed[hole], self.probability[hole], is_text[hole], below)

    @property
    def n_active(self) -> int:
        """Rows that still matter: rows after the first `<end>` of the trailing run of `<end>`s are ignored."""
        text = np.flatnonzero(self.ids != self.end_id)
        return min(len(self.ids), int(text[-1]) + 2) if len(text) else 1

    def write(self, ids: np.ndarray, probability: np.ndarray) -> None:
        """Take over new `ids` (C,), with the model's `probability` (C,) for the rows that changed."""
        ids = self.closed(ids)
        changed = (ids != self.ids) & ~self.fixed
        self.ids = np.where(self.fixed, self.ids, ids)
        self.probability = np.where(changed, probability, self.probability)

    @property
    def one_line(self) -> list[tuple[int, int]]:
        """The holes that may not hold line breaks."""
        return [hole for hole, many in zip(self.holes, self.multiline, strict=True) if not many]

    def closed(self, ids: np.ndarray) -> np.ndarray:
        """`ids` (C,) with ends behind a token that closes its line, in the holes of one line."""
        for start, stop in self.one_line:
            rows = np.flatnonzero(self.flags[ids[start:stop]] & CLOSES)
            if len(rows):
                ids = ids.copy()
                ids[start + rows[0] + 1 : stop] = self.end_id
        return ids

    def remask(self, rows: np.ndarray) -> None:
        """Mask `rows` (C,) again."""
        self.ids = np.where(rows & ~self.fixed, self.mask_id, self.ids)

    def length_unknown(self, guess: np.ndarray) -> bool:
        """Whether some hole has no end on the canvas."""
        return any(self.end_id not in guess[start:stop] for start, stop in self.holes)

    def draft(self, guess: np.ndarray, step: int, forward_passes: int, reason: str = "") -> Draft:
        """What the canvas reads as, with `guess` (C,) standing in for the masked rows."""
        read = self._read(guess)
        text, spans = decode_spans([token for token, _, _ in read])
        masked = [span for span, (_, undecided, _) in zip(spans, read, strict=True) if undecided]
        skip = len(self.left.text) if text.startswith(self.left.text) else 0
        stop = len(text) - len(self.right.text) if text.endswith(self.right.text) else len(text)
        stop = max(skip, stop)
        spans_left = merge_spans([(max(a, skip) - skip, min(b, stop) - skip) for a, b in masked])
        tokens = tuple(
            (max(a, skip) - skip, min(b, stop) - skip, 0.0 if undecided else p)
            for (a, b), (_, undecided, p) in zip(spans, read, strict=True)
            if max(a, skip) < min(b, stop)
        )
        sure = self.probability[self.revealed]
        confidence = math.exp(float(np.log(np.maximum(sure, 1e-9)).mean())) if len(sure) else 0.0
        if reason == "complete" and self.length_unknown(guess):
            reason = "length"
        return Draft(step, text[skip:stop], spans_left, confidence, forward_passes, bool(reason), reason, tokens)

    def _read(self, guess: np.ndarray) -> list[tuple[bytes, bool, float]]:
        """(token, undecided, probability) of every row that shows: holes up to their first end, fixed text whole.

        The fixed text behind a hole has the probability that the hole ends there, 0 where that is not decided.
        """
        ids, masked = self.closed(np.where(self.masked, guess, self.ids)).tolist(), self.masked.tolist()
        tokens = [self.tokenizer.token_bytes[token] for token in ids]
        for start, stop in self.one_line:
            tokens[start:stop] = [token.partition(b"\n")[0] for token in tokens[start:stop]]
        hidden = np.zeros(len(ids), dtype=bool)
        sure = self.probability.tolist()
        for start, stop in self.holes:
            ended = next((row for row in range(start, stop) if ids[row] == self.end_id), stop)
            hidden[ended:stop] = True
            if stop < len(ids):
                sure[stop] = sure[ended] if ended < stop and not masked[ended] else 0.0
        return [(tokens[row], masked[row], sure[row]) for row in range(len(ids)) if not hidden[row]]


def ended(late: bool, undecided: bool) -> str:
    """Why a run is done."""
    return "deadline" if late else UNSURE if undecided else "complete"


def decode_spans(tokens: list[bytes]) -> tuple[str, list[tuple[int, int]]]:
    """Text of `tokens` and the code points each covers; tokens that share a character share its span."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text, spans = "", []
    for token in tokens:
        start = len(text)
        text += decoder.decode(token)
        spans.append((start, len(text) + bool(decoder.getstate()[0])))
    text += decoder.decode(b"", final=True)
    return text, [(a, min(b, len(text))) for a, b in spans]


def share(pieces: list[tuple[str, float]], start: int, stop: int) -> float:
    """The probability of text[start:stop]: of the pieces that begin there, and 0 if it touches a piece of 0."""
    product, at = 1.0, 0
    for text, probability in pieces:
        if start <= at < stop or (probability == 0 and at < stop and start < at + len(text)):
            product *= probability
        at += len(text)
    return product


def merge_spans(spans: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Sorted, disjoint, non-empty."""
    merged: list[tuple[int, int]] = []
    for start, stop in spans:
        if stop <= start:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return tuple(merged)
