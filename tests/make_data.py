"""Makes a tiny training corpus out of a few standard-library files, for the tests of training."""

from __future__ import annotations

import sysconfig
import tempfile
from functools import lru_cache
from pathlib import Path

from diffusion.tokenizer import Tokenizer
from diffusion.train.batches import Packer
from diffusion.train.corpus import Source
from diffusion.train.dataset import Dataset, save
from diffusion.train.recipe import CHECKS, Recipe
from tests.models import SMALL

FILES = ("json/decoder.py", "textwrap.py", "bisect.py", "heapq.py", "shlex.py", "queue.py")


def write_corpus(path: Path) -> None:
    """A corpus folder with the embedded tokenizer and two halves of FILES as training and held-out text."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    sources = [Source("python", "3", "PSF-2.0", name, (stdlib / name).read_text(encoding="utf-8")) for name in FILES]
    tokenizer = Tokenizer.load(SMALL / "tokenizer.json")
    for folder, part in ((path, sources[:4]), (path / "held_out", sources[4:])):
        save(folder, part, tokenizer)
        (folder / "tokenizer.json").write_bytes((SMALL / "tokenizer.json").read_bytes())
    (path / "sources.json").write_text("{}")


@lru_cache
def tiny_dataset() -> Dataset:
    """The training half, made once per test run."""
    path = Path(tempfile.mkdtemp(prefix="mezzotint-corpus-"))
    write_corpus(path)
    return Dataset.open(path)


def tiny_packer(rows: int, seed: int = 3, recipe: Recipe = CHECKS) -> Packer:
    """A packer of the tiny corpus."""
    return Packer(tiny_dataset(), rows, seed, recipe)
