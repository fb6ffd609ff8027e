"""`mezzotint adapt FOLDER...`: the model learns somebody's own code and says what that was worth on files held out.

Rule: nothing leaves the machine, nothing of the folder is run, and the base stays as it is: the result is a folder of
its own, for the option `adapter`. Stopped with Ctrl-C it goes on where it was when it is called again. What is wrong is
one sentence on stderr and exit status 1.

    mezzotint adapt ~/work/app --minutes 10
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsp_server import user_config
from lsp_server.tools.adapt_files import Found, gather

if TYPE_CHECKING:
    from diffusion.adapt.run import AdaptRun
    from diffusion.evaluate.cases import SourceFile
    from diffusion.model.card import ModelFolder

ROOM_BYTES = 300_000_000  # on the disk: the state of a run twice, and the adapter
STOPPED = 130


def make_parser() -> argparse.ArgumentParser:
    """The command line of `mezzotint adapt`."""
    parser = argparse.ArgumentParser(
        prog="mezzotint adapt", description="Teach a model your own code, and measure on files held out what it gains."
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="learn what git tracks there")
    parser.add_argument("--from", dest="base", default="", metavar="MODEL", help="folder or name (default: embedded)")
    parser.add_argument("--minutes", type=float, default=10.0, help="of learning, all calls together (%(default)g)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="the adapter (default: in your data folder)")
    parser.add_argument("--anew", action="store_true", help="forget what an earlier call left in --out")
    parser.add_argument("--holes", type=int, default=200, metavar="N", help="lines to measure on (%(default)s)")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="of the run, e.g. rank=8 lr=0.002")
    return parser


def data_home() -> Path:
    """Where programs keep a user's data, by the XDG rules."""
    home = os.environ.get("XDG_DATA_HOME", "")
    return Path(home) if os.path.isabs(home) else Path.home() / ".local" / "share"


def settings(pairs: Sequence[str], minutes: float, folder: ModelFolder) -> AdaptRun:
    """The run that NAME=VALUE pairs describe; ValueError if one is unknown or no number."""
    from diffusion.adapt.run import AdaptRun, recipe_of

    numbers = {name: type(value) for name, value in vars(AdaptRun()).items() if isinstance(value, (int, float))}
    values: dict[str, Any] = {"minutes": minutes, "recipe": recipe_of(folder)}
    for name, _, value in (pair.partition("=") for pair in pairs):
        if name not in numbers:
            raise ValueError(f"--set: {name} is none of {', '.join(numbers)}")
        values[name] = numbers[name](value)
    if not 0 < minutes < float("inf"):
        raise ValueError("--minutes must be more than 0")
    return AdaptRun(**values)


def prepare(out: Path, anew: bool) -> None:
    """Make the folder; OSError if it cannot be written, ValueError if the disk is full."""
    from diffusion.adapt.run import forget

    out.mkdir(parents=True, exist_ok=True)
    if anew:
        forget(out)
    free = shutil.disk_usage(out).free
    if free < ROOM_BYTES:
        raise ValueError(f"{out}: {free / 1e6:.0f} MB are free on its disk; it takes {ROOM_BYTES / 1e6:.0f}")


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM came; the second one ends the process."""
    came: list[int] = []

    def stop(number: int, _frame: object) -> None:
        came.append(number)
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        # Not print: a signal that comes while stderr is being written would enter its buffer twice, a RuntimeError.
        with suppress(OSError):  # nobody reads it any more
            os.write(2, b"\nstopping behind this step...\n")

    before = [(number, signal.signal(number, stop)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@dataclass(frozen=True)
class Task:
    """What a call is to do; `base`: the `weights_hash` of the model."""

    folder: ModelFolder
    base: str
    config: AdaptRun
    learned: list[SourceFile]
    held_out: list[SourceFile]
    out: Path

    @property
    def belongs(self) -> str:
        """To what the state of a run belongs: another model, rank, seed or file makes another."""
        from diffusion.adapt.data import digest

        files = (f"{file.name} {digest(file.text)}" for file in self.learned)
        return digest("\n".join([self.base, str(self.config.rank), str(self.config.seed), *files]))


def task_of(args: argparse.Namespace) -> Task:
    """Look at the model and the files; ValueError says what is wrong with them."""
    from diffusion.adapt.data import split
    from diffusion.adapt.run import refuse_unfit
    from diffusion.hub.cache import folder_of
    from diffusion.model.card import open_folder, weights_hash
    from diffusion.model.config import EMBEDDED

    folder = open_folder(folder_of(args.base) or EMBEDDED)
    refuse_unfit(folder)
    config = settings(args.set, args.minutes, folder)
    found = gather(args.folders, user_config.read()[0])
    try:
        learned, held_out = split(found.files)
    except ValueError as error:
        raise ValueError("; ".join([str(error), *said_left_out(found)])) from error
    print(f"{len(learned)} files to learn from, {len(held_out)} held out to measure on")
    print(*said_left_out(found), sep="\n", end="\n" if found.left_out else "")
    out = args.out or data_home() / "mezzotint" / "adapters" / args.folders[0].resolve().name
    return Task(folder, weights_hash(folder.path), config, learned, held_out, out)


def said_left_out(found: Found) -> list[str]:
    """A phrase about the files that are not learned, if there are any."""
    counts = ", ".join(f"{n} {reason}" for reason, n in sorted(found.left_out.items()))
    return [f"left out: {counts}"] if counts else []


def learn(task: Task, anew: bool) -> tuple[dict[str, Any], bool]:
    """Learn and write the adapter; its card, and whether the run was stopped."""
    from diffusion.adapt import data, run
    from diffusion.adapt.card import about, write_adapter

    tokenizer, config = task.folder.tokenizer(), task.config
    texts = data.in_memory(task.learned, tokenizer)
    checks = run.held_out_batches(task.folder, data.in_memory(task.held_out, tokenizer, least=0), config.recipe)
    prepare(task.out, anew)
    print(f"{len(texts.tokens):,} tokens, {config.minutes:g} minutes; Ctrl-C stops, the same call goes on", flush=True)
    with interrupts() as stopped:
        at, best = run.learn(task.folder, texts, checks, task.out, config, stopped, task.belongs)
        early = stopped()
    card = about(task.base, at, config, task.learned, task.held_out, len(texts.tokens))
    write_adapter(task.out, best, card)
    return card, early


def adapt(args: argparse.Namespace) -> int:
    """Learn, measure, say."""
    from diffusion.adapt.card import write_card
    from diffusion.adapt.run import forget
    from lsp_server.tools import adapt_measure

    task = task_of(args)
    cases = adapt_measure.holes_in(task.held_out, args.holes)
    card, early = learn(task, args.anew)
    if early:
        print(f"stopped after {card['run']['minutes']} minutes; the same call goes on from there", file=sys.stderr)
        return STOPPED
    before, after = (adapt_measure.measure(engine, cases, label) for label, engine in engines(task))
    write_card(task.out, card | {"before": adapt_measure.summary(before), "after": adapt_measure.summary(after)})
    forget(task.out)
    print(f"\n{adapt_measure.table(before, after)}\n\n{adapt_measure.verdict(before, after)}")
    print(f"The adapter: {task.out} (option `adapter`: docs/adapt.md)")
    return 0


def engines(task: Task) -> Iterator[tuple[str, Any]]:
    """The model without and with the adapter, one after the other."""
    from diffusion.engine import Engine

    yield "before", Engine.load(task.folder.path)
    yield "after", Engine.load(task.folder.path, adapter=task.out)


def main(argv: list[str] | None = None) -> int:
    """Run `mezzotint adapt`; 1 and one sentence on stderr for whatever is wrong."""
    args = make_parser().parse_args(argv)
    try:
        return adapt(args)
    except BrokenPipeError:
        raise
    except (ValueError, OSError, RuntimeError) as error:
        print(f"mezzotint adapt: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nmezzotint adapt: stopped; the same call goes on from there", file=sys.stderr)
        return STOPPED
