"""Recall: pure functions on text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from diffusion.recall import recall, recalled
from diffusion.request import Hole, InfillRequest


def best(code: str, multiline: bool = False, others: tuple[str, ...] = ()) -> str:
    """The best guess at the mark."""
    prefix, _, suffix = code.partition("¦")
    guesses = recall(prefix, suffix, multiline=multiline, others=others)
    return guesses[0].text if guesses else ""


def test_a_line_that_began_like_this_before_ends_like_it() -> None:
    assert best("for item in items:\n    pass\nfor item in ¦\n") == "items:"


def test_what_comes_later_in_the_file_counts_as_well() -> None:
    assert best("total = ¦\n\ntotal = sum(values)\n") == "sum(values)"


def test_the_longest_echo_wins() -> None:
    code = "self.a.update(x)\nother.b.update(y)\nother.c.update(y)\nself.a.update(¦\n"
    assert best(code) == "x)"


def test_what_more_places_say_wins() -> None:
    code = "f(a, 1)\n\nf(a, 2)\n\nf(a, 2)\n\nf(a, 2)\n\nf(a, ¦\n"
    assert best(code) == "2)"


def test_text_right_of_the_hole_is_not_repeated() -> None:
    assert best("print(name, file=out)\nprint(name, ¦)\n") == "file=out"
    assert best("print(name, file=out)\nprint(name, ¦]\n") == ""


def test_other_files_are_searched() -> None:
    assert best("logger = ¦\n", others=("logger = logging.getLogger(__name__)\n",)) == "logging.getLogger(__name__)"


def test_a_block_ends_with_its_indentation() -> None:
    code = "def f():\n    with lock:\n        a()\n        b()\n    c()\n\ndef g():\n    with lock:\n        ¦\n"
    assert best(code, multiline=True) == "a()\n        b()"


def test_a_block_ends_before_the_line_behind_the_hole() -> None:
    code = "if x:\n    one()\n    two()\n    three()\n\nif x:\n    ¦\n    three()\n"
    assert best(code, multiline=True) == "one()\n    two()"


def test_guesses_that_are_likely_enough_are_drafts_that_fill_the_middle() -> None:
    request = InfillRequest("f(a, b)\n\nf(a, b)\n\nf(a, ", "\n", (Hole(16), ")"))
    [answer] = recalled(request).answers(above=0.0)
    assert (answer.text, answer.done, answer.forward_passes) == ("b)", True, 0)
    assert answer.confidence == recalled(request).guesses[0].probability == answer.tokens[0][2]
    assert answer.tokens[0][:2] == (0, 1)
    assert recalled(request).answers(above=1.0) == []


def test_nothing_is_recalled_for_several_holes() -> None:
    assert recalled(InfillRequest("f(a)\nf(", "\n", (Hole(16), ")", Hole(16)))).guesses == []


def test_where_nothing_echoes_there_is_no_guess() -> None:
    assert recall("import os\nx = ", "") == []
    assert recall("", "") == []


@given(st.text("ab(\n ", max_size=200), st.text("ab)\n ", max_size=80), st.booleans())
def test_chances_are_chances_and_guesses_are_found_in_the_text(prefix: str, suffix: str, multiline: bool) -> None:
    guesses = recall(prefix, suffix, multiline=multiline)
    assert 0 <= sum(guess.probability for guess in guesses) < 1
    assert guesses == sorted(guesses, key=lambda guess: -guess.probability)
    assert len({guess.text for guess in guesses}) == len(guesses)
    for guess in guesses:
        assert all(line in prefix or line in suffix for line in guess.text.split("\n"))
        assert multiline or "\n" not in guess.text
