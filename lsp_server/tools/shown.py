"""`mezzotint eval shown`: what a user sees at held-out holes, after cleanup, syntax feedback and the confidence cut.

Rule: the holes are those of `mezzotint eval`, asked through `completion.complete` in this process: by hand, and as if
the user had just typed. Scores are of the whole file with the suggestion applied. The table is for people, the last
line of stdout is one JSON object.

    mezzotint eval shown --rest-of-line 100 --others 40
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time

from diffusion.engine import Engine
from diffusion.evaluate import metrics, report, run
from diffusion.evaluate.cases import Case
from diffusion.evaluate.metrics import Score
from diffusion.evaluate.report import Cell, Results
from diffusion.grammars import language_of
from lsp_server.options import Options
from lsp_server.suggest.completion import complete
from lsp_server.suggest.place import Question
from lsp_server.suggest.related import Related
from lsp_server.text.documents import snapshot

OPTIONS = Options(comments="on", candidates=1)  # a hole that begins in a comment is asked for, too
WAYS = {"by hand": True, "while typing": False}
COLUMNS = (
    ("shown", "shown"), ("exact", "exact"), ("of shown", "exact_of_shown"), ("edit sim.", "edit_similarity"),
    ("parses, of shown", "parses_of_shown"), ("tests pass", "pass_rate"), ("passes, mean", "forward_passes_mean"),
    ("ms", "ms"), ("n", "n"),
)  # fmt: skip
Filled = tuple[Case, tuple[str, Score]]
SHARES = ("shown", "exact", "exact_of_shown", "edit_similarity", "parses_of_shown", "pass_rate")


def ask(engine: Engine, case: Case, invoked: bool) -> tuple[str, Case]:
    """What stands in the hole of a case once the first suggestion is accepted, "" without one; as `applied`."""
    taken = snapshot(f"file:///{case.name}", case.prefix + case.suffix, language_of(case.name) or "")
    question = Question(taken, (), (), OPTIONS, *taken.point_at(len(case.prefix)), None, invoked)
    answer = complete(question, Related(), lambda news: None, engine, run.never)
    return applied(case, answer[0].plan.start, answer[0].plan.end, answer[0].text) if answer else ("", case)


def applied(case: Case, start: int, end: int, text: str) -> tuple[str, Case]:
    """`text` in place of the characters from `start` to `end`: what then stands in the hole.

    Where some of the suffix was replaced by something else, the case that comes back has a hole that reaches behind it.
    """
    whole = case.prefix + case.suffix
    changed = whole[:start] + text + whole[end:]
    behind = case.suffix if changed.endswith(case.suffix) else whole[end:]
    replaced = case.suffix[: len(case.suffix) - len(behind)]
    hole = changed[len(case.prefix) : len(changed) - len(behind)]
    return hole, dataclasses.replace(case, answer=case.answer + replaced, suffix=behind)


def one(engine: Engine, case: Case, invoked: bool) -> Filled:
    """The completion of one hole and what it is worth, tests aside."""
    before, began = engine.forward_passes, time.perf_counter()
    text, case = ask(engine, case, invoked)
    ms, passes = (time.perf_counter() - began) * 1000, engine.forward_passes - before
    return case, (text, metrics.score(case.prefix, text, case.suffix, case.answer, passes, ms, case.name))


def results_of(engine: Engine, cases: list[Case], seed: int) -> Results:
    """The results of every kind of hole by every way of asking."""
    results: Results = {}
    for kind in dict.fromkeys(case.kind for case in cases):
        group = [case for case in cases if case.kind == kind]
        filled: dict[str, list[Filled]] = {way: [] for way in WAYS}
        for case in run.progress(group, kind):
            engine.prepare(case.request(seed), run.never)
            for way, invoked in WAYS.items():
                filled[way].append(one(engine, case, invoked))
        floors = run.run_tests(case.program("") for case in group) if group[0].test else []
        results[kind] = {way: summary(found, floors) for way, found in filled.items()}
    return results


def summary(filled: list[Filled], floors: list[bool]) -> dict[str, Cell]:
    """What `mezzotint eval` says of completions, and the shares of those that are shown at all."""
    cases, found = [case for case, _ in filled], [pair for _, pair in filled]
    shown = [score for text, score in found if text.strip()]
    return {
        **metrics.summary(run.with_tests(cases, found, floors)),
        "shown": len(shown) / len(filled),
        "exact_of_shown": metrics.share([score.exact for score in shown]),
        "parses_of_shown": metrics.share([score.parses for score in shown]),
    }


def table(results: Results) -> list[list[str]]:
    """Header and rows."""
    rows = [["holes", "asked", *(title for title, _ in COLUMNS)]]
    for kind, ways in results.items():
        rows += [
            [kind, way, *(report.show(key, cells.get(key), SHARES) for _, key in COLUMNS)]
            for way, cells in ways.items()
        ]
    return rows


def main(argv: list[str] | None = None) -> int:
    """Run it; 2 and one line on stderr if something that it needs is missing."""
    parser = run.make_parser()
    parser.prog, parser.description = "mezzotint eval shown", (__doc__ or "").split("\n")[0]
    args: argparse.Namespace = parser.parse_args(argv)
    try:
        cases, engine = run.all_cases(args), Engine.load(args.model, adapter=args.adapter)
    except (OSError, ValueError) as error:
        print(f"mezzotint eval shown: {error}", file=sys.stderr)
        return 2
    results = results_of(engine, cases, args.seed)
    print(report.aligned(table(results)))
    print(json.dumps(results), flush=True)
    return 0
