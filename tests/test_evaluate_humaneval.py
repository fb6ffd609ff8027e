import gzip
import json
from pathlib import Path

import pytest

from diffusion.evaluate import humaneval, sandbox
from diffusion.evaluate.cases import Case

DATA = Path(__file__).parent / "data" / "humaneval_infilling.jsonl"
ROWS = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]
CASES = humaneval.read_problems(DATA)


def test_kinds_come_from_the_task_id() -> None:
    assert [case.kind.removeprefix("humaneval_") for case in CASES] == [
        "single_line", "single_line", "multi_line", "random_span", "single_line",
    ]  # fmt: skip
    assert [case.multiline for case in CASES] == [False, False, True, True, False]


def test_gzip_and_plain_files_hold_the_same_problems(tmp_path: Path) -> None:
    packed = tmp_path / "problems.jsonl.gz"
    packed.write_bytes(gzip.compress(DATA.read_bytes()))
    assert humaneval.read_problems(packed) == CASES


@pytest.mark.parametrize("row", range(len(ROWS)))
def test_program_is_that_of_the_authors_harness(row: int) -> None:
    problem = ROWS[row]
    assembled = (
        problem["prompt"] + problem["canonical_solution"] + problem["suffix"] + "\n"
        + problem["test"] + "\n" + f"check({problem['entry_point']})"
    )  # fmt: skip
    assert CASES[row].program(CASES[row].answer) == assembled + "\n"


def test_a_hole_of_whole_lines_ends_before_its_last_line_break() -> None:
    assert not CASES[0].answer.endswith("\n")
    assert CASES[1].suffix.startswith("\n            total += 1")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_canonical_solutions_pass(case: Case) -> None:
    assert sandbox.run_python(case.program(case.answer)).passed


def test_only_the_problem_made_for_it_passes_with_nothing_in_the_hole() -> None:
    assert [sandbox.run_python(case.program("")).passed for case in CASES] == [False, False, False, False, True]


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", ":1: not JSON"), ("\n[1]", ":2: not a JSON object"), ('{"task_id": "a"}', "problem 1 lacks prompt, suffix")],
)
def test_a_file_of_another_format_says_where(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text(content)
    with pytest.raises(ValueError, match=message):
        humaneval.read_problems(tmp_path / "bad.jsonl")


def test_what_only_claims_to_be_gzip_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl.gz").write_text("plain")
    with pytest.raises(OSError, match="gzip"):
        humaneval.read_problems(tmp_path / "bad.jsonl.gz")
