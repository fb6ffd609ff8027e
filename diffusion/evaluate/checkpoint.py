"""Whether a checkpoint is run as its makers mean it: logits against transformers, and what int8 costs in perplexity.

Rule: real source files, next-token logits of whole files cut to `--tokens`; the table is for people, the last line of
stdout is one JSON object. Needs the `dev` extra for transformers.

    python -m diffusion.evaluate.checkpoint .base/smollm2-135m --files 50
"""

from __future__ import annotations

import argparse
import json
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffusion.backends.native import NativeBackend
from diffusion.model.card import ModelFolder, open_folder
from diffusion.model.load import load_weights
from diffusion.model.transformer import ContextCache, Transformer

Logits = Callable[[list[int]], np.ndarray]  # token ids (R,) -> logits (R, V)


@dataclass
class Difference:
    """How far one way to run a model is from the reference, over all rows seen."""

    largest: float = 0.0
    summed: float = 0.0
    agreed: int = 0
    rows: int = 0
    nats: list[float] = field(default_factory=list)

    def add(self, found: np.ndarray, reference: np.ndarray, ids: list[int]) -> None:
        """Compare logits (R, V); `ids` (R,) are the tokens of the rows, each the target of the row before."""
        apart = np.abs(found - reference)
        self.largest = max(self.largest, float(apart.max()))
        self.summed += float(apart.mean()) * len(ids)
        self.agreed += int((found.argmax(1) == reference.argmax(1)).sum())
        self.rows += len(ids)
        log_p = torch.log_softmax(torch.from_numpy(found[:-1]), dim=-1)
        self.nats += (-log_p.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]).tolist()

    def figures(self) -> dict[str, float]:
        """What the table shows."""
        return {
            "largest": self.largest,
            "mean": self.summed / self.rows,
            "same_best_token": self.agreed / self.rows,
            "perplexity": float(np.exp(np.mean(self.nats))),
        }


def by_transformers(path: Path) -> Logits:
    """The reference: the folder as transformers runs it, float32."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    model.eval()

    def logits(ids: list[int]) -> np.ndarray:
        with torch.no_grad():
            found: np.ndarray = model(torch.tensor([ids])).logits[0].numpy()
        return found

    return logits


def by_torch(folder: ModelFolder, dtype: torch.dtype, capacity: int) -> Logits:
    """Our transformer in torch."""
    model: Transformer = load_weights(folder, dtype)

    def logits(ids: list[int]) -> np.ndarray:
        with torch.no_grad():
            found: np.ndarray = model.logits(model.encode(ids, ContextCache(model.config, capacity, dtype))).numpy()
        return found

    return logits


def by_native(folder: ModelFolder, precision: str, capacity: int) -> Logits:
    """The compiled library."""
    backend = NativeBackend.load(folder, precision=precision)

    def logits(ids: list[int]) -> np.ndarray:
        cache = backend.new_cache(capacity)
        pieces = range(0, len(ids), 64)
        return np.concatenate([backend.model.forward(cache.cache, ids[at : at + 64], [], at) for at in pieces])

    return logits


def sources(n: int) -> list[Path]:
    """`n` files of the standard library, the same on every machine with this Python, none of them tiny."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return [path for path in files if path.stat().st_size > 4000][:: max(1, len(files) // (2 * n))][:n]


def main(argv: list[str] | None = None) -> int:
    """Print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=50, metavar="N")
    parser.add_argument("--tokens", type=int, default=256, metavar="N", help="of each file (%(default)s)")
    args = parser.parse_args(argv)
    folder = open_folder(args.folder)
    tokenizer, reference = folder.tokenizer(), by_transformers(args.folder)
    ways = {
        "torch float32": by_torch(folder, torch.float32, args.tokens),
        "torch bfloat16": by_torch(folder, torch.bfloat16, args.tokens),
        "native bf16": by_native(folder, "bf16", args.tokens),
        "native int8": by_native(folder, "int8", args.tokens),
    }
    seen = {"transformers float32": Difference(), **{name: Difference() for name in ways}}
    files = sources(args.files)
    for number, path in enumerate(files):
        print(f"\r{number}/{len(files)} files", end="", file=sys.stderr, flush=True)
        ids = tokenizer.encode(path.read_text(encoding="utf-8"))[: args.tokens]
        expected = reference(ids)
        seen["transformers float32"].add(expected, expected, ids)
        for name, way in ways.items():
            seen[name].add(way(ids), expected, ids)
    print(file=sys.stderr)
    print(f"{'logits':24}{'largest':>12}{'mean':>12}{'same best':>12}{'perplexity':>12}")
    for name, difference in seen.items():
        print(f"{name:24}" + "".join(f"{value:12.5f}" for value in difference.figures().values()))
    table = {name: difference.figures() for name, difference in seen.items()}
    print(json.dumps({"files": len(files), "tokens": args.tokens, "model": folder.name, **table}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
