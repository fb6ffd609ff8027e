"""Cuts holes into the reference solutions of Mostly Basic Python Problems (Austin et al. 2021, arXiv 2108.07732).

Rule: the task's sentence stands above the solution as a comment, as it would in an editor; a filled hole is right when
the problem's own tests pass. For evaluation only, never for training.

    cases = read_problems(Path("mbpp.jsonl"), seed=0)
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from diffusion.evaluate.cases import MULTI_LINE, REST_OF_LINE, STATEMENT, Case, SourceFile, code_lines, cut_one
from diffusion.evaluate.humaneval import read_jsonl

ATTEMPTS = 40


def read_problems(path: Path, seed: int) -> list[Case]:
    """At most one hole of each kind per problem: rest of line, whole line, several lines."""
    rows = read_jsonl(path)
    return [
        case
        for kind in (REST_OF_LINE, STATEMENT, MULTI_LINE)
        for row in rows
        for case in cut_problem(path, row, kind, seed)
    ]


def cut_problem(path: Path, row: dict[str, object], kind: str, seed: int) -> Iterator[Case]:
    """A hole in the solution of one problem, if it is long enough for one."""
    try:
        task_id, text, code, tests = row["task_id"], str(row["text"]), str(row["code"]), row["test_list"]
    except KeyError as error:
        raise ValueError(f"{path}: a problem lacks the field {error}") from error
    if not isinstance(tests, list):
        raise ValueError(f"{path}: test_list of problem {task_id} is not a list")
    code = "\n".join(line.rstrip() for line in code.expandtabs(4).splitlines())
    source = SourceFile(f"mbpp/{task_id}.py", f"# {' '.join(text.split())}\n{code}\n")
    test = "\n".join([str(row.get("test_setup_code", "")), *map(str, tests)])
    rng, lines = random.Random(f"{kind} {task_id} {seed}"), code_lines(source.text)
    cases = (cut_one(source, lines, kind, rng) for _ in range(ATTEMPTS))
    case = next((case for case in cases if case), None)
    if case:
        yield Case(f"mbpp/{task_id}", f"mbpp_{kind}", case.prefix, case.answer, case.suffix, case.multiline, test)
