"""What the loop is told, torch or native: its policy, what kinds of tokens there are, and which a row may hold.

Rule: numpy and dataclasses only. `row_rules` is the plain twin of `mz_row_rule` in core.h.

    rules = row_rules(ids, masked, flags, holes, multiline, has_left=False, has_right=True)
    forbidden, ends = expand(rules, flags)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAX_ROWS = 128  # of a canvas, and of a forward pass
HISTORY = 1024  # context tokens that a run may look things up in
LONGEST_MATCH = 8  # tokens of the text's end that are compared

# What a token is, one byte per id. LEFT and RIGHT depend on the request (token healing).
SPECIAL = 1  # never text
END = 2  # the end of a hole
BREAK = 4  # holds a line break, and nothing visible before it
LEFT = 8  # may stand first: goes on with the partial token left of the cursor
RIGHT = 16  # may stand last: ends in the partial token right of the cursor
CLOSES = 32  # holds a line break behind visible text: on one line, the text before the break is the last
HEAD = 64  # may stand first, in front of one that is AFTER_HEAD: ends amid the partial token left of the cursor
AFTER_HEAD = 128  # goes on where HEAD ends, with the rest of the partial token
COUNTED = 31  # the flags that tell whether a rule leaves any token; `present` of a control is made of them


@dataclass(frozen=True)
class Policy:
    """When a row is revealed, and when it is doubted again.

    `threshold`: a row is revealed when its best token is at least that probable. `max_steps` bounds the denoising
    steps: more rows are revealed per step where they would not do otherwise. A revealed row whose own probability
    falls below `revise_below` is masked again, at most `max_revisions` rows in a run, each once.
    """

    threshold: float = 0.7
    max_steps: int = 32
    revise_below: float = 0.001
    max_revisions: int = 4


@dataclass(frozen=True)
class Verdict:
    """How drafted tokens are judged by causal rows, the other policy.

    A pass judges up to `judge_rows` drafted tokens (with the last decided one before them, whole tiles of rows) and
    runs a canvas of up to `canvas_rows` rows, which drafts the tokens that it gives at least the probability
    `draft_above`. With neither it decodes token by token. Both and the token in front of them are at most MAX_ROWS.

    A canvas that is of no use doubles the time of a pass: behind `patience` passes in a row that accepted none of its
    tokens it leaves (0: never), and comes back when `rest` tokens have been decided without it.

    Where neither drafts, what followed the last tokens where they stood before, in the context or in the text so far,
    is the draft (prompt lookup): at least `look_up` tokens must be the same (0: nothing is looked up).
    """

    draft_above: float = 0.3
    judge_rows: int = 7
    canvas_rows: int = 16
    patience: int = 3
    rest: int = 16
    look_up: int = 1

    def __post_init__(self) -> None:
        """Raise ValueError for rows that do not fit a forward pass."""
        if min(self.judge_rows, self.canvas_rows) < 0 or self.judge_rows + self.canvas_rows >= MAX_ROWS:
            raise ValueError(f"judge_rows and canvas_rows must be 0 to {MAX_ROWS - 1} together")
        if min(self.patience, self.rest) < 0:
            raise ValueError("patience and rest must not be negative")
        if not 0 <= self.look_up <= LONGEST_MATCH:
            raise ValueError(f"look_up must be 0 to {LONGEST_MATCH}")


TOKEN_BY_TOKEN = Verdict(judge_rows=0, canvas_rows=0, look_up=0)


@dataclass(frozen=True)
class Rule:
    """Tokens a row may hold, by their flags: none of `forbid`, one of `need` and one of `also_need` (0: no need).

    Tokens with one of `ends` end the row's hole.
    """

    forbid: int = SPECIAL
    need: int = 0
    also_need: int = 0
    ends: int = END

    def allowed(self, flags: np.ndarray) -> np.ndarray:
        """Bool, the shape of `flags`."""
        allowed: np.ndarray = (flags & self.forbid) == 0
        for need in (self.need, self.also_need):
            if need:
                allowed = allowed & ((flags & need) != 0)
        return allowed


def row_rules(
    ids: np.ndarray,
    masked: np.ndarray,
    flags: np.ndarray,
    holes: list[tuple[int, int]],
    multiline: list[bool],
    has_left: bool,
    has_right: bool,
) -> list[Rule]:
    """The rule of every row, for what the canvas holds now.

    A line break ends a single-line hole. With `has_left` the first row must hold a LEFT token, or the HEAD, whose
    chance counts as that of an end does, and the row behind the HEAD one that is AFTER_HEAD. With `has_right` the row
    in front of the last hole's end must hold a RIGHT token: no end behind a decided token that is none.
    `ids` int (C,), `masked` bool (C,), `flags` uint8 (V,).
    """
    rules = [Rule()] * len(ids)
    for (start, stop), many_lines in zip(holes, multiline, strict=True):
        if not many_lines:
            rules[start:stop] = [Rule(ends=END | BREAK)] * (stop - start)
    if has_left:
        rules[0] = Rule(forbid=0, need=LEFT | HEAD, ends=HEAD)
    after_head = has_left and len(ids) > 1 and not masked[0] and bool(flags[ids[0]] & HEAD)
    if after_head:
        rules[1] = Rule(forbid=0, need=AFTER_HEAD, ends=0)
    if not has_right:
        return rules
    start, stop = holes[-1]
    is_end = (flags[ids] & END) != 0
    closes = (flags[ids] & RIGHT) != 0
    for row in range(start, stop):
        base = rules[row]
        if not masked[row] or (after_head and row == 1):
            continue
        rule, ends = base, base.ends & ~HEAD
        if row == start or not (masked[row - 1] or is_end[row - 1] or closes[row - 1]):
            rule = Rule(rule.forbid | ends, rule.need, 0, rule.ends)
        if row + 1 < stop and not masked[row + 1] and is_end[row + 1]:
            rule = Rule(rule.forbid, rule.need, RIGHT | ends, rule.ends)
            if not rule.allowed(flags & COUNTED).any():
                rule = base
        rules[row] = rule
    return rules


def expand(rules: list[Rule], flags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Forbidden tokens and ends, both bool (C, V)."""
    kinds = {rule: (~rule.allowed(flags), (flags & rule.ends) != 0) for rule in set(rules)}
    forbidden, ends = zip(*(kinds[rule] for rule in rules), strict=True)
    return np.stack(forbidden), np.stack(ends)


def unsure(fixed: np.ndarray, probability: np.ndarray, is_text: np.ndarray, below: float) -> bool:
    """Whether a hole's text, decided up to there, is right with a chance below `below`.

    `fixed` bool, `probability` float32, `is_text` bool, each (rows of the hole,). `probability` is each row's chance to
    be right if all before it are; `is_text`: the row is neither masked nor an end.
    """
    chance = np.float32(1)
    for row in np.flatnonzero(~fixed):
        if not is_text[row]:
            return False
        chance *= probability[row]
        if chance < np.float32(below):
            return True
    return False
