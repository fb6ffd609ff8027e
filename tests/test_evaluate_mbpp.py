import json
from pathlib import Path

import pytest

from diffusion.evaluate import mbpp, sandbox
from diffusion.evaluate.cases import Case

ROWS = [
    {
        "task_id": 1, "text": "Write a function to find the largest\nof three numbers.",
        "code": "def largest(a, b, c):\r\n\tbest = max(a, b)\r\n\tif c > best:\r\n\t\tbest = c\r\n\treturn best",
        "test_setup_code": "", "test_list": ["assert largest(1, 2, 3) == 3", "assert largest(9, 2, 3) == 9"],
    },
    {
        "task_id": 2, "text": "Write a function to count the words of a text.",
        "code": "import re\ndef count_words(text):\n    words = re.findall(r'\\w+', text)\n"
        "    total = len(words)\n    return total",
        "test_setup_code": "sample = 'one two'", "test_list": ["assert count_words(sample) == 2"],
    },
]  # fmt: skip


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    path = tmp_path / "mbpp.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return mbpp.read_problems(path, seed=0)


def test_every_problem_gives_a_hole_of_either_kind(cases: list[Case]) -> None:
    assert [(case.name, case.kind) for case in cases] == [
        ("mbpp/1", "mbpp_rest_of_line"), ("mbpp/2", "mbpp_rest_of_line"),
        ("mbpp/1", "mbpp_statement"), ("mbpp/2", "mbpp_statement"),
        ("mbpp/1", "mbpp_multi_line"), ("mbpp/2", "mbpp_multi_line"),
    ]  # fmt: skip


def test_the_task_stands_above_the_solution_as_one_comment_line(cases: list[Case]) -> None:
    assert cases[0].prefix.startswith("# Write a function to find the largest of three numbers.\ndef largest")


def test_line_ends_and_tabs_are_made_plain(cases: list[Case]) -> None:
    assert not any(char in case.prefix + case.answer + case.suffix for case in cases for char in "\r\t")


def test_reference_solutions_pass_their_tests_and_empty_holes_do_not(cases: list[Case]) -> None:
    assert all(sandbox.run_python(case.program(case.answer)).passed for case in cases)
    assert not any(sandbox.run_python(case.program("")).passed for case in cases)


def test_a_problem_without_its_fields_says_which(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"task_id": 1, "text": "t"}\n')
    with pytest.raises(ValueError, match="'code'"):
        mbpp.read_problems(tmp_path / "bad.jsonl", seed=0)
