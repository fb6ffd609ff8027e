"""The training run: draws batches, steps, measures on held-out packages, checkpoints, resumes, exports.

Rule: a run is a share of a time budget, so that an interrupted run resumes where it stood and ends on time.

    metrics = train(Path(".corpus/data"), Path(".runs/v0"), RunConfig(minutes=90))
"""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from diffusion.model.config import ModelConfig
from diffusion.model.load import load_model, save_model
from diffusion.model.transformer import Transformer
from diffusion.train.batches import Batch, Packer
from diffusion.train.dataset import Dataset
from diffusion.train.feed import feed
from diffusion.train.own_drafts import predict, with_own_drafts
from diffusion.train.recipe import CHECKS, Recipe
from diffusion.train.step import (
    Mask,
    attention_mask,
    clip,
    compute_losses,
    learning_rate,
    make_optimizers,
    set_learning_rate,
)

Pair = tuple[float, float]  # (next-token loss, diffusion loss)
Losses = Callable[[Transformer, Batch, Mask], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class RunConfig:
    """What one run is; saved in its checkpoints and in the model card."""

    model: ModelConfig = field(default_factory=ModelConfig)
    recipe: Recipe = field(default_factory=Recipe)
    minutes: float = 90.0
    max_steps: int = 0  # a second bound, for runs that must not depend on the clock; 0: none
    rows: int = 640
    sequences: int = 5  # in one forward pass
    accumulate: int = 3  # forward passes per optimizer step
    workers: int = 0  # processes that draw batches; 0: this one
    lr: float = 3e-3
    decay: float = 0.4
    seed: int = 0
    device: str = "cpu"
    compile: bool = True
    start_from: str = ""  # a model folder for a warm restart


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    rows: int = 0
    seconds: float = 0.0


def share_done(at: Progress, config: RunConfig) -> float:
    """How much of the run is over, 0 to 1."""
    return max(at.seconds / (60 * config.minutes), at.step / config.max_steps if config.max_steps else 0.0)


def validate(losses: Losses, model: Transformer, batches: list[Batch]) -> Pair:
    """Mean (next-token, diffusion) loss of held-out batches."""
    with torch.no_grad():
        pairs = [losses(model, batch, attention_mask(batch)) for batch in batches]
    return mean([float(pair[0]) for pair in pairs]), mean([float(pair[1]) for pair in pairs])


def save_checkpoint(path: Path, model: Transformer, optimizers: list[torch.optim.Optimizer], at: Progress) -> None:
    """Everything a resumed run needs, in one file, written beside and then moved over the last one."""
    state = {
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "progress": asdict(at),
    }
    torch.save(state, path / "state.tmp")
    (path / "state.tmp").replace(path / "state.pt")


def load_checkpoint(path: Path, model: Transformer, optimizers: list[torch.optim.Optimizer]) -> Progress:
    """Restore model and optimizers from `path`/state.pt if there is one."""
    if not (path / "state.pt").exists():
        return Progress()
    state = torch.load(path / "state.pt", weights_only=True)
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return Progress(**state["progress"])


def new_model(config: RunConfig) -> Transformer:
    """Fresh weights, or those of `config.start_from`."""
    if config.start_from:
        model, _ = load_model(Path(config.start_from))
        return model.requires_grad_(True).train().to(config.device)
    model = Transformer(config.model)
    model.init_weights(torch.Generator().manual_seed(config.seed))
    return model.to(config.device)


def train(corpus: Path, out: Path, config: RunConfig, call_minutes: float = math.inf) -> dict[str, object]:
    """Run until the time budget is used up, `call_minutes` are over or SIGTERM/SIGINT comes.

    Returns (and prints) the last metrics.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "run.json").write_text(json.dumps(asdict(config), indent=1) + "\n", encoding="utf-8")
    held_out = Dataset.open(corpus / "held_out")
    model = new_model(config)
    optimizers = make_optimizers(model, config.lr)
    at = load_checkpoint(out, model, optimizers)
    batches = feed(corpus, config.rows, config.sequences, (config.seed, at.step), config.workers, config.recipe)
    batches = prepared(batches, model, config)
    checks = Packer(held_out, config.rows, 12345, CHECKS)
    check_batches = [checks.batch(config.sequences).to(config.device) for _ in range(8)]
    losses: Losses = torch.compile(compute_losses, dynamic=False) if config.compile else compute_losses
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.append(1))
    last_save = last_check = started = time.monotonic()
    base_seconds = at.seconds
    flops_per_row = 6 * sum(parameter.numel() for parameter in model.parameters())  # forward and backward, no attention
    means: Pair | None = None
    while (progress := share_done(at, config)) < 1 and not stop and time.monotonic() - started < 60 * call_minutes:
        lr = learning_rate(progress, config.lr, decay=config.decay)
        set_learning_rate(optimizers, lr)
        pair = optimizer_step(losses, model, optimizers, batches, config)
        means = pair if means is None else (0.95 * means[0] + 0.05 * pair[0], 0.95 * means[1] + 0.05 * pair[1])
        now = time.monotonic()
        at.step += 1
        at.rows += config.rows * config.sequences * config.accumulate
        at.seconds = base_seconds + now - started
        report(at, means, lr, config, flops_per_row)
        if now - last_save > 60:
            save_checkpoint(out, model, optimizers, at)
            last_save = now
        if now - last_check > 300:
            log_metrics(out, at, means, validate(losses, model, check_batches))
            last_check = now
    save_checkpoint(out, model, optimizers, at)
    metrics = log_metrics(out, at, means or (0.0, 0.0), validate(losses, model, check_batches))
    save_model(out / "model", model, (corpus / "tokenizer.json").read_bytes())
    print(json.dumps(metrics))
    return metrics


def prepared(batches: Iterator[Batch], model: Transformer, config: RunConfig) -> Iterator[Batch]:
    """The batches on the device that trains, with the model's own drafts in them where the recipe says so."""
    best = torch.compile(predict, dynamic=False) if config.compile else predict
    for number, batch in enumerate(batches):
        moved = batch.to(config.device)
        if config.recipe.own_draft_share:
            moved = with_own_drafts(best(model, moved, attention_mask(moved)), moved, config.recipe, number)
        yield moved


def optimizer_step(
    losses: Losses,
    model: Transformer,
    optimizers: list[torch.optim.Optimizer],
    batches: Iterator[Batch],
    config: RunConfig,
) -> Pair:
    """Forward and backward over the accumulated batches, then one update; returns the mean losses."""
    sums = torch.zeros(2, device=config.device)  # read once a step: a GPU must not wait for it
    for _ in range(config.accumulate):
        batch = next(batches)
        pair = losses(model, batch, attention_mask(batch))
        ((config.recipe.ar_weight * pair[0] + pair[1]) / config.accumulate).backward()  # type: ignore[no-untyped-call]
        sums += torch.stack(pair).detach()
    clip(model)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    next_token, diffusion = (sums / config.accumulate).tolist()
    return next_token, diffusion


def report(at: Progress, means: Pair, lr: float, config: RunConfig, flops_per_row: int) -> None:
    """One line on stderr, rewritten in place on a terminal."""
    left = max(0.0, config.minutes - at.seconds / 60)
    rate = at.rows / max(at.seconds, 1)
    line = (
        f"step {at.step}  next-token {means[0]:.3f}  diffusion {means[1]:.3f}  lr {lr:.1e}  "
        f"{rate:,.0f} rows/s  {rate * flops_per_row / 1e12:.2f} TFLOP/s  {left:.0f} min left"
    )
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
    elif at.step % 20 == 0:
        print(line, file=sys.stderr, flush=True)


def log_metrics(out: Path, at: Progress, means: Pair, held_out: Pair) -> dict[str, object]:
    """Append one JSON line to metrics.jsonl."""
    metrics: dict[str, object] = {
        **asdict(at),
        "next_token_loss": round(means[0], 4),
        "diffusion_loss": round(means[1], 4),
        "held_out_next_token_loss": round(held_out[0], 4),
        "held_out_diffusion_loss": round(held_out[1], 4),
    }
    with (out / "metrics.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(metrics) + "\n")
    return metrics
