"""The corpus on disk: one flat array of token ids, file borders, and where every file came from.

build(Path(".corpus/data"), roots, problems, vocab_size=8192); data = Dataset.open(Path(".corpus/data"))
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diffusion.held_out import HELD_OUT
from diffusion.tokenizer import Tokenizer
from diffusion.train.corpus import Source, collect, read_problems
from diffusion.train.prose import for_training
from diffusion.train.tokenize import batches, train_tokenizer

ARRAYS = ("tokens", "offsets", "package")
MIN_CHARS = 100  # of a file whose prose is gone
TOKENIZER_FILES = 6000  # a random sample of the corpus is enough to count pairs


@dataclass(frozen=True)
class Dataset:
    """Token ids (uint16) of all files in a row; file i is tokens[offsets[i]:offsets[i + 1]]."""

    tokens: np.ndarray
    offsets: np.ndarray
    package: np.ndarray
    tokenizer: Tokenizer
    path: Path

    @classmethod
    def open(cls, path: Path) -> Dataset:
        """Memory-map a corpus that `build` wrote."""
        if not (path / "tokens.npy").exists():
            raise ValueError(f"no corpus at {path}: run `mezzotint train corpus` first")
        tokens, offsets, package = (np.load(path / f"{name}.npy", mmap_mode="r") for name in ARRAYS)
        return cls(tokens, offsets, package, Tokenizer.load(path / "tokenizer.json"), path)

    def file(self, index: int) -> np.ndarray:
        """Token ids of one file."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]


def build(
    path: Path, roots: list[Path], problems: list[Path], vocab_size: int, tokenizer_json: Path | None = None
) -> dict[str, object]:
    """Collect, clean and tokenize the corpus into `path`; returns the summary it writes to sources.json.

    `tokenizer_json`: the tokenizer to keep, that of weights which a run starts from; None trains one.
    """
    path.mkdir(parents=True, exist_ok=True)
    dropped: Counter[str] = Counter()
    sources = list(collect(roots, read_problems(problems), dropped))
    held_out = [source for source in sources if source.package in HELD_OUT]
    sources = list(as_trained_on([source for source in sources if source.package not in HELD_OUT]))
    random.Random(0).shuffle(sources)
    texts = [source.text for source in sources]
    if tokenizer_json:
        (path / "tokenizer.json").write_bytes(tokenizer_json.read_bytes())
    else:
        train_tokenizer(texts[:TOKENIZER_FILES], vocab_size).save(str(path / "tokenizer.json"))
    tokenizer = Tokenizer.load(path / "tokenizer.json")
    packages = sorted({source.package for source in sources})
    n_tokens = save(path, sources, tokenizer)
    save(path / "held_out", held_out, tokenizer)
    (path / "held_out" / "tokenizer.json").write_bytes((path / "tokenizer.json").read_bytes())
    summary: dict[str, object] = {
        "files": len(sources),
        "bytes": sum(len(text.encode()) for text in texts),
        "tokens": n_tokens,
        "held_out": sorted({source.package for source in held_out}),
        "dropped": dict(dropped),
        "packages": {
            name: {
                "version": of_package[0].version,
                "licence": of_package[0].licence,
                "files": len(of_package),
                "bytes": sum(len(source.text) for source in of_package),
            }
            for name in packages
            if (of_package := [source for source in sources if source.package == name])
        },
    }
    (path / "sources.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


def as_trained_on(sources: list[Source]) -> Iterator[Source]:
    """The sources, most of them without their prose; those that had little else are left out."""
    with ProcessPoolExecutor() as pool:
        texts = pool.map(for_training, (source.text for source in sources), chunksize=64)
        for source, text in zip(sources, texts, strict=True):
            if len(text) >= MIN_CHARS:
                yield replace(source, text=text)


def retokenized(data: Dataset, held_out: Dataset, path: Path, vocab_size: int) -> Path:
    """A part of a corpus in tokens of a tokenizer of another size, at `path`; kept if it is there."""
    if (path / "held_out" / "tokenizer.json").exists():
        return path
    path.mkdir(parents=True, exist_ok=True)
    parts = [restored(part) for part in (data, held_out)]
    train_tokenizer((source.text for source in parts[0]), vocab_size).save(str(path / "tokenizer.json"))
    for folder, sources in zip((path, path / "held_out"), parts, strict=True):
        save(folder, sources, Tokenizer.load(path / "tokenizer.json"))
    (path / "held_out" / "tokenizer.json").write_bytes((path / "tokenizer.json").read_bytes())
    return path


def restored(data: Dataset) -> list[Source]:
    """The texts of the first files of a corpus; their packages are known by number only."""
    numbers = range(min(TOKENIZER_FILES, len(data.package)))
    return [Source(str(data.package[i]), "", "", "", data.tokenizer.decode(data.file(i).tolist())) for i in numbers]


def save(path: Path, sources: list[Source], tokenizer: Tokenizer) -> int:
    """Tokenize `sources` into the arrays that `Dataset.open` reads; returns the number of tokens."""
    path.mkdir(parents=True, exist_ok=True)
    names = sorted({source.package for source in sources})
    groups = batches((source.text for source in sources), 256)
    ids = [np.array(file, dtype=np.uint16) for group in groups for file in tokenizer.encode_batch(group)]
    np.save(path / "tokens.npy", np.concatenate(ids))
    np.save(path / "offsets.npy", np.cumsum([0, *map(len, ids)]))
    np.save(path / "package.npy", np.array([names.index(source.package) for source in sources]))
    return sum(map(len, ids))
