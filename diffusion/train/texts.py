"""The corpus as texts, whatever the tokenizer: one JSON object a line, in an order in which any part is a sample.

Rule: what is written is what is trained on, prose thinned; the held-out packages lie in a file of their own.

    collect_texts(Path(".corpus/texts"), roots, npm_roots, problems); read_texts(Path(".corpus/texts/python.jsonl"))
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from diffusion.held_out import EVALUATED, HELD_OUT
from diffusion.train.corpus import Source, collect, read_problems
from diffusion.train.corpus_npm import collect_npm
from diffusion.train.prose import for_training

PYTHON_TEXTS, NPM_TEXTS, HELD_OUT_TEXTS = "python.jsonl", "javascript.jsonl", "held_out.jsonl"
REPORT = "report.json"
MIN_CHARS = 100  # of a file whose prose is gone


def collect_texts(path: Path, roots: list[Path], npm_roots: list[Path], problems: list[Path]) -> dict[str, object]:
    """Collect and clean both parts of the corpus into `path`; returns the summary it writes to report.json."""
    path.mkdir(parents=True, exist_ok=True)
    dropped: dict[str, Counter[str]] = {PYTHON_TEXTS: Counter(), NPM_TEXTS: Counter()}
    excluded = read_problems(problems)
    found = {
        PYTHON_TEXTS: list(collect(roots, excluded, dropped[PYTHON_TEXTS])),
        NPM_TEXTS: list(collect_npm(npm_roots, excluded, dropped[NPM_TEXTS])) if npm_roots else [],
    }
    evaluated = {name for package in EVALUATED for name in (package.folder, package.name)}
    held_out = [source for part in found.values() for source in part if source.package in evaluated]
    summary: dict[str, object] = {}
    for name, part in found.items():
        sources = list(as_trained_on([source for source in part if source.package not in HELD_OUT]))
        random.Random(0).shuffle(sources)
        summary[name] = {"files": len(sources), "bytes": write_texts(path / name, sources)}
    random.Random(0).shuffle(held_out)
    summary[HELD_OUT_TEXTS] = {"files": len(held_out), "bytes": write_texts(path / HELD_OUT_TEXTS, held_out)}
    summary["dropped"] = dropped
    (path / REPORT).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


def as_trained_on(sources: list[Source]) -> Iterator[Source]:
    """The sources, most of them without their prose; those that had little else are left out."""
    with ProcessPoolExecutor() as pool:
        names = [source.name for source in sources]
        texts = pool.map(for_training, (source.text for source in sources), names, chunksize=64)
        for source, text in zip(sources, texts, strict=True):
            if len(text) >= MIN_CHARS:
                yield replace(source, text=text)


def write_texts(path: Path, sources: Iterable[Source]) -> int:
    """One line per source; returns the bytes of their texts. The file appears when it is whole."""
    n_bytes, unfinished = 0, path.with_suffix(".tmp")
    with unfinished.open("w", encoding="utf-8", newline="\n") as out:
        for source in sources:
            out.write(json.dumps(asdict(source), ensure_ascii=False) + "\n")
            n_bytes += len(source.text.encode())
    unfinished.rename(path)
    return n_bytes


def read_texts(path: Path) -> list[Source]:
    """The sources in a file that `write_texts` wrote."""
    if not path.exists():
        raise ValueError(f"no texts at {path}: run `mezzotint train collect` first")
    with path.open(encoding="utf-8") as lines:
        return [Source(**json.loads(line)) for line in lines]
