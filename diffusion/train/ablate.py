"""Compares recipes, shapes and tokenizers at equal compute: short runs from scratch, one core each, and one table.

Rule: a variant changes one thing of the first, and all are measured on the same held-out batches of the usual recipe.
A run that is there already is not run again. The table is for people; the last line of stdout is one JSON object.

    python -m diffusion.train.ablate --corpus .corpus/data --out .runs/ablation --steps 500
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from diffusion.model.config import ModelConfig
from diffusion.train.recipe import LARGEST_CANVAS, Recipe

SHAPE = ModelConfig(d_model=128, n_layers=4, n_heads=2, n_kv_heads=1, d_ff=352)
FIRST = Recipe(
    ar_weight=0.3, from_left_share=0.0, length_known_share=0.35, recall_share=0.0
)  # that of version 2; what was learnt since is in the defaults
ROWS, SEQUENCES = 640, 5
N_BATCHES = 12  # held-out ones, drawn from masks alone


@dataclass(frozen=True)
class Variant:
    """One run: what is changed, and where its tokens come from (`vocab_size` names the corpus)."""

    name: str
    recipe: Recipe = FIRST
    model: ModelConfig = SHAPE
    seed: int = 0

    @property
    def compute(self) -> int:
        """Parameters that a row is multiplied with."""
        m = self.model
        attention = m.d_model * (2 * m.n_heads + 2 * m.n_kv_heads) * m.d_head
        return m.n_layers * (attention + 3 * m.d_model * m.d_ff) + 2 * m.d_model**2 + m.vocab_size * m.d_model


def variants() -> list[Variant]:
    """The first is what the others are compared with, the second shows what chance alone does."""
    usual = FIRST
    recipes = {
        "next-token loss weighs 0.1": replace(usual, ar_weight=0.1),
        "next-token loss weighs 1": replace(usual, ar_weight=1.0),
        "next-token loss weighs 2": replace(usual, ar_weight=2.0),
        "next-token loss weighs 4": replace(usual, ar_weight=4.0),
        "fewer canvases (48 rows a branch)": replace(usual, canvas_budget=48),
        "more canvases (192 rows a branch)": replace(usual, canvas_budget=192),
        "all canvases of a branch begin at one place": replace(usual, same_cut_share=1.0),
        "canvases of 64 rows only": replace(usual, canvas_rows=(LARGEST_CANVAS,), canvas_shares=(1.0,)),
        "flat weight instead of 1/t": replace(usual, flat_weight=True),
        "no wrong tokens": replace(usual, wrong_token_share=0.0),
        "uniform noise only": replace(usual, all_masked_share=0.0, length_known_share=0.0),
        "60% of the canvases masked whole": replace(usual, all_masked_share=0.6, length_known_share=0.2),
        "next-token loss weighs 2, a quarter masked from the left on": replace(
            usual, ar_weight=2.0, from_left_share=0.25, length_known_share=0.2
        ),
    }
    shapes = {
        "deeper: 8 layers of 104": replace(SHAPE, d_model=104, n_layers=8, d_ff=224),
        "wider: 2 layers of 152": replace(SHAPE, d_model=152, n_layers=2, d_ff=416),
        "vocabulary of 4,096": replace(SHAPE, vocab_size=4096),
        "vocabulary of 16,384": replace(SHAPE, vocab_size=16384),
    }
    return [
        Variant("as shipped"),
        Variant("as shipped, another seed", seed=1),
        *(Variant(name, recipe) for name, recipe in recipes.items()),
        *(Variant(name, model=model) for name, model in shapes.items()),
    ]


def run_one(variant: Variant, corpus: Path, out: Path, steps: int) -> None:
    """Train a variant on one core for as much compute as the first takes in `steps` steps, and write its result."""
    import torch

    from diffusion.model.load import load_model
    from diffusion.train.batches import Packer
    from diffusion.train.dataset import Dataset
    from diffusion.train.loop import RunConfig, train, validate
    from diffusion.train.step import compute_losses

    torch.set_num_threads(1)
    steps = round(steps * Variant("").compute / variant.compute)
    config = RunConfig(
        variant.model, variant.recipe, max_steps=steps, minutes=1e9, rows=ROWS, sequences=SEQUENCES, accumulate=1,
        lr=3e-3, seed=variant.seed,
    )  # fmt: skip
    metrics = train(corpus, out, config)
    held_out = Dataset.open(corpus / "held_out")
    from_masks = Packer(held_out, ROWS, 777, replace(FIRST, all_masked_share=1.0, complement_share=0.0))
    batches = [from_masks.batch(SEQUENCES) for _ in range(N_BATCHES)]
    metrics["from_masks_loss"] = round(validate(compute_losses, load_model(out / "model")[0], batches)[1], 4)
    metrics["bytes_per_token"] = round(bytes_per_token(held_out), 4)
    (out / "result.json").write_text(json.dumps(metrics) + "\n", encoding="utf-8")


def bytes_per_token(data: object) -> float:
    """How much text a token stands for."""
    from diffusion.train.dataset import Dataset

    assert isinstance(data, Dataset)
    tokens = data.tokens[:500_000].tolist()
    return sum(len(data.tokenizer.token_bytes[token]) for token in tokens) / len(tokens)


def corpus_in(vocab_size: int, corpus: Path, out: Path) -> Path:
    """The corpus, or a part of it in tokens of another vocabulary."""
    from diffusion.train.dataset import Dataset, retokenized

    data = Dataset.open(corpus)
    if data.tokenizer.vocab_size == vocab_size:
        return corpus
    return retokenized(data, Dataset.open(corpus / "held_out"), out / f"corpus-{vocab_size}", vocab_size)


def results(chosen: list[Variant], corpora: dict[int, Path], out: Path, steps: int) -> Iterator[dict[str, object]]:
    """The result of every variant, in order; two run side by side, each in a process of its own."""

    def result(variant: Variant) -> dict[str, object]:
        folder = out / variant.name.replace(" ", "-").replace("/", "-")
        if not (folder / "result.json").exists():
            call = [sys.executable, "-m", "diffusion.train.ablate", "--only", variant.name, "--steps", str(steps)]
            call += ["--corpus", str(corpora[variant.model.vocab_size]), "--out", str(folder)]
            subprocess.run(call, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return json.loads((folder / "result.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]

    with ThreadPoolExecutor(2) as pool:
        for number, (variant, metrics) in enumerate(zip(chosen, pool.map(result, chosen), strict=True), 1):
            print(f"{number}/{len(chosen)} {variant.name}", file=sys.stderr, flush=True)
            yield {"name": variant.name, "parameters": variant.compute, **metrics}


def table(rows: list[dict[str, object]]) -> str:
    """The results in markdown; next-token loss also per byte, since a token is not the same everywhere."""
    lines = [
        "| variant | M parameters | M rows | next-token | per byte | diffusion | from masks |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        number = {key: float(value) for key, value in row.items() if isinstance(value, int | float)}
        next_token = number["held_out_next_token_loss"]
        cells = [f"{number['parameters'] / 1e6:.2f}", f"{number['rows'] / 1e6:.2f}", f"{next_token:.3f}"]
        cells += [f"{next_token / number['bytes_per_token']:.3f}"]
        cells += [f"{number[key]:.3f}" for key in ("held_out_diffusion_loss", "from_masks_loss")]
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run all variants, or one of them (which is what this program calls itself for)."""
    parser = argparse.ArgumentParser(description="Compare recipes, shapes and tokenizers at equal compute.")
    parser.add_argument("--corpus", type=Path, default=Path(".corpus/data"))
    parser.add_argument("--out", type=Path, default=Path(".runs/ablation"))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--only", help="name of the one variant to train, into OUT itself")
    args = parser.parse_args()
    if args.only:
        run_one(next(one for one in variants() if one.name == args.only), args.corpus, args.out, args.steps)
        return
    chosen = variants()
    corpora = {size: corpus_in(size, args.corpus, args.out) for size in {one.model.vocab_size for one in chosen}}
    rows = list(results(chosen, corpora, args.out, args.steps))
    print(table(rows))
    print(json.dumps({"shape": asdict(SHAPE), "steps": args.steps, "results": rows}))


if __name__ == "__main__":
    main()
