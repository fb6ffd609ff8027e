"""The run that makes a causal base our model: its layout, where a hole ends, and a canvas that drafts.

Rule: everything a resumed run needs is in `state.pt` of the run's folder, written every few minutes beside and then
moved over the last one; a run goes on for as long as it is let and can be stopped and continued at any time. The
learning rate holds; `decay_minutes` at the end of a call let it fall to zero for a model that is to be used.

    train(base=Path(".base/smollm2-135m"), corpus=Path(".corpus/data"), out=Path(".runs/base"), config=BaseRun())
"""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from diffusion.model.card import ModelFolder, open_folder
from diffusion.model.load import load_weights, save_model
from diffusion.model.transformer import Transformer
from diffusion.train.base_loss import freeze, losses_at, told_rows
from diffusion.train.batches import Batch, Packer
from diffusion.train.dataset import Dataset
from diffusion.train.export import KEPT
from diffusion.train.feed import feed
from diffusion.train.recipe import VERDICT, Recipe
from diffusion.train.step import attention_mask, clip, set_learning_rate

SAVE_S, CHECK_S = 300, 2400
N_CHECKS = 16  # held-out sequences


@dataclass(frozen=True)
class BaseRun:
    """What a run is. `rows` in a sequence, of which `told` have logits.

    `sequences` per optimizer step, of which `together` go through the model at once; `workers` processes draw them.
    """

    minutes: float = 60.0
    decay_minutes: float = 0.0
    rows: int = 1024
    told: int = 640
    sequences: int = 1
    together: int = 1
    workers: int = 0
    lr: float = 1e-4
    warmup_steps: int = 100
    seed: int = 0
    device: str = "cpu"
    compile: bool = True
    recipe: Recipe = field(default_factory=lambda: VERDICT)


@dataclass
class At:
    """Where a run stands, over all its calls."""

    step: int = 0
    rows: int = 0
    seconds: float = 0.0


def train(base: Path, corpus: Path, out: Path, config: BaseRun) -> dict[str, object]:
    """Train for `config.minutes`, or until SIGTERM or SIGINT; returns the last metrics."""
    out.mkdir(parents=True, exist_ok=True)
    about = {**asdict(config), "start_from": str(base)}
    (out / "run.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    folder = open_folder(base)
    tokenizer = folder.tokenizer()
    model = load_weights(folder).to(config.device).requires_grad_(True).train()
    embed = freeze(model, tokenizer.specials)
    model.to(config.device)
    if config.compile:
        for block in model.blocks:  # one by one: all are one graph, which is compiled once
            block.compile(dynamic=False)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=config.lr, betas=(0.9, 0.95), weight_decay=0.01
    )
    at = resume(out, model, optimizer)
    batches = feed(
        corpus, config.rows, config.together, (config.seed, at.step), config.workers, config.recipe, folder.layout,
        folder.config.shift,
    )  # fmt: skip
    checks = check_batches(corpus, folder, config)
    generator = torch.Generator().manual_seed(at.step)
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.append(1))
    flops = (
        6 * sum(p.numel() for p in model.blocks.parameters()) + 4 * embed.weight.numel() * config.told // config.rows
    )
    started = saved = checked = time.monotonic()
    before = at.seconds
    means: list[float] = []
    while (left := 60 * config.minutes - (time.monotonic() - started)) > 0 and not stopped:
        set_learning_rate([optimizer], rate_at(at.step, left, config))
        pair = one_step(model, optimizer, batches, config, generator)
        means = [0.97 * mean + 0.03 * value for mean, value in zip(means or pair, pair, strict=True)]
        now = time.monotonic()
        at = At(at.step + 1, at.rows + config.rows * config.sequences, before + now - started)
        if at.step % 10 == 0:
            report(at, means, left, flops)
        if now - saved > SAVE_S:
            save_state(out, model, optimizer, at)
            saved = now
        if now - checked > CHECK_S:
            log(out, at, means, validate(model, checks, config))
            checked = now
    save_state(out, model, optimizer, at)
    metrics = log(out, at, means, validate(model, checks, config))
    export(out / "model", folder, model, embed.merged())
    return metrics


def rate_at(step: int, left_s: float, config: BaseRun) -> float:
    """Warmed up at first, then held; falling to zero in the last `decay_minutes`."""
    warm = min(1.0, (step + 1) / config.warmup_steps)
    return config.lr * warm * min(1.0, left_s / (60 * config.decay_minutes) if config.decay_minutes else 1.0)


def one_step(
    model: Transformer,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[Batch],
    config: BaseRun,
    generator: torch.Generator,
) -> list[float]:
    """Forward and backward over `config.sequences` sequences and one update; the mean losses."""
    passes = config.sequences // config.together
    sums = torch.zeros(2, device=config.device)  # read once a step: a GPU must not wait for it
    for batch in itertools.islice(batches, passes):
        moved = batch.to(config.device)
        rows = told_rows(batch, config.told * config.together, generator).to(config.device)
        pair = torch.stack(losses_at(model, moved, attention_mask(moved), rows))
        ((config.recipe.ar_weight * pair[0] + pair[1]) / passes).backward()  # type: ignore[no-untyped-call]
        sums += pair.detach() / passes
    clip(model)
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)
    losses: list[float] = sums.tolist()
    return losses


def check_batches(corpus: Path, folder: ModelFolder, config: BaseRun) -> list[Batch]:
    """The same held-out sequences for every run."""
    held_out = Dataset.open(corpus / "held_out", folder.tokenizer())
    packer = Packer(held_out, config.rows, 12345, VERDICT, folder.layout, folder.config.shift)
    return [packer.batch(1) for _ in range(N_CHECKS)]


def validate(model: Transformer, checks: list[Batch], config: BaseRun) -> list[float]:
    """Mean losses of held-out sequences."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        rows = [told_rows(batch, config.told, generator).to(config.device) for batch in checks]
        moved = [batch.to(config.device) for batch in checks]
        pairs = [losses_at(model, b, attention_mask(b), at) for b, at in zip(moved, rows, strict=True)]
    return [sum(float(pair[i]) for pair in pairs) / len(pairs) for i in range(2)]


def save_state(out: Path, model: Transformer, optimizer: torch.optim.Optimizer, at: At) -> None:
    """Write what a resumed run needs."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "at": asdict(at)}
    torch.save(state, out / "state.tmp")
    (out / "state.tmp").replace(out / "state.pt")


def resume(out: Path, model: Transformer, optimizer: torch.optim.Optimizer) -> At:
    """Restore the last state of the run in `out`, if there is one."""
    if not (out / "state.pt").exists():
        return At()
    state = torch.load(out / "state.pt", weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return At(**state["at"])


def export(path: Path, folder: ModelFolder, model: Transformer, embed: torch.Tensor) -> None:
    """Write the model as an ordinary folder, bfloat16."""
    whole = Transformer(folder.config).to(torch.bfloat16)
    whole.load_state_dict({"embed.weight": embed} | {k: v for k, v in model.state_dict().items() if k != "embed.rows"})
    save_model(path, whole, (folder.path / "tokenizer.json").read_bytes(), torch.bfloat16, folder)
    for name in KEPT:
        if (folder.path / name).exists():
            shutil.copyfile(folder.path / name, path / name)


def report(at: At, means: list[float], left_s: float, flops_per_row: int) -> None:
    """One line on stderr; the operations are those of the matrices, forward and backward, without attention."""
    rate = at.rows / max(at.seconds, 1.0)
    print(
        f"step {at.step}  {at.rows / 1e6:.3f}M rows  next-token {means[0]:.3f}  canvas {means[1]:.3f}  "
        f"{rate:,.0f} rows/s  {rate * flops_per_row / 1e9:.0f} GFLOP/s  {left_s / 60:.0f} min left",
        file=sys.stderr,
        flush=True,
    )


def log(out: Path, at: At, means: list[float], held_out: list[float]) -> dict[str, object]:
    """Append one JSON line to metrics.jsonl."""
    names = ("next_token_loss", "canvas_loss", "held_out_next_token_loss", "held_out_canvas_loss")
    values = (round(value, 4) for value in [*means, *held_out])
    metrics: dict[str, object] = {**asdict(at), **dict(zip(names, values, strict=True))}
    with (out / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(metrics) + "\n")
    print(json.dumps(metrics), file=sys.stderr, flush=True)
    return metrics
