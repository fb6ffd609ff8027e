"""Answers that are good for a moment: what is asked of the disk for every open file at every key.

Rule: an answer is FRESH_S old at most; the newest MAX_ANSWERS are kept.

    @for_a_moment
    def target_of(uri: str) -> str: ...
"""

from __future__ import annotations

import functools
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

FRESH_S = 2.0
MAX_ANSWERS = 1024

Answer = TypeVar("Answer")


def for_a_moment(ask: Callable[[str], Answer]) -> Callable[[str], Answer]:
    """Let a function of one string answer from memory what it was asked a moment ago."""
    answers: OrderedDict[str, tuple[float, Answer]] = OrderedDict()

    @functools.wraps(ask)
    def answer(about: str) -> Answer:
        """Return what was said, or ask."""
        known, now_s = answers.get(about), time.monotonic()
        if known is not None and now_s - known[0] < FRESH_S:
            return known[1]
        said = ask(about)
        answers[about] = now_s, said
        while len(answers) > MAX_ANSWERS:
            answers.popitem(last=False)
        return said

    return answer
