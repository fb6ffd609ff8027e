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

from diffusion.confidence import word_ends
from diffusion.evaluate.cases import MULTI_LINE, REST_OF_LINE, Case, SourceFile, cut, read_folder
from diffusion.held_out import HELD_OUT
from diffusion.recall import PREFIX_CHARS, RECALL_ABOVE, SUFFIX_CHARS, features, find_echoes, recall, word_features

N_FILES, N_CASES = 1500, 4000
RIDGE = 1e-4


def training_files(root: Path) -> list[SourceFile]:
    """Some files of the packages under `root`, held-out ones left out."""
    packages = [path.name for path in sorted(root.iterdir()) if (path / "__init__.py").exists()]
    files = read_folder(root, set(packages) - set(HELD_OUT), max_package_files=N_FILES)
    random.Random(0).shuffle(files)
    return files[:N_FILES]


def examples(cases: list[Case]) -> tuple[Tensor, Tensor, Tensor]:
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


def word_examples(cases: list[Case]) -> tuple[Tensor, Tensor]:
    """Features (n, k) of every beginning of the best guess for each hole, and whether it is right (n,)."""
    rows, right = [], []
    for case in cases:
        guesses = recall(case.prefix, case.suffix, multiline=case.multiline)
        if not guesses or guesses[0].probability < RECALL_ABOVE:
            continue
        text = guesses[0].text
        for stop in word_ends(text):
            rows.append(word_features(guesses[0], guesses, stop))
            right.append((case.answer + case.suffix).startswith(text[:stop]))
    return torch.tensor(rows), torch.tensor(right)


def fit_words(x: Tensor, right: Tensor) -> Tensor:
    """Weights (k,) of a logistic regression."""
    w = torch.zeros(x.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([w], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(x @ w, right.float()) + RIDGE * w.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return w.detach()


def listed(weights: Tensor) -> str:
    """Weights as Python reads them."""
    return f"({', '.join(f'{value:.3f}' for value in weights.tolist())})"


def main() -> None:
    """Fit both kinds of holes."""
    files = training_files(Path(sys.argv[1]))
    for kind in (REST_OF_LINE, MULTI_LINE):
        cases = list(cut(files, kind, N_CASES, seed=0))
        x, hole, right = examples(cases)
        weights = listed(fit(x, hole, right, len(cases)))
        print(f"{kind}: {len(cases):,} holes, {len(x):,} echoes, {int(right.sum()):,} right: {weights}")
        x, right = word_examples(cases)
        print(f"{kind}: {len(x):,} beginnings, {int(right.sum()):,} right: {listed(fit_words(x, right))}")


if __name__ == "__main__":
    main()
