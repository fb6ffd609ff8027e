"""Tokenizers that split text as GPT-2 (SmolLM2, Llama) and Qwen do: healing, and lines that end inside a token."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from cuda_ext.rules import SPECIAL
from diffusion.canvas import Canvas
from diffusion.healing import NO_EDGE, heal_left, heal_right
from diffusion.request import Hole
from diffusion.tokenizer import Tokenizer
from diffusion.vocabulary import Vocabulary

SOURCES = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parents[1].glob("diffusion/**/*.py"))]
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITTERS = {
    "gpt2": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "qwen": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
}


@cache
def trained(family: str) -> Tokenizer:
    """A BPE of 2,000 tokens on this project's own sources, with a mask and an end among its special tokens."""
    bpe = tokenizers.Tokenizer(models.BPE())
    if family == "qwen":
        bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer, bpe.decoder = SPLITTERS[family], decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=["<|end|>", "<|mask|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(SOURCES, trainer)
    names = dict.fromkeys(("other", "far_suffix", "far_prefix", "near_suffix", "near_prefix", "file", "eof"), -1)
    return Tokenizer(bpe, Vocabulary(mask=1, end=0, **names), n_rows=2010)


@pytest.mark.parametrize("family", SPLITTERS)
def test_what_a_user_types_is_never_a_special_token_and_comes_back_byte_by_byte(family: str) -> None:
    tokenizer = trained(family)
    text = "x = '<|mask|>'  # e\u0301 \u00e9 \u212b\r\n\tif a:\n        return  1234\n" + SOURCES[0][:2000]
    ids = tokenizer.encode(text)
    assert not tokenizer.specials & set(ids)
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("family", SPLITTERS)
def test_rows_that_the_tokenizer_does_not_name_are_special(family: str) -> None:
    tokenizer = trained(family)
    assert tokenizer.vocab_size == 2010 and tokenizer.specials == {0, 1, *range(2000, 2010)}
    assert set(tokenizer.flags[2000:].tolist()) == {SPECIAL}


@pytest.mark.parametrize("family", SPLITTERS)
def test_bisection_finds_what_a_pass_over_the_vocabulary_finds(family: str) -> None:
    tokenizer = trained(family)
    for part in (b" ", b"se", b"self", b"\n   ", b"", "\u00e9".encode(), b"\xff", b"zzzzz"):
        by_hand = np.array([token.startswith(part) for token in tokenizer.token_bytes])
        assert np.array_equal(tokenizer.starting_with(part), by_hand)
        by_hand = np.array([token.endswith(part) for token in tokenizer.token_bytes])
        assert np.array_equal(tokenizer.ending_with(part), by_hand)


@pytest.mark.parametrize("family", SPLITTERS)
@pytest.mark.parametrize("indent", [1, 2, 4, 8, 12])
def test_an_indentation_gives_its_last_blank_back(family: str, indent: int) -> None:
    """What is encoded, and the word with that blank in front of it, are the tokens of the line written as a whole."""
    tokenizer = trained(family)
    prefix = "def f(self):\n" + " " * indent
    edge = heal_left(tokenizer, prefix)
    assert edge.text == " " and edge.allowed is not None
    for word in ("return", "self", "for", "#", '"""'):
        whole = tokenizer.encode(prefix + word)
        left = tokenizer.encode(prefix[:-1])
        assert whole[: len(left)] == left
        assert edge.allowed[whole[len(left)]], word


@pytest.mark.parametrize("family", SPLITTERS)
def test_a_tab_of_an_indentation_is_given_back_as_a_tab(family: str) -> None:
    edge = heal_left(trained(family), "if a:\n\t\t")
    assert edge.text in ("", "\t")


@pytest.mark.parametrize("family", SPLITTERS)
@pytest.mark.parametrize("prefix", ["import nu", "x = self.tok", "f(a, ", "if x ==", "print(", "x", ""])
def test_a_token_that_the_cursor_cuts_is_given_back(family: str, prefix: str) -> None:
    tokenizer = trained(family)
    edge = heal_left(tokenizer, prefix)
    assert prefix.endswith(edge.text)
    if edge.allowed is not None:
        starts = [tokenizer.token_bytes[i] for i in np.flatnonzero(edge.allowed)]
        assert starts and all(token.startswith(edge.text.encode()) for token in starts)


def test_punctuation_is_given_back_where_a_token_goes_on_from_it_over_the_line_break() -> None:
    """Qwen's splitter lets `):` take the line break behind it; GPT-2's does not."""
    edge = heal_left(trained("qwen"), "def f(self):")
    assert edge.text and edge.allowed is not None
    found = [trained("qwen").token_bytes[i] for i in np.flatnonzero(edge.allowed)]
    assert any(token.endswith(b":\n") for token in found)
    assert not any(b"\n" in token[:-1].strip(b"\n") for token in trained("gpt2").token_bytes)


def test_a_suffix_that_begins_with_a_line_break_is_no_constraint() -> None:
    for family in SPLITTERS:
        assert heal_right(trained(family), "\n    return x\n") is NO_EDGE


def test_text_before_a_line_break_in_one_token_is_kept_and_ends_a_hole_of_one_line() -> None:
    tokenizer = trained("qwen")
    closing = next(i for i, token in enumerate(tokenizer.token_bytes) if token == b"):\n")
    word = tokenizer.encode("self")[0]
    canvas = Canvas.blank(tokenizer, (Hole(6),), NO_EDGE, NO_EDGE)
    canvas.write(np.array([word, closing, word, 1, 1, 1]), np.full(6, 0.5))
    assert canvas.ids.tolist() == [word, closing, 0, 0, 0, 0]
    assert canvas.draft(canvas.ids, 1, 1, "complete").text == "self):"
    many = Canvas.blank(tokenizer, (Hole(6, multiline=True),), NO_EDGE, NO_EDGE)
    many.write(np.array([word, closing, word, 0, 0, 0]), np.full(6, 0.5))
    assert many.draft(many.ids, 1, 1, "complete").text == "self):\nself"
