"""`mezzotint eval shown`: scores are of the file as it reads once a suggestion is accepted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffusion.evaluate.cases import Case
from lsp_server.tools.shown import applied, main
from tests.models import SMALL
from tests.test_evaluate_run import holdout


@pytest.mark.parametrize(
    ("prefix", "suffix", "start", "end", "text", "reads", "left"),
    [
        ("x = ", "\n", 4, 4, "call()", "call()", "\n"),
        ("x = ca", "ll\n", 6, 8, "ndle()", "ndle()", "\n"),  # the rest of the word is replaced
        ("x = call(", ")\n", 9, 10, "a)", "a", ")\n"),  # the closer is written again
    ],
)
def test_a_suggestion_reads_as_what_stands_between_prefix_and_the_suffix_it_leaves(
    prefix: str, suffix: str, start: int, end: int, text: str, reads: str, left: str
) -> None:
    hole, case = applied(Case("a.py", "rest_of_line", prefix, "mp", suffix), start, end, text)
    assert (hole, case.suffix) == (reads, left)
    assert case.answer + case.suffix == "mp" + suffix


def test_every_kind_is_asked_by_hand_and_while_typing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--rest-of-line", "2", "--multi-line", "1", "--others", "0", "--model", str(SMALL)]
    assert main(["--holdout", str(holdout(tmp_path)), *argv]) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {kind: list(ways) for kind, ways in results.items()} == dict.fromkeys(
        ("rest_of_line", "multi_line"), ["by hand", "while typing"]
    )
    assert all(0 <= cells["shown"] <= 1 for ways in results.values() for cells in ways.values())


def test_a_missing_folder_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--holdout", str(tmp_path)]) == 2
    assert "mezzotint eval shown: " in capsys.readouterr().err
