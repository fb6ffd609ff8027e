"""The corpus on disk: one flat array of token ids, file borders, and where every file came from.

build(Path(".corpus/data"), Path(".corpus/texts"), tokenizer=None, vocab_size=8192)
data = Dataset.open(Path(".corpus/data"))
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from diffusion.model.card import open_folder
from diffusion.tokenizer import Tokenizer
from diffusion.train.corpus import Source
from diffusion.train.texts import HELD_OUT_TEXTS, REPORT, read_texts
from diffusion.train.tokenize import batches, train_tokenizer
from diffusion.vocabulary import Vocabulary

ARRAYS = ("tokens", "offsets", "package", "language")
LANGUAGES = ("python", "javascript", "typescript")  # numbers in the array of languages
TOKENIZER, VOCABULARY = "tokenizer.json", "vocabulary.json"
MAX_VOCABULARY = 1 << 16  # ids are stored as uint16
TOKENIZER_FILES = 6000  # a random sample of the corpus is enough to count pairs


@dataclass(frozen=True)
class Dataset:
    """Token ids (uint16) of all files in a row; file i is tokens[offsets[i]:offsets[i + 1]].

    `package[i]` numbers the package that the file is from, `language[i]` (uint8) its place in LANGUAGES.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    package: np.ndarray
    language: np.ndarray
    tokenizer: Tokenizer
    path: Path

    @classmethod
    def open(cls, path: Path, tokenizer: Tokenizer | None = None) -> Dataset:
        """Memory-map a corpus that `build` wrote; `tokenizer` if another one has the same tokens and more ids."""
        if not (path / "tokens.npy").exists():
            raise ValueError(f"no corpus at {path}: run `mezzotint train corpus` first")
        tokens, offsets, package, language = (np.load(path / f"{name}.npy", mmap_mode="r") for name in ARRAYS)
        return cls(tokens, offsets, package, language, tokenizer or read_tokenizer(path), path)

    def file(self, index: int) -> np.ndarray:
        """Token ids of one file."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]


def build(
    path: Path, texts: Path, tokenizer: Path | None, vocab_size: int = 8192, share: float = 1.0
) -> dict[str, object]:
    """Tokenize the texts in the folder `texts` into `path`; returns the summary it writes to sources.json.

    `tokenizer`: the one to keep, a model folder or a tokenizer.json of ours; None trains one of `vocab_size`.
    `share`: of every language's files.
    """
    path.mkdir(parents=True, exist_ok=True)
    sources = []
    for part in sorted(texts.glob("*.jsonl")):
        if part.name != HELD_OUT_TEXTS:
            found = read_texts(part)
            sources += found[: round(share * len(found))]
    if not sources:
        raise ValueError(f"no texts in {texts}: run `mezzotint train collect` first")
    random.Random(0).shuffle(sources)
    if tokenizer is None:
        train_tokenizer((one.text for one in sources[:TOKENIZER_FILES]), vocab_size).save(str(path / TOKENIZER))
        chosen = Tokenizer.load(path / TOKENIZER)
    else:
        chosen = keep_tokenizer(tokenizer, path)
    n_tokens = save(path, sources, chosen)
    held_out = read_texts(texts / HELD_OUT_TEXTS)
    save(path / "held_out", held_out, chosen)
    keep_tokenizer(path, path / "held_out")
    report = json.loads((texts / REPORT).read_text(encoding="utf-8")) if (texts / REPORT).exists() else {}
    summary: dict[str, object] = {
        **size(sources),
        "tokens": n_tokens,
        "held_out": sorted({source.package for source in held_out}),
        "dropped": report.get("dropped", {}),
        "languages": {name: size(source for source in sources if source.language == name) for name in LANGUAGES},
        "packages": packages(sources),
    }
    (path / "sources.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


def size(sources: Iterable[Source]) -> dict[str, int]:
    """How many files, and bytes of text in them."""
    sizes = [len(source.text.encode()) for source in sources]
    return {"files": len(sizes), "bytes": sum(sizes)}


def packages(sources: list[Source]) -> dict[str, dict[str, object]]:
    """Version, licence and size of every package."""
    of_package: dict[str, list[Source]] = {}
    for source in sources:
        of_package.setdefault(source.package, []).append(source)
    return {
        name: {"version": group[0].version, "licence": group[0].licence, **size(group)}
        for name, group in sorted(of_package.items())
    }


def keep_tokenizer(source: Path, path: Path) -> Tokenizer:
    """Copy a tokenizer into the corpus at `path`, with the ids that mean something where they are not ours.

    `source`: a tokenizer.json of ours, a model folder, or another corpus.
    """
    if source.is_file():
        tokenizer, file = Tokenizer.load(source), source
    elif (source / "config.json").exists():
        tokenizer, file = open_folder(source).tokenizer(), source / TOKENIZER
    else:
        tokenizer, file = read_tokenizer(source), source / TOKENIZER
    (path / TOKENIZER).write_bytes(file.read_bytes())
    ids = {"n_rows": tokenizer.vocab_size, **asdict(tokenizer.vocabulary)}
    (path / VOCABULARY).write_text(json.dumps(ids) + "\n", encoding="utf-8")
    return tokenizer


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of the corpus at `path`."""
    if not (path / VOCABULARY).exists():
        return Tokenizer.load(path / TOKENIZER)
    ids = json.loads((path / VOCABULARY).read_text(encoding="utf-8"))
    n_rows, also_ends = ids.pop("n_rows"), tuple(ids.pop("also_ends"))
    return Tokenizer.load(path / TOKENIZER, Vocabulary(**ids, also_ends=also_ends), n_rows)


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
    return [
        Source(str(data.package[i]), "", "", "", data.tokenizer.decode(data.file(i).tolist()), LANGUAGES[language])
        for i, language in zip(numbers, data.language, strict=False)
    ]


def save(path: Path, sources: list[Source], tokenizer: Tokenizer) -> int:
    """Tokenize `sources` into the arrays that `Dataset.open` reads; returns the number of tokens."""
    if tokenizer.vocab_size > MAX_VOCABULARY:
        raise ValueError(f"a vocabulary of {tokenizer.vocab_size} does not fit the {MAX_VOCABULARY} ids of a corpus")
    path.mkdir(parents=True, exist_ok=True)
    names = {name: number for number, name in enumerate(sorted({source.package for source in sources}))}
    groups = batches((source.text for source in sources), 256)
    ids = [np.array(file, dtype=np.uint16) for group in groups for file in tokenizer.encode_batch(group)]
    np.save(path / "tokens.npy", np.concatenate(ids) if ids else np.zeros(0, np.uint16))
    np.save(path / "offsets.npy", np.cumsum([0, *map(len, ids)]))
    np.save(path / "package.npy", np.array([names[source.package] for source in sources], dtype=np.int64))
    languages = [LANGUAGES.index(source.language) for source in sources]
    np.save(path / "language.npy", np.array(languages, dtype=np.uint8))
    return sum(map(len, ids))
