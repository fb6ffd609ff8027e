"""diffusion/healing.py."""

import numpy as np
import pytest

from diffusion.healing import heal_left, heal_right
from diffusion.tokenizer import Tokenizer


@pytest.mark.parametrize(
    ("prefix", "cut_off"),
    [
        ("def f():\n    retur", "retur"),  # behind indentation a word has no leading space
        ("x = impor", " impor"),
        ("x = ", " "),  # the space belongs to the word that follows
        ("def f():\n    ", ""),  # indentation is the user's decision
        ("def f():\n", "\n"),  # a fresh line may still be indented
        ("x = 12", ""),  # digits are tokens of their own
        ("", ""),
    ],
)
def test_left_edge_is_the_partial_token(tokenizer: Tokenizer, prefix: str, cut_off: str) -> None:
    assert heal_left(tokenizer, prefix).text == cut_off


@pytest.mark.parametrize("prefix", ["def f():\n    retur", "x = ", "foo.appen", "print('", "a == b an"])
def test_left_edge_allows_just_the_tokens_that_begin_with_it(tokenizer: Tokenizer, prefix: str) -> None:
    edge = heal_left(tokenizer, prefix)
    assert edge.allowed is not None
    for token in np.flatnonzero(edge.allowed):
        assert tokenizer.token_bytes[token].startswith(edge.text.encode())


@pytest.mark.parametrize(("suffix", "cut_off"), [(")\n", ")"), ("\n    x", ""), (" + 1", ""), ("", ""), ("7)", "")])
def test_right_edge_is_the_partial_token(tokenizer: Tokenizer, suffix: str, cut_off: str) -> None:
    assert heal_right(tokenizer, suffix).text == cut_off


def test_right_edge_allows_just_the_tokens_that_end_with_it(tokenizer: Tokenizer) -> None:
    edge = heal_right(tokenizer, "))\n")
    assert edge.allowed is not None
    for token in np.flatnonzero(edge.allowed):
        assert tokenizer.token_bytes[token].endswith(edge.text.encode())


def test_context_with_the_edge_given_back_tokenizes_as_the_finished_text_does(tokenizer: Tokenizer) -> None:
    for cursor in range(4, len("    value = compute_total(items, key=None)")):
        text = "def f():\n    value = compute_total(items, key=None)"
        prefix = text[: len("def f():\n") + cursor]
        left = heal_left(tokenizer, prefix).text
        kept = tokenizer.encode(prefix[: len(prefix) - len(left)])
        if kept != tokenizer.encode(text)[: len(kept)]:
            # Only a word that the tokenizer splits may be cut elsewhere, and then inside that word alone.
            assert prefix.endswith(tuple("abcdefghijklmnopqrstuvwxyz_")), prefix
