"""Fits how much is believed of a recalled text once the model has looked at it (`cuda_ext.rules.judged`).

Rule: holes of held-out packages, since the model knows the others too well, of a seed that no table uses; three
weights each. The printed tuples are pasted into `recall.py`, for these weights of the model.

    python -m diffusion.train.fit_judge .corpus/holdout
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffusion.denoise import predict
from diffusion.engine import Engine
from diffusion.evaluate import holes
from diffusion.evaluate.run import never
from diffusion.held_out import HELD_OUT
from diffusion.model import ContextCache
from diffusion.recall import starts
from diffusion.torch_backend import TorchBackend
from diffusion.train.fit_recall import fit_words, listed

N_CASES, SEED = 3000, 6


def examples(engine: Engine, cases: list[holes.Case]) -> tuple[Tensor, Tensor]:
    """Features (n, 3) of every beginning of the best start of each hole, and whether it is right (n,)."""
    assert isinstance(engine.backend, TorchBackend)
    rows, right = [], []
    for case in cases:
        request = case.request()
        start = next(iter(starts(request)), None)
        prepared = start and engine._prepare(dataclasses.replace(request, start=start), never)
        if not prepared:
            continue
        canvas, cache = prepared
        assert isinstance(cache, ContextCache)
        stats = predict(engine.backend.model, cache, canvas, 0.0, 0, 1)
        said = np.cumprod(canvas.probability[canvas.recalled])
        seen = np.minimum.accumulate(stats.own.numpy()[canvas.recalled])
        stops = np.flatnonzero(canvas.recalled) + 1
        for stop, chances in zip(stops, zip(said, seen, strict=True), strict=True):
            text = engine.tokenizer.decode(canvas.ids[:stop].tolist())[len(canvas.left.text) :]
            rows.append((1.0, *(float(np.log(p / (1 - p))) for p in np.clip(chances, 1e-4, 1 - 1e-4))))
            right.append(case.answer.startswith(text))
    return torch.tensor(rows), torch.tensor(right)


def main() -> None:
    """Fit both kinds of holes."""
    engine = Engine.load(backend="torch")
    files = holes.read_folder(Path(sys.argv[1]), HELD_OUT)
    for kind in (holes.REST_OF_LINE, holes.MULTI_LINE):
        x, right = examples(engine, list(holes.cut(files, kind, N_CASES, SEED)))
        print(f"{kind}: {len(x):,} beginnings, {int(right.sum()):,} right: {listed(fit_words(x, right))}")


if __name__ == "__main__":
    main()
