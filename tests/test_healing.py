"""diffusion/healing.py."""

import gc
import weakref

import numpy as np
import pytest

from diffusion import healing
from diffusion.healing import head_of, heal_left, heal_right
from diffusion.tokenizer import Tokenizer
from diffusion.vocabulary import NONE
from tests.models import SMALL


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


@pytest.mark.parametrize("part", ["interac", "importa", "===="])
def test_a_head_is_a_token_that_ends_amid_what_was_typed_and_another_goes_on_from_there(
    tokenizer: Tokenizer, part: str
) -> None:
    head, after = head_of(tokenizer, part.encode())
    begun = tokenizer.token_bytes[head]
    assert part.encode().startswith(begun) and 0 < len(begun) < len(part)
    assert after is not None and after.any()
    for token in np.flatnonzero(after):
        assert tokenizer.token_bytes[token].startswith(part.encode()[len(begun) :])


def test_one_byte_has_no_head(tokenizer: Tokenizer) -> None:
    assert head_of(tokenizer, b"r") == (NONE, None)


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


def test_what_was_looked_up_is_forgotten_with_its_tokenizer() -> None:
    """Each model that a user tries would stay in memory otherwise."""
    mine = Tokenizer.load(SMALL / "tokenizer.json")
    assert heal_left(mine, "def f():\n    retur").text == "retur"
    gone = weakref.ref(mine)
    del mine
    gc.collect()
    assert gone() is None


def test_only_the_last_edges_are_kept(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healing, "MAX_KNOWN", 4)
    for word in ("retur", "impor", "appen", "prin", "clas", "whil", "els"):
        heal_left(tokenizer, f"def f():\n    {word}")
    assert len(healing._KNOWN[tokenizer]) <= 4
