"""Reads problems in the HumanEval-Infilling format (Bavarian et al. 2022, arXiv 2207.14255).

Rule: a problem becomes an ordinary hole with a test: the program that runs is prompt + completion + suffix + test +
`check(entry_point)`, as in the authors' own harness.

    cases = read_problems(Path("HumanEval-SingleLineInfilling.jsonl.gz"))
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from diffusion.evaluate.cases import Case

FIELDS = ("task_id", "prompt", "suffix", "canonical_solution", "test", "entry_point")
# By the beginning of the task_id; a random span may begin and end anywhere, and may hold several lines.
KINDS = {
    "SingleLineInfilling": "humaneval_single_line",
    "MultiLineInfilling": "humaneval_multi_line",
    "RandomSpanInfillingLight": "humaneval_random_span_light",
    "RandomSpanInfilling": "humaneval_random_span",
}
OTHER_KIND = "humaneval_other"


def read_jsonl(path: Path) -> list[dict[str, object]]:
    """Objects of a .jsonl or .jsonl.gz file; ValueError that names the line if one is not an object."""
    opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")
    rows = []
    with opened as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line) if line.strip() else {}
            except ValueError as error:
                raise ValueError(f"{path}:{number}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}:{number}: not a JSON object")
            rows += [row] if row else []
    return rows


def read_problems(path: Path) -> list[Case]:
    """All problems of a file, in its order."""
    cases = []
    for number, row in enumerate(read_jsonl(path), 1):
        missing = [field for field in FIELDS if not isinstance(row.get(field), str)]
        if missing:
            raise ValueError(f"{path}: problem {number} lacks {', '.join(missing)}")
        cases.append(as_case(*(str(row[field]) for field in FIELDS)))
    return cases


def as_case(task_id: str, prompt: str, suffix: str, answer: str, test: str, entry_point: str) -> Case:
    """One problem as a hole.

    Where the answer is whole lines, its last line break is given to the suffix: a hole ends before a line break, in
    an editor as in training, and the program stays the same.
    """
    kind = KINDS.get(task_id.split("/")[0], OTHER_KIND)
    if answer.endswith("\n"):
        answer, suffix = answer[:-1], "\n" + suffix
    multiline = kind != "humaneval_single_line"
    return Case(task_id, kind, prompt, answer, suffix, multiline, f"{test}\ncheck({entry_point})")
