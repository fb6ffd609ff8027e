"""`mezzotint complete FILE:LINE:COL`: one completion in a terminal, every denoising step drawn.

Rule: mask, context and cleanup are the server's own; here is only reading the file, showing drafts and saying clearly
what is wrong with the position.

    mezzotint complete src/app.py:12:9 --json
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lsp_server import user_config
from lsp_server.options import Options
from lsp_server.suggest.cleanup import Frame, clean
from lsp_server.suggest.context import frame, infill_request
from lsp_server.suggest.holes import Plan, plan_at
from lsp_server.text.documents import Snapshot, snapshot
from lsp_server.text.files import read_regular
from lsp_server.text.languages import language_of
from lsp_server.text.secrets import secret_in
from lsp_server.tools.drawing import BLACK, Around, Screen, Span, Stage, rows_of

if TYPE_CHECKING:
    from diffusion.engine import Engine
    from diffusion.request import Draft, InfillRequest

CONTEXT_LINES = 3
OPTIONS = Options(deadline_ms=0)  # nobody is typing: let it finish


class Shown(NamedTuple):
    """One draft after cleanup, and the time the engine had spent when it came."""

    step: int
    text: str
    masked: list[Span]
    forward_passes: int
    ms: float


def make_parser() -> argparse.ArgumentParser:
    """The command line of `mezzotint complete`."""
    parser = argparse.ArgumentParser(
        prog="mezzotint complete",
        description="Complete one position of a file; in a terminal every denoising step is drawn, in a pipe only the "
        "final text is printed.",
    )
    parser.add_argument("position", metavar="FILE:LINE:COL", help="where the cursor stands; both numbers begin at 1")
    parser.add_argument("--json", action="store_true", help="print one JSON line with every draft")
    parser.add_argument("--delay-ms", type=int, default=0, metavar="MS", help="wait between steps, for demonstrations")
    parser.add_argument("--model", metavar="MODEL", help="model folder, or a name (default: your configuration's)")
    parser.add_argument("--adapter", metavar="FOLDER", help="what `mezzotint adapt` made (default: with your model)")
    parser.add_argument("--device", help="where the model runs (default: your configuration's, or cpu)")
    return parser


def split_position(position: str) -> tuple[Path, int, int]:
    """(file, line, column) of FILE:LINE:COL; the file's name may hold colons."""
    name, _, column = position.rpartition(":")
    name, _, line = name.rpartition(":")
    if not name or not (line.isdecimal() and column.isdecimal()):
        raise ValueError(f"expected FILE:LINE:COL, got {position!r}")
    return Path(name), int(line), int(column)


def read_file(path: Path) -> Snapshot:
    """The file, parsed; ValueError in one line for a user if it cannot or should not be read."""
    try:
        if reason := secret_in(path.absolute().as_uri(), 0, ""):  # before it is read
            raise ValueError(f"{path} is not completed: {reason}")
        data = read_regular(path, OPTIONS.max_file_bytes + 1, follow_links=True)
        if len(data) > OPTIONS.max_file_bytes:
            raise ValueError(f"{path} is larger than {OPTIONS.max_file_bytes} bytes; such files are not completed")
        text = data.decode("utf-8")
        if reason := secret_in(path.absolute().as_uri(), 1, text):
            raise ValueError(f"{path} is not completed: {reason}")
    except FileNotFoundError:
        raise ValueError(f"no such file: {path}") from None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}") from None
    return snapshot(str(path), text, language_of("", path.name), encoding="utf-32")


def offset_of(document: Snapshot, line: int, column: int) -> int:
    """Offset of a 1-based position; ValueError if it is outside of the file."""
    if not 1 <= line <= len(document.lines):
        raise ValueError(f"line {line} is outside of {document.uri}, which has {len(document.lines)} line(s)")
    start = document.lines[line - 1]
    length = document.line_end(start) - start
    if not 1 <= column <= length + 1:
        raise ValueError(f"column {column} is outside of line {line}, which has columns 1 to {length + 1}")
    return start + column - 1


def around_hole(document: Snapshot, plan: Plan) -> Around:
    """A few lines of context for the drawing."""
    line = document.point_at(plan.start)[0]
    text, first, last = document.text, document.line_start(plan.start), document.line_end(plan.end)
    above = text[:first].splitlines()[-CONTEXT_LINES:]
    below = text[last:].splitlines()[1 : 1 + CONTEXT_LINES]
    return Around(above, text[first : plan.start], text[plan.end : last], below, line + 1)


def cleaned(draft: Draft, around: Frame) -> tuple[str, list[Span]]:
    """Text and undecided spans of a draft as an editor would get them."""
    fit = clean(draft.text, around)
    if fit is None:
        return "", []
    return fit.of(draft.text), [(start, min(stop, fit.keep)) for start, stop in draft.masked if start < fit.keep]


def run(load: Callable[[], Engine], request: InfillRequest, around: Frame) -> Iterator[Shown]:
    """Every draft, `ms` after the start; loading is not counted."""
    engine = load()
    began = time.perf_counter()
    for draft in engine.infill(request, lambda: False):
        ms = (time.perf_counter() - began) * 1000
        text, masked = cleaned(draft, around)
        yield Shown(draft.step, text, masked, draft.forward_passes, ms)


def draw(drafts: Iterator[Shown], around: Around, delay_ms: int) -> Iterator[Shown]:
    """Draw every draft as it comes, the last one plain, and one line of numbers."""
    screen = Screen(sys.stdout, colours="NO_COLOR" not in os.environ)
    before, last = None, None
    screen.draw(rows_of(around, BLACK, None, screen.width), final=False)
    for last in drafts:
        stage = Stage(last.text, last.masked)
        screen.draw(rows_of(around, stage, before, screen.width), final=False)
        before = stage
        time.sleep(delay_ms / 1000)
        yield last
    screen.draw(rows_of(around, before or Stage("", ()), None, screen.width, final=True), final=True)
    if last is not None:
        print(f"{last.step} steps, {last.forward_passes} forward passes, {last.ms:.0f} ms")


def as_json(drafts: list[Shown], info: dict[str, object]) -> str:
    """The line that `--json` prints."""
    last = drafts[-1] if drafts else Shown(0, "", [], 0, 0.0)
    return json.dumps({
        "text": last.text, "steps": last.step, "forward_passes": last.forward_passes, "ms": round(last.ms, 1),
        "drafts": [{"step": shown.step, "text": shown.text, "masked": shown.masked} for shown in drafts],
        "model": info.get("model"), "device": info.get("device"),
    })  # fmt: skip


def complete(args: argparse.Namespace, document: Snapshot, offset: int) -> int:
    """Run the model and show what it does; where nothing can be offered, say so."""

    @functools.cache
    def load() -> Engine:
        from diffusion.engine import Engine
        from diffusion.hub.cache import folder_of

        mine = user_config.read()[0]
        adapter = args.adapter or (mine.adapter if args.model is None else "")
        return Engine.load(
            folder_of(mine.model if args.model is None else args.model), device=args.device or mine.device,
            adapter=Path(adapter) if adapter else None,
        )  # fmt: skip

    interactive = sys.stdout.isatty() and not args.json
    drafts: list[Shown] = []
    plan = plan_at(document, offset)
    if plan is None:
        print("mezzotint complete: nothing to offer here (no code yet, or inside a string or comment)", file=sys.stderr)
    else:
        stages = run(load, infill_request(document, plan, OPTIONS), frame(document, plan))
        if args.delay_ms:
            stages = iter(list(stages))  # the loop would wait for the drawing, or run ahead of it: neither is its time
        drafts = list(draw(stages, around_hole(document, plan), args.delay_ms) if interactive else stages)
    if args.json:
        print(as_json(drafts, dict(load().info)))
    elif not interactive:
        print(drafts[-1].text if drafts else "")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run `mezzotint complete`; 2 and one line on stderr for a bad position or file, 1 for a bad model."""
    args = make_parser().parse_args(argv)
    try:
        path, line, column = split_position(args.position)
        document = read_file(path)
        offset = offset_of(document, line, column)
    except ValueError as error:
        print(f"mezzotint complete: {error}", file=sys.stderr)
        return 2
    try:
        return complete(args, document, offset)
    except (ValueError, RuntimeError) as error:
        print(f"mezzotint complete: {error}", file=sys.stderr)
        return 1
