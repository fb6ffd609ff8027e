import ast
import subprocess
import sys
from pathlib import Path

import pytest

from diffusion.evaluate.cases import (
    ARGUMENTS,
    BLOCK,
    MULTI_LINE,
    OTHERS,
    RANDOM_SPAN,
    REST_OF_LINE,
    STATEMENT,
    SourceFile,
    code_lines,
    cut,
    read_folder,
)

STDLIB = [Path(module.__file__) for module in (ast, subprocess, pytest) if module.__file__]
FILES = [SourceFile(path.name, path.read_text(encoding="utf-8")) for path in STDLIB]
LICENSED = '''# Copyright someone
# Licensed under something

"""What this module does.

    example = 1
"""

import os


def double(x):
    """Twice x."""
    y = 2 * x  # twice
    text = """
    not code
    """

    return y
'''


@pytest.mark.parametrize("kind", [REST_OF_LINE, MULTI_LINE, *OTHERS])
def test_prefix_answer_and_suffix_make_the_file(kind: str) -> None:
    texts = {file.name: file.text for file in FILES}
    cases = list(cut(FILES, kind, 30, seed=1))
    assert len(cases) == 30
    assert all(case.prefix + case.answer + case.suffix == texts[case.name] for case in cases)


@pytest.mark.parametrize("kind", [REST_OF_LINE, MULTI_LINE, *OTHERS])
def test_same_seed_same_holes_and_another_seed_other_holes(kind: str) -> None:
    first, again, other = (list(cut(FILES, kind, 20, seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_no_hole_comes_twice() -> None:
    cases = list(cut(FILES, REST_OF_LINE, 200, seed=0))
    assert len({(case.name, len(case.prefix)) for case in cases}) == 200


def test_rest_of_line_stays_on_its_line_and_reaches_its_end() -> None:
    for case in cut(FILES, REST_OF_LINE, 50, seed=0):
        assert "\n" not in case.answer
        assert case.suffix.split("\n")[0].strip() == ""
        assert not case.multiline


def test_rest_of_line_also_begins_inside_words() -> None:
    cases = list(cut(FILES, REST_OF_LINE, 50, seed=0))
    assert any(case.prefix[-1].isalnum() and case.answer[0].isalnum() for case in cases)


def test_multi_line_is_two_to_six_lines_behind_an_indentation() -> None:
    for case in cut(FILES, MULTI_LINE, 50, seed=0):
        assert 2 <= sum(bool(line.strip()) for line in case.answer.split("\n")) <= 6
        assert case.prefix.rpartition("\n")[2].strip() == ""
        assert not case.answer[0].isspace()
        assert case.request().middle[0].multiline


def test_multi_line_never_leaves_the_block_it_begins_in() -> None:
    for case in cut(FILES, MULTI_LINE, 50, seed=0):
        indent = len(case.prefix.rpartition("\n")[2])
        assert all(len(line) - len(line.lstrip()) >= indent for line in case.answer.split("\n")[1:] if line.strip())


def test_comments_licences_and_long_strings_are_no_code() -> None:
    lines = [LICENSED[start:stop] for start, stop in code_lines(LICENSED)]
    assert lines == ["import os", "def double(x):", "return y"]


def test_a_file_without_code_gives_no_holes_and_no_endless_search() -> None:
    assert list(cut([SourceFile("a.py", "# nothing\n" * 50)], REST_OF_LINE, 5, seed=0)) == []


def test_holes_do_not_depend_on_the_order_of_hashing() -> None:
    program = (
        "import ast; from pathlib import Path; from diffusion.evaluate.cases import *;"
        "f = [SourceFile('ast.py', Path(ast.__file__).read_text())];"
        "print([len(c.prefix) for c in cut(f, REST_OF_LINE, 9, 0)])"
    )
    outputs = {
        subprocess.run([sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True,
                       cwd=Path(__file__).parents[1]).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(outputs) == 1


def test_folder_gives_packages_without_tests_vendored_copies_and_undecodable_files(tmp_path: Path) -> None:
    body = "x = 1\n" * 100
    for name in ("flask/app.py", "flask/tests/test_app.py", "flask/_vendor/six.py", "other/app.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(body)
    (tmp_path / "flask/latin.py").write_bytes(b"# \xff\n" + body.encode())
    (tmp_path / "six.py").write_text(body)
    assert [file.name for file in read_folder(tmp_path, {"flask", "six", "absent"})] == ["flask/app.py", "six.py"]


def test_a_statement_is_a_whole_line_that_parses() -> None:
    for case in cut(FILES, STATEMENT, 50, seed=0):
        assert case.prefix.rpartition("\n")[2].strip() == ""
        assert case.suffix.startswith("\n")
        ast.parse(case.answer)


def test_arguments_stand_between_the_brackets_of_a_call() -> None:
    for case in cut(FILES, ARGUMENTS, 50, seed=0):
        assert (case.prefix[-1], case.suffix[0]) == ("(", ")")
        assert "\n" not in case.answer


def test_a_block_is_several_indented_lines() -> None:
    for case in cut(FILES, BLOCK, 50, seed=0):
        indentation = case.prefix.rpartition("\n")[2]
        assert indentation and not indentation.strip()
        assert "\n" in case.answer
        assert case.multiline


def test_a_random_span_has_room_for_line_breaks_where_it_holds_some() -> None:
    cases = list(cut(FILES, RANDOM_SPAN, 100, seed=0))
    assert any(case.multiline for case in cases)
    assert all(case.multiline == ("\n" in case.answer) for case in cases)


SCRIPT = """// Adds things up.
import { first } from './first.js'

export function total(items: Item[], by = 'size'): number {
  /** so far */
  let sum = first(items, by)
  for (const item of items) {
    sum += weigh(item, { by, twice: false })
    const text = `
      not code
    `
    log(text, sum, item.name)
    report.add(sum, item.name)
  }
  if (sum > limit) {
    report.warn(sum, limit)
    report.add(limit, by)
  }
  return sum + last(items, by)
}
"""
SCRIPTS = [SourceFile(f"{n}.ts", SCRIPT.replace("total", f"total_{n}")) for n in range(20)]


@pytest.mark.parametrize("kind", [REST_OF_LINE, MULTI_LINE, *OTHERS])
def test_holes_in_typescript_are_of_the_same_kinds(kind: str) -> None:
    cases = list(cut(SCRIPTS, kind, 20, seed=0))
    assert len(cases) == 20
    for case in cases:
        assert case.prefix + case.answer + case.suffix in {file.text for file in SCRIPTS}
        if kind == ARGUMENTS:
            assert (case.prefix[-1], case.suffix[0]) == ("(", ")")
        if kind == STATEMENT:
            assert case.answer.startswith(("import", "let sum", "sum +=", "log(", "report.", "return"))
        if kind == BLOCK:
            assert case.prefix.rstrip().endswith("{")
        if kind in (MULTI_LINE, BLOCK):
            assert "not code" not in case.answer and "so far" not in case.answer


def test_folder_gives_the_sources_of_a_language_and_of_a_large_package_a_part(tmp_path: Path) -> None:
    (tmp_path / "db" / "src").mkdir(parents=True)
    for name in ("a.ts", "b.js", "c.d.ts", "d.test.ts", "e.py"):
        (tmp_path / "db" / "src" / name).write_text("x(1)\n" * 100)
    found = read_folder(tmp_path, {"db"}, ("javascript", "typescript"))
    assert [file.name for file in found] == ["db/src/a.ts", "db/src/b.js"]
    assert len(read_folder(tmp_path, {"db"}, ("javascript", "typescript"), max_package_files=1)) == 1
