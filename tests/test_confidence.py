"""Confidence: how much of a draft is sure enough to be shown, and when that is settled."""

from __future__ import annotations

import pytest

from diffusion.confidence import after, begun, believed, chance, cut, settled, word_ends
from diffusion.request import Draft


def says(*tokens: tuple[str, float], done: bool = True) -> Draft:
    """A draft of these tokens, those of probability 0 masked."""
    spans, text = [], ""
    for token, probability in tokens:
        spans.append((len(text), len(text) + len(token), probability))
        text += token
    masked = tuple((start, stop) for start, stop, probability in spans if not probability)
    return Draft(1, text, masked, 1.0, 1, done=done, tokens=tuple(spans))


def test_a_draft_is_cut_where_the_product_of_its_probabilities_gets_too_small() -> None:
    draft = says(("items", 0.9), (".", 0.9), ("append", 0.9), ("(x)", 0.5))
    assert cut(draft, 0.4).text == "items.append"
    assert cut(draft, 0.75).text == "items"
    assert cut(draft, 0.95).text == ""
    assert cut(draft, 0.0) is draft


def test_a_longer_beginning_is_worth_more_only_where_its_chance_falls_less_than_its_root_grows() -> None:
    assert cut(says(("item", 0.9), (".append(items)", 0.6)), 0.1).text == "item.append(items)"  # 0.9 * 2 < 0.54 * 4
    assert cut(says(("item", 0.9), (".append(items)", 0.4)), 0.1).text == "item"  # 0.9 * 2 > 0.36 * 4
    certain = says(("item", 0.9), (".append(items)", 1.0))
    assert cut(certain, 0.1) is certain


def test_a_part_leaves_no_bracket_open_that_it_opened() -> None:
    assert cut(says(("total", 0.9), ("(items", 0.9), (", other", 0.4), (")", 0.9)), 0.5).text == "total"
    assert cut(says(("items", 0.9), (") + value", 0.9), (", other", 0.4)), 0.5).text == "items) + value"


def test_a_draft_that_names_no_tokens_is_whole() -> None:
    draft = Draft(1, "items.append(x)", (), 1.0, 1, done=True)
    assert cut(draft, 0.4) is draft


def test_a_word_is_never_cut_in_two() -> None:
    draft = says(("self", 0.9), (".na", 0.9), ("mes", 0.1))
    assert cut(draft, 0.5).text == "self"


@pytest.mark.parametrize("end", ["(", ",", " +", ".", " ="])
def test_a_part_does_not_end_with_what_wants_to_go_on(end: str) -> None:
    assert cut(says(("value", 0.9), (end, 0.9), ("other", 0.1)), 0.5).text == "value"


def test_a_beginning_that_says_too_little_is_not_shown() -> None:
    assert cut(says(("(a", 0.9), (", b", 0.1)), 0.5).text == ""
    assert cut(says(("a)", 0.9)), 0.5).text == ""
    assert cut(says(("a)", 0.9)), 0).text == "a)"


def test_the_tokens_and_masks_of_what_is_left_fit_its_text() -> None:
    left = cut(says(("value", 0.9), (" = old", 0.0), ("er", 0.9), (" + 1", 0.1), done=False), 0.5)
    assert left.text == "value = older"
    assert left.masked == ((5, 11),)
    assert left.tokens == ((0, 5, 0.9), (5, 11, 0.0), (11, 13, 0.9))


def test_a_draft_is_settled_when_nothing_is_masked_before_its_first_doubtful_token() -> None:
    assert settled(says(("sum", 0.9), ("(", 0.1), ("x", 0.0), done=False), 0.5)
    assert not settled(says(("sum", 0.9), ("(", 0.0), ("x", 0.1), done=False), 0.5)
    assert not settled(says(("sum", 0.9), ("(", 0.9), ("x", 0.0), done=False), 0.5)
    assert settled(says(("sum", 0.9)), 0.5)


def test_a_draft_has_begun_when_its_first_word_is_decided() -> None:
    assert begun(says(("values", 0.9), ("[0]", 0.0), done=False))
    assert not begun(says(("val", 0.9), ("ues", 0.0), done=False))
    assert not begun(says(done=False))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.b(c) == d", ["a", ".", "b", "(", "c", ")", " ==", " d"]),
        ("  x\n    y", ["  x", "\n    y"]),
        ("x ", ["x "]),
        ("", []),
    ],
)
def test_words_end_where_letters_meet_signs(text: str, words: list[str]) -> None:
    ends = word_ends(text)
    assert [text[start:stop] for start, stop in zip([0, *ends], ends, strict=False)] == words


def test_the_chance_of_a_rest_is_that_of_its_own_tokens() -> None:
    tokens = says(("a", 0.5), ("b", 0.0), ("c", 0.8)).tokens
    assert chance(tokens) == pytest.approx(0.4)
    assert chance(tokens, 1) == pytest.approx(0.8)


def test_a_word_is_likelier_when_its_first_letters_were_typed_and_what_follows_stays() -> None:
    draft = says((" val", 0.5), ("ue", 0.8), (" = ", 0.7), ("1", 0.2))
    left = after(draft, 3)
    assert left.text == "lue = 1"
    assert left.tokens == ((0, 3, believed(0.4, 2)), (3, 6, 0.7), (6, 7, 0.2))
    assert believed(0.4, 2) > believed(0.4, 1) > 0.7 > 0.4


def test_spaces_and_whole_words_typed_say_nothing_of_what_follows() -> None:
    draft = says(("\n    return", 0.3), (" x", 0.8))
    assert after(draft, 5).tokens == ((0, 6, pytest.approx(0.3)), (6, 8, 0.8))
    assert after(draft, 11).tokens == ((0, 2, 0.8),)
    assert after(draft, 13).tokens == ()


def test_a_word_that_is_not_decided_is_not_believed() -> None:
    left = after(says(("val", 0.5), ("ue", 0.0), ("(", 0.9), done=False), 1)
    assert left.tokens == ((0, 2, 0.5), (2, 4, 0.0), (4, 5, 0.9))
    assert left.masked == ((2, 4),)
