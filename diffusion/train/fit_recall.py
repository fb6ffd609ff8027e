"""Fits the weights of `diffusion.recall` on holes in training packages, and prints them.

Rule: never sees a held-out package; deterministic. The printed tuples are pasted into `recall.py`.

    python -m diffusion.train.fit_recall .corpus/packages
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import torch
from torch import Tensor

from diffusion.evaluate import holes
from diffusion.held_out import HELD_OUT
from diffusion.recall import PREFIX_CHARS, SUFFIX_CHARS, features, find_echoes

N_FILES, N_CASES = 1500, 4000
RIDGE = 1e-4


def training_files(root: Path) -> list[holes.SourceFile]:
    """Some files of the packages under `root`, held-out ones left out."""
    packages = [path.name for path in sorted(root.iterdir()) if (path / "__init__.py").exists()]
    files = holes.read_folder(root, set(packages) - set(HELD_OUT))
    random.Random(0).shuffle(files)
    return files[:N_FILES]


def examples(cases: list[holes.Case]) -> tuple[Tensor, Tensor, Tensor]:
    """Features (n, k), the hole (n,) of every echo, and whether it was the answer (n,)."""
    rows, hole, right = [], [], []
    for number, case in enumerate(cases):
        for echo in find_echoes(case.prefix[-PREFIX_CHARS:], case.suffix[:SUFFIX_CHARS], case.multiline, ()):
            rows.append(features(echo))
            hole.append(number)
            right.append(echo.text == case.answer)
    return torch.tensor(rows), torch.tensor(hole), torch.tensor(right)


def fit(x: Tensor, hole: Tensor, right: Tensor, n_holes: int) -> Tensor:
    """Weights (k,) that make the answers most likely: a softmax over each hole's echoes and "none of them"."""
    w = torch.zeros(x.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([w], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        scores = x @ w
        odds = torch.ones(n_holes).index_add(0, hole, scores.exp())
        value = (odds.log().sum() - scores[right].sum()) / n_holes + RIDGE * w.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return w.detach()


def main() -> None:
    """Fit both kinds of holes."""
    files = training_files(Path(sys.argv[1]))
    for kind in (holes.REST_OF_LINE, holes.MULTI_LINE):
        cases = list(holes.cut(files, kind, N_CASES, seed=0))
        x, hole, right = examples(cases)
        weights = ", ".join(f"{value:.3f}" for value in fit(x, hole, right, len(cases)).tolist())
        print(f"{kind}: {len(cases):,} holes, {len(x):,} echoes, {int(right.sum()):,} right: ({weights})")


if __name__ == "__main__":
    main()
