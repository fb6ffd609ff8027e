"""The run of an adaptation: learns within a number of minutes, looks at the held-out loss, keeps the best, resumes.

Rule: everything a resumed run needs is in `state.pt` of its folder, written beside and then moved over the last one.
Minutes are those of learning, of all calls together. The base is read, never written.

    history = learn(folder, data, checks, Path("mine"), AdaptRun(minutes=10), stopped=lambda: False)
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from diffusion.adapt.lora import grow, losses
from diffusion.layout import Layout
from diffusion.model.card import ModelFolder
from diffusion.model.load import load_weights
from diffusion.model.transformer import Transformer
from diffusion.train.base_loss import told_rows
from diffusion.train.batches import Batch, Packer
from diffusion.train.dataset import Dataset
from diffusion.train.recipe import VERDICT, Recipe
from diffusion.train.step import attention_mask, clip, learning_rate, precision, set_learning_rate
from diffusion.vocabulary import NONE

STATE = "state.pt"
SAVE_S = 60
N_CHECKS = 4  # held-out sequences
CHECK_SHARE = 0.2  # of a run, between two looks at the held-out loss
PATIENCE = 2  # looks without a better one
ADAPT = replace(VERDICT, context_weight=1.0, ar_weight=2.0)


@dataclass(frozen=True)
class AdaptRun:
    """What a run is; the defaults are what docs/adapt.md chose. `told`: the share of rows that have logits."""

    minutes: float = 10.0
    rank: int = 16
    lr: float = 1e-3
    told: float = 0.625
    seed: int = 0
    max_steps: int = 0  # a second bound, for runs that must not depend on the clock; 0: none
    recipe: Recipe = field(default_factory=lambda: ADAPT)


@dataclass
class Run:
    """Where a run stands, over all its calls; `history`: (minutes, step, next-token and canvas loss held out)."""

    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    best: float = float("inf")
    since_best: int = 0
    history: list[tuple[float, int, float, float]] = field(default_factory=list)

    def share_done(self, config: AdaptRun) -> float:
        """How much of it is over, 0 to 1."""
        by_steps = self.step / config.max_steps if config.max_steps else 0.0
        return max(self.seconds / (60 * config.minutes), by_steps)


def recipe_of(folder: ModelFolder) -> Recipe:
    """What is asked of a model while it learns: as its own training did, with more weight on the text itself."""
    return ADAPT if folder.policy == "verdict" else Recipe()


def refuse_unfit(folder: ModelFolder) -> None:
    """ValueError for a model that has no canvas behind a context, or none at all."""
    ids = folder.vocabulary
    if folder.config.in_place or NONE in (ids.mask, ids.far_prefix, ids.near_suffix, ids.near_prefix):
        raise ValueError(f"{folder.name} cannot be adapted: it has no canvas behind a context (docs/adapt.md)")


def packer(folder: ModelFolder, data: Dataset, seed: int, recipe: Recipe) -> Packer:
    """Draws packed sequences in the model's layout, as `mezzotint train` does."""
    large = folder.config.max_context >= 1024
    rows, layout = (1024, Layout.of(1024)) if large else (640, Layout())
    return Packer(data, rows, seed, recipe, layout, folder.config.shift)


def held_out_batches(folder: ModelFolder, data: Dataset, recipe: Recipe) -> list[Batch]:
    """The same sequences of the held-out files for every run."""
    source = packer(folder, data, 12345, recipe)
    return [source.batch(1) for _ in range(N_CHECKS)]


class Learner:
    """The matrices that learn beside a frozen model, the best of them so far, and where the run stands."""

    def __init__(
        self, folder: ModelFolder, data: Dataset, checks: list[Batch], out: Path, config: AdaptRun, belongs: str
    ) -> None:
        self.checks, self.out, self.config, self.belongs = checks, out, config, belongs
        self.judged = folder.policy == "verdict"  # then the canvas only drafts: the next token's loss is what counts
        self.model = load_weights(folder, precision(torch.device("cpu")))
        self.learned = grow(self.model, config.rank, config.seed)
        self.optimizer = torch.optim.AdamW(
            list(self.learned.values()), lr=config.lr, betas=(0.9, 0.95), weight_decay=0.0
        )
        self.best: dict[str, Tensor] = {}
        self.at = self.resumed() if (out / STATE).exists() else Run()
        self.source = packer(folder, data, config.seed + 1 + self.at.step, config.recipe)
        self.generator = torch.Generator().manual_seed(self.at.step)

    def run(self, stopped: Callable[[], bool]) -> None:
        """Go on until the time is used up, nothing gets better, or `stopped`."""
        at, clock, saved = self.at, Clock(self.at), time.monotonic()
        if not at.history:
            self.look()
        next_look = (int(at.share_done(self.config) / CHECK_SHARE) + 1) * CHECK_SHARE
        while at.share_done(self.config) < 1 and at.since_best < PATIENCE and not stopped():
            self.step()
            clock.tick()
            if at.share_done(self.config) >= next_look:
                self.look()
                clock.tick()
                next_look += CHECK_SHARE
            if time.monotonic() - saved > SAVE_S:
                self.save()
                saved = time.monotonic()
        if at.history[-1][1] != at.step:
            self.look()
        self.save()

    def step(self) -> None:
        """Learn from one sequence."""
        lr = learning_rate(self.at.share_done(self.config), self.config.lr, warmup=0.05, decay=0.6)
        set_learning_rate([self.optimizer], lr)
        pair = one_step(self.model, self.optimizer, self.source.batch(1), self.config, self.generator)
        self.at.step += 1
        report(self.at, pair, self.config)

    def look(self) -> None:
        """Measure the held-out loss; keep the matrices if it is the lowest so far."""
        at, generator = self.at, torch.Generator().manual_seed(0)
        with torch.no_grad():
            told = [told_rows(batch, n_told(batch, self.config), generator) for batch in self.checks]
            pairs = [losses(self.model, b, attention_mask(b), rows) for b, rows in zip(self.checks, told, strict=True)]
        next_token, canvas = (sum(float(pair[i]) for pair in pairs) / len(pairs) for i in range(2))
        at.history.append((round(at.seconds / 60, 2), at.step, round(next_token, 4), round(canvas, 4)))
        value = next_token if self.judged else self.config.recipe.ar_weight * next_token + canvas
        at.since_best = 0 if value < at.best else at.since_best + 1
        if value < at.best:
            at.best = value
            self.best = {name: parameter.detach().clone() for name, parameter in self.learned.items()}
        said = f"held out, after {at.seconds / 60:.1f} min: next-token {next_token:.3f}, canvas {canvas:.3f}"
        said += f" ({at.since_best} since the best)" if at.since_best else ""
        print(f"\r\x1b[K{said}" if sys.stderr.isatty() else said, file=sys.stderr, flush=True)

    def save(self) -> None:
        """Write what a resumed run needs."""
        now = {name: parameter.detach() for name, parameter in self.learned.items()}
        state = {"learned": now, "optimizer": self.optimizer.state_dict(), "best": self.best,
                 "run": json.dumps(asdict(self.at)), "belongs": self.belongs}  # fmt: skip
        with whole(self.out / STATE) as unfinished:
            torch.save(state, unfinished)

    def resumed(self) -> Run:
        """Restore the run in `out`; ValueError if it is not the one asked for."""
        path = self.out / STATE
        try:
            state = torch.load(path, weights_only=True)
            if state["belongs"] != self.belongs:
                raise ValueError(
                    f"{self.out} holds a run on other files, of another model or rank: another --out, or --anew"
                )
            with torch.no_grad():
                for name, parameter in self.learned.items():
                    parameter.copy_(state["learned"][name])
            self.optimizer.load_state_dict(state["optimizer"])
            self.best = state["best"]
            return Run(**json.loads(state["run"]))
        except (RuntimeError, KeyError, TypeError, EOFError, OSError, UnpicklingError) as error:
            raise ValueError(f"cannot go on from {path}, which is cut off or no state: --anew forgets it") from error


def learn(
    folder: ModelFolder,
    data: Dataset,
    checks: list[Batch],
    out: Path,
    config: AdaptRun,
    stopped: Callable[[], bool],
    belongs: str = "",
) -> tuple[Run, dict[str, Tensor]]:
    """Run, or go on; where the run stands and the best matrices so far.

    `belongs`: to what a state in `out` must belong; ValueError if it is another's.
    """
    learner = Learner(folder, data, checks, out, config, belongs)
    learner.run(stopped)
    return learner.at, learner.best


def n_told(batch: Batch, config: AdaptRun) -> int:
    """Rows of a batch that have logits."""
    return int(config.told * batch.ids.numel())


class Clock:
    """Adds what has passed to a run."""

    def __init__(self, at: Run) -> None:
        self.at, self.before = at, (at.seconds, at.cpu_seconds)
        self.began = time.monotonic(), time.process_time()

    def tick(self) -> None:
        """Bring the run's times up to now."""
        self.at.seconds = self.before[0] + time.monotonic() - self.began[0]
        self.at.cpu_seconds = self.before[1] + time.process_time() - self.began[1]


def one_step(
    model: Transformer, optimizer: torch.optim.Optimizer, batch: Batch, config: AdaptRun, generator: torch.Generator
) -> tuple[float, float]:
    """Forward and backward over one sequence and one update; its losses."""
    rows = told_rows(batch, n_told(batch, config), generator)
    next_token, canvas = losses(model, batch, attention_mask(batch), rows)
    (config.recipe.ar_weight * next_token + canvas).backward()  # type: ignore[no-untyped-call]
    clip(model)
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)
    return next_token.item(), canvas.item()


def report(at: Run, pair: tuple[float, float], config: AdaptRun) -> None:
    """One line on stderr, rewritten in place on a terminal."""
    left_s = max(0.0, at.seconds / max(at.share_done(config), 1e-9) - at.seconds)
    line = f"step {at.step}  next-token {pair[0]:.3f}  canvas {pair[1]:.3f}  {left_s / 60:.1f} min left"
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
    elif at.step % 10 == 0:
        print(line, file=sys.stderr, flush=True)


def forget(out: Path) -> None:
    """Remove the state of a run that is over, or not wanted any more."""
    (out / STATE).unlink(missing_ok=True)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place once it is written; what could not be written is removed."""
    unfinished = path.with_name(f"{path.name}.tmp")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
