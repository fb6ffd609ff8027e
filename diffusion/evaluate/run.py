"""`mezzotint eval`: fills held-out holes by diffusion, by recall and token by token, and prints them side by side.

Rule: both decoders get the same requests, with the context encoded beforehand, so that `ms` is the time of decoding.
The table is for people; the last line of stdout is one JSON object.

    mezzotint eval --holdout .corpus/heldout --rest-of-line 500 --multi-line 200 --markdown docs/quality.md
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from cuda_ext.rules import Policy
from diffusion.evaluate import humaneval, mbpp, metrics, report, sandbox
from diffusion.evaluate.cases import MULTI_LINE, OTHERS, REST_OF_LINE, Case, cut, read_folder
from diffusion.evaluate.metrics import Score
from diffusion.evaluate.report import Results
from diffusion.held_out import PYTHON_FOLDERS, SCRIPT_FOLDERS
from diffusion.recall import recalled
from diffusion.request import FROM_MASKS, Draft, InfillRequest
from diffusion.vocabulary import NONE

if TYPE_CHECKING:
    from diffusion.engine import Engine

Decoder = Callable[[InfillRequest, Callable[[], bool]], Iterator[Draft]]

MIN_PACKAGES = 3


def make_parser() -> argparse.ArgumentParser:
    """The command line of `mezzotint eval`."""
    parser = argparse.ArgumentParser(prog="mezzotint eval", description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument(
        "--holdout", type=Path, default=Path(".corpus/heldout"), metavar="DIR",
        help="folder of held-out packages; `make holdout` fills the default, %(default)s",
    )  # fmt: skip
    parser.add_argument("--rest-of-line", type=int, default=500, metavar="N", help="holes to the end of a line (500)")
    parser.add_argument("--multi-line", type=int, default=200, metavar="N", help="holes of 2 to 6 lines (200)")
    parser.add_argument(
        "--others", type=int, default=200, metavar="N",
        help="holes of each other kind: statements, arguments, blocks, random spans (200)",
    )  # fmt: skip
    parser.add_argument(
        "--language", choices=("python", "javascript"), default="python",
        help="of the held-out packages (default %(default)s; javascript is TypeScript too)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="other seeds cut other holes (default 0)")
    parser.add_argument(
        "--humaneval", type=Path, metavar="FILE", help="HumanEval-Infilling problems, .jsonl or .jsonl.gz"
    )
    parser.add_argument("--mbpp", type=Path, metavar="FILE", help="MBPP problems, .jsonl: holes in their solutions")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N problems of each of these two files")
    parser.add_argument("--model", type=Path, metavar="PATH", help="model folder (default: the embedded model)")
    parser.add_argument("--adapter", type=Path, metavar="FOLDER", help="what `mezzotint adapt` made for the model")
    parser.add_argument(
        "--baseline", type=Path, action="append", default=[], metavar="PATH",
        help="another model folder, decoded token by token beside it, as a causal one that fills in the middle",
    )  # fmt: skip
    parser.add_argument(
        "--threshold", type=float, action="append", default=[], metavar="P",
        help="also reveal every token at least this probable (may be repeated)",
    )  # fmt: skip
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table there")
    return parser


def held_out_cases(args: argparse.Namespace) -> list[Case]:
    """Holes in held-out packages; ValueError if too few packages are there to say anything."""
    if not args.rest_of_line and not args.multi_line and not args.others:
        return []
    scripts = args.language == "javascript"
    names = sorted(SCRIPT_FOLDERS if scripts else PYTHON_FOLDERS)
    files = read_folder(args.holdout, names, ("javascript", "typescript") if scripts else ("python",))
    packages = {file.name.split("/")[0] for file in files}
    if len(packages) < MIN_PACKAGES:
        raise ValueError(
            f"{args.holdout} holds {len(packages)} of the held-out packages ({', '.join(names)}); `make "
            "holdout` fetches them, --holdout names another folder, "
            "--rest-of-line 0 --multi-line 0 --others 0 does without"
        )
    wanted = {REST_OF_LINE: args.rest_of_line, MULTI_LINE: args.multi_line}
    wanted |= dict.fromkeys(OTHERS, args.others)
    return [case for kind, n in wanted.items() for case in cut(files, kind, n, args.seed)]


def all_cases(args: argparse.Namespace) -> list[Case]:
    """Everything that the command line asks for."""
    cases = held_out_cases(args)
    if args.humaneval:
        cases += humaneval.read_problems(args.humaneval)[: args.limit]
    if args.mbpp:
        problems = mbpp.read_problems(args.mbpp, args.seed)
        for kind in dict.fromkeys(case.kind for case in problems):
            cases += [case for case in problems if case.kind == kind][: args.limit]
    return cases


def never() -> bool:
    """Nobody cancels an evaluation."""
    return False


def recall_alone(request: InfillRequest, cancelled: Callable[[], bool]) -> Iterator[Draft]:
    """The likeliest recalled text, no model."""
    yield from recalled(request).answers()[:1]


def fill(decoder: Decoder, request: InfillRequest) -> tuple[str, int, float]:
    """(text, forward passes, milliseconds) of one completion; no draft at all is an empty completion."""
    began, last = time.perf_counter(), None
    for draft in decoder(request, never):
        last = draft
    ms = (time.perf_counter() - began) * 1000
    return (last.text, last.forward_passes, ms) if last else ("", 0, ms)


def score_case(decoder: Decoder, case: Case, seed: int) -> tuple[str, Score]:
    """The completion of one hole and what it is worth, tests aside."""
    text, passes, ms = fill(decoder, case.request(seed))
    return text, metrics.score(case.prefix, text, case.suffix, case.answer, passes, ms, case.name)


def progress(items: list[Case], label: str) -> Iterator[Case]:
    """The items, counted on stderr with the time left: rewritten in place on a terminal, else a line each tenth."""
    began, terminal = time.perf_counter(), sys.stderr.isatty()
    every = 1 if terminal else max(1, len(items) // 10)
    for done, item in enumerate(items):
        left = (time.perf_counter() - began) / done * (len(items) - done) if done else 0.0
        if done % every == 0:
            said = f"{label}: {done}/{len(items)}, {left:.0f} s left"
            print(f"\r\x1b[K{said}" if terminal else said, end="" if terminal else "\n", file=sys.stderr, flush=True)
        yield item
    said = f"{label}: {len(items)}/{len(items)}, {time.perf_counter() - began:.0f} s"
    print(f"\r\x1b[K{said}" if terminal else said, file=sys.stderr)


def run_tests(programs: Iterable[str]) -> list[bool]:
    """Which of the programs pass, run side by side once all decoding (which is timed) is over."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return [outcome.passed for outcome in pool.map(sandbox.run_python, programs)]


def with_tests(cases: list[Case], filled: list[tuple[str, Score]], floors: list[bool]) -> list[Score]:
    """The scores, and whether the tests pass; those of cases without tests unchanged."""
    if not cases or not cases[0].test:
        return [score for _, score in filled]
    passed = run_tests(case.program(text) for case, (text, _) in zip(cases, filled, strict=True))
    scores = [score for _, score in filled]
    return [dataclasses.replace(s, passed=p, floor=f) for s, p, f in zip(scores, passed, floors, strict=True)]


def evaluate(
    decoders: dict[str, Decoder], prepare: Callable[[InfillRequest], None], cases: list[Case], seed: int
) -> tuple[Results, Results]:
    """Every hole by every decoder, grouped by kind, and the rest-of-line ones by package.

    `prepare` encodes a request's context and is not timed.
    """
    results: Results = {}
    packages: Results = {}
    for decoder, case in itertools.product(decoders.values(), cases[:1]):
        fill(decoder, case.request(seed))  # the first run of anything in torch is slow, and is not counted
    for kind in dict.fromkeys(case.kind for case in cases):
        group = [case for case in cases if case.kind == kind]
        filled: dict[str, list[tuple[str, Score]]] = {name: [] for name in decoders}
        for case in progress(group, kind):
            prepare(case.request(seed))
            for name, decoder in decoders.items():
                filled[name].append(score_case(decoder, case, seed))
        floors = run_tests(case.program("") for case in group) if group[0].test else []
        results[kind] = {name: metrics.summary(with_tests(group, filled[name], floors)) for name in decoders}
        if group[0].test:
            for numbers in results[kind].values():
                numbers["sandbox"] = sandbox.best_sandbox()
        if kind == REST_OF_LINE:
            packages = by_package(group, {name: [score for _, score in filled[name]] for name in decoders})
    return results, packages


def by_package(cases: list[Case], scores: dict[str, list[Score]]) -> Results:
    """The results of each package that the cases are from."""
    names = [case.name.split("/")[0].removesuffix(".py") for case in cases]
    return {
        package: {
            decoder: metrics.summary([one for one, name in zip(found, names, strict=True) if name == package])
            for decoder, found in scores.items()
        }
        for package in sorted(set(names))
    }


def diffusion(engine: Engine, threshold: float | None = None, *, recall: bool = True) -> Decoder:
    """Denoising at a confidence threshold (None: the usual), from what is recalled or from masks alone."""

    def decode(request: InfillRequest, cancelled: Callable[[], bool]) -> Iterator[Draft]:
        usual = engine.policy
        engine.policy = usual if threshold is None else Policy(threshold=threshold)
        try:
            yield from engine.infill(request if recall else dataclasses.replace(request, start=FROM_MASKS), cancelled)
        finally:
            engine.policy = usual

    return decode


def decoders_of(engine: Engine, thresholds: list[float]) -> dict[str, Decoder]:
    """The ways in which a model can decode, by name: a canvas needs a mask token, one token at a time causal rows.

    A checkpoint that was trained to go on token by token, with markers to fill in the middle or not, is a baseline.
    """
    drafted: dict[str, Decoder] = {"recall alone": recall_alone}
    if engine.backend.config.has_causal_rows:
        drafted["autoregressive"] = engine.autoregress
    if engine.tokenizer.vocabulary.mask == NONE:
        return {"autoregressive with drafts": engine.infill, **drafted}
    return {
        "diffusion": diffusion(engine),
        **{f"diffusion, threshold {p:g}": diffusion(engine, p) for p in thresholds},
        "diffusion from masks": diffusion(engine, recall=False),
        **{f"from masks, threshold {p:g}": diffusion(engine, p, recall=False) for p in thresholds},
        **drafted,
    }


def main(argv: list[str] | None = None) -> int:
    """Run the evaluation; 2 and one line on stderr if something that it needs is missing."""
    args = make_parser().parse_args(argv)
    from diffusion.engine import Engine

    try:
        cases = all_cases(args)
        engine = Engine.load(args.model, adapter=args.adapter)
        baselines = {path.name: Engine.load(path) for path in args.baseline}
    except (OSError, ValueError) as error:
        print(f"mezzotint eval: {error}", file=sys.stderr)
        return 2

    decoders = decoders_of(engine, args.threshold)
    decoders |= {f"{name}, token by token": baseline.autoregress for name, baseline in baselines.items()}

    def prepare(request: InfillRequest) -> None:
        for each in (engine, *baselines.values()):
            each.prepare(request, never)

    results, packages = evaluate(decoders, prepare, cases, args.seed)
    rows = report.table(results)
    print(report.aligned(rows), report.NOTE, report.aligned(report.package_table(packages)), sep="\n\n")
    if args.markdown:
        facts = report.facts(engine.info, argv if argv is not None else sys.argv[2:])
        kept = report.sections(args.markdown)
        args.markdown.write_text(report.markdown(rows, report.package_table(packages), facts) + kept, encoding="utf-8")
    print(json.dumps({**results, "packages": packages}), flush=True)
    return 0
