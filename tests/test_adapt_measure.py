"""lsp_server/tools/adapt_measure.py: what is right, what is shown, and whether it was worth it."""

from __future__ import annotations

import pytest

from diffusion.evaluate.cases import SourceFile
from lsp_server.tools.adapt_measure import Hole, holes_in, summary, verdict, worth


@pytest.mark.parametrize(
    ("shown", "value"),
    [("width * height", 1), ("width", 1), ("width * height\n", 1), ("height", -1), ("width * height)", -1), (" ", 0)],
)
def test_what_is_shown_is_right_to_its_end_or_wrong_or_nothing(shown: str, value: int) -> None:
    assert worth(shown, "width * height") == value


def test_silence_counts_nothing() -> None:
    holes = [Hole(True, 1), Hole(True, 0), Hole(False, -1), Hole(False, 0)]
    assert summary(holes) == {"exact": 0.5, "shown_right": 0.25, "shown_wrong": 0.25, "benefit": 0.0}


def holes(n_exact: int, shown: int = 0, n: int = 100) -> list[Hole]:
    return [Hole(i < n_exact, shown) for i in range(n)]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (holes(20), holes(30), "It was worth it: of 100 lines 10 became right and 0 wrong (+10.0 points"),
        (holes(20), holes(21), "It is not clear that it was worth it"),
        (holes(20), holes(20), "It was NOT worth it"),
        (holes(20), holes(10), "It was NOT worth it: of 100 lines 0 became right and 10 wrong (-10.0 points"),
        (holes(20), holes(30, shown=-1), "It was NOT worth it"),
        (holes(20), [Hole(True, -1), *holes(29, n=99)], "It is not clear that it was worth it"),
    ],
)
def test_the_verdict_is_said_plainly(before: list[Hole], after: list[Hole], words: str) -> None:
    assert verdict(before, after).startswith(words)


def test_too_few_lines_to_measure_are_said_in_words() -> None:
    with pytest.raises(ValueError, match="the 1 files held out have 1 lines to measure; it takes 20"):
        holes_in([SourceFile("a.py", "x = 1\n")], 200)


def test_lines_of_a_language_without_a_grammar_for_evaluation_are_measured() -> None:
    text = "// adds two numbers\n" + "".join(
        f"func add{i}(first int) int {{ return first + {i} }}\n" for i in range(40)
    )
    cases = holes_in([SourceFile("a.go", text)], 20)
    assert len(cases) == 20 and not any("adds two numbers" in case.answer for case in cases)
