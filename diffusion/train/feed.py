"""Endless training batches: drawn in this process, or by others while a GPU computes.

Rule: every process draws its own files, holes and noise; a resumed run draws new ones.

    for batch in feed(Path(".corpus/data"), rows=640, sequences=5, seed=(0, step), workers=14): ...
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from diffusion.layout import Layout
from diffusion.train.batches import Batch, Packer
from diffusion.train.dataset import Dataset
from diffusion.train.recipe import Recipe

AHEAD = 4  # batches that a worker keeps ready


class Packed(IterableDataset[Batch]):
    """Batches of one process."""

    def __init__(
        self,
        corpus: Path,
        rows: int,
        sequences: int,
        seed: tuple[int, ...],
        recipe: Recipe,
        layout: Layout,
        shift: bool,
    ) -> None:
        self.corpus, self.rows, self.sequences, self.seed, self.recipe = corpus, rows, sequences, seed, recipe
        self.layout, self.shift = layout, shift

    def __iter__(self) -> Iterator[Batch]:
        """Draw until nobody asks."""
        worker = get_worker_info()
        seed = (*self.seed, worker.id if worker else 0)
        packer = Packer(Dataset.open(self.corpus), self.rows, seed, self.recipe, self.layout, self.shift)
        while True:
            yield packer.batch(self.sequences)


def feed(
    corpus: Path,
    rows: int,
    sequences: int,
    seed: tuple[int, ...],
    workers: int = 0,
    recipe: Recipe | None = None,
    layout: Layout | None = None,
    shift: bool = False,
) -> Iterator[Batch]:
    """Batches of `sequences` sequences; `workers` 0 draws in this process."""
    source = Packed(corpus, rows, sequences, seed, recipe or Recipe(), layout or Layout(), shift)
    if not workers:
        return iter(source)
    pinned = torch.cuda.is_available()
    return iter(DataLoader(source, None, num_workers=workers, prefetch_factor=AHEAD, pin_memory=pinned))
