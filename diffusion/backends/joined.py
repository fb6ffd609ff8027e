"""A transformer whose passes run together with those that other threads ask for at the same time.

Rule: for the loops it is a `Transformer`. Rows of different contexts share the matrix products, never attention: each
has the numbers that it has alone (tests/test_joined.py). A loop sees before its next pass that it is cancelled.

    joined = Joined(model); hidden = joined.run(context, canvas, cache); scores = joined.logits(hidden)
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import Tensor

from diffusion.backends.together import Together
from diffusion.model.transformer import ContextCache, Pass, Transformer

MOST_ROWS = 512  # of passes that run together


class Joined:
    """One model for the loops of several threads."""

    def __init__(self, model: Transformer) -> None:
        self.model, self.config = model, model.config
        self._runs = Together(partial(run_all, model), lambda one: one.stop - one.start, MOST_ROWS)
        self._logits = Together(partial(logits_of, model), len, MOST_ROWS)

    def member(self) -> AbstractContextManager[None]:
        """While it is open, passes of other threads wait a moment for this one's."""
        return self._runs.member()

    def run(self, context: list[int], canvas: list[int], cache: ContextCache, decided: int = 0) -> Tensor:
        """As `Transformer.run`."""
        return self._runs(Pass(context, canvas, cache, decided))

    def encode(self, ids: list[int], cache: ContextCache) -> Tensor:
        """As `Transformer.encode`."""
        hidden = self.run(ids, [], cache)
        cache.ids.extend(ids)
        return hidden

    def denoise(self, canvas_ids: Tensor, cache: ContextCache) -> Tensor:
        """As `Transformer.denoise`."""
        return self.run([], canvas_ids[0].tolist(), cache)[None]

    def logits(self, hidden: Tensor) -> Tensor:
        """As `Transformer.logits`, of rows (R, d_model)."""
        return self._logits(hidden)


def run_all(model: Transformer, passes: list[Pass]) -> list[Tensor]:
    """Hidden rows of each pass."""
    with torch.no_grad():
        return model.run_all(passes)


def logits_of(model: Transformer, hidden: list[Tensor]) -> list[Tensor]:
    """Logits of each one's rows."""
    with torch.no_grad():
        return list(torch.split(model.logits(torch.cat(hidden)), [len(rows) for rows in hidden]))
