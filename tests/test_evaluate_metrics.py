import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.evaluate import metrics


@pytest.mark.parametrize(
    ("completion", "answer", "same"),
    [("x + 1", "x + 1", True), ("x + 1  \n", "x + 1", True), (" x + 1", "x + 1", False), ("a  \nb", "a\nb", True)],
)
def test_only_trailing_white_space_is_forgiven(completion: str, answer: str, same: bool) -> None:
    assert metrics.exact_match(completion, answer) is same


@pytest.mark.parametrize(
    ("a", "b", "distance"), [("", "", 0), ("kitten", "sitting", 3), ("", "abc", 3), ("ab", "ba", 2)]
)
def test_levenshtein_counts_single_edits(a: str, b: str, distance: int) -> None:
    assert metrics.levenshtein(a, b) == distance


@given(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12))
def test_levenshtein_is_a_metric(a: str, b: str, c: str) -> None:
    assert metrics.levenshtein(a, b) == metrics.levenshtein(b, a)
    assert (metrics.levenshtein(a, b) == 0) == (a == b)
    assert metrics.levenshtein(a, c) <= metrics.levenshtein(a, b) + metrics.levenshtein(b, c)


def test_edit_similarity_runs_from_nothing_alike_to_equal() -> None:
    assert metrics.edit_similarity("abc", "xyz") == 0
    assert metrics.edit_similarity("", "") == 1
    assert metrics.edit_similarity("abcd", "abcx") == 0.75


def test_a_completion_that_breaks_the_file_does_not_parse() -> None:
    assert metrics.score("x = ", "(1", "\n", "1", 1, 1.0).parses is False
    assert metrics.score("x = ", "(1)", "\n", "1", 1, 1.0).parses is True
    assert metrics.score("let x = ", "(1", "\n", "1", 1, 1.0, "a/b.ts").parses is False
    assert metrics.score("let x = ", "(1)", "\n", "1", 1, 1.0, "a/b.ts").parses is True


def test_a_file_that_was_broken_before_does_not_count() -> None:
    broken = metrics.score("def (:\nx = ", "(1", "\n", "1", 1, 1.0)
    fine = metrics.score("x = ", "2", "\n", "1", 1, 1.0)
    assert broken.parses is None
    assert metrics.summary([broken, fine])["parses"] == 1


def test_summary_has_medians_and_means_beside_them() -> None:
    scores = [metrics.Score(False, 0.5, True, passes, float(passes)) for passes in (1, 2, 9)]
    numbers = metrics.summary(scores)
    assert (numbers["forward_passes"], numbers["ms"]) == (2, 2.0)
    assert (numbers["forward_passes_mean"], numbers["ms_mean"], numbers["n"]) == (4, 4, 3)
    assert "pass_rate" not in numbers


def test_summary_of_nothing_has_no_numbers() -> None:
    assert metrics.summary([])["exact"] is None
