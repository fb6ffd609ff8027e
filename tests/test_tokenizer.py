"""diffusion/tokenizer.py."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.tokenizer import Tokenizer
from diffusion.vocabulary import OUR_SPECIAL_TOKENS, OURS
from tests.models import SMALL

TOKENIZER = Tokenizer.load(SMALL / "tokenizer.json")
text = st.text(st.characters(blacklist_categories=["Cs"]), max_size=60)


@given(text)
def test_decoding_gives_back_any_text(source: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(source)) == source


@given(text, text)
def test_cutting_before_a_line_break_changes_no_token(before: str, after: str) -> None:
    before = before.rstrip("\r")  # a lone \r in front of the cut would become part of \r\n
    whole = TOKENIZER.encode(before + "\n" + after)
    assert whole == TOKENIZER.encode(before) + TOKENIZER.encode("\n" + after)


def test_special_tokens_never_come_out_of_text() -> None:
    ids = TOKENIZER.encode("<mask><end><far_prefix>")
    assert all(i >= len(OUR_SPECIAL_TOKENS) for i in ids)
    assert TOKENIZER.decode(ids) == "<mask><end><far_prefix>"


def test_special_tokens_decode_to_nothing() -> None:
    assert TOKENIZER.decode([OURS.mask, OURS.end]) == ""


def test_runs_of_spaces_are_one_token_and_digits_are_split() -> None:
    assert len(TOKENIZER.encode("\n        ")) == 1
    assert len(TOKENIZER.encode("2026")) == 4


def test_a_file_that_is_no_tokenizer_is_a_value_error(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="tokenizer"):
        Tokenizer.load(tmp_path / "tokenizer.json")
