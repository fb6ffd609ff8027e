"""diffusion/layout.py."""

import inspect
import json

import pytest

from diffusion.layout import Layout, lay_out, prefix_borders, suffix_borders
from diffusion.tokenizer import Tokenizer
from diffusion.vocabulary import OURS, Vocabulary

SOURCE = inspect.getsource(json.decoder)


def test_parts_come_in_order_of_how_seldom_they_change(tokenizer: Tokenizer) -> None:
    half = SOURCE.index("\n", len(SOURCE) // 2)
    ids = lay_out(tokenizer, Layout(), SOURCE[:half], SOURCE[half:], ("import os\n",)).ids
    markers = [
        i for i in ids if i in (OURS.other, OURS.far_suffix, OURS.far_prefix, OURS.near_suffix, OURS.near_prefix)
    ]
    assert markers == [OURS.other, OURS.far_suffix, OURS.far_prefix, OURS.near_suffix, OURS.near_prefix]


def test_a_short_file_is_laid_out_whole(tokenizer: Tokenizer) -> None:
    context = lay_out(tokenizer, Layout(), "import os\nx = 1", "\ny = 2\n", ())
    assert OURS.file in context.ids and OURS.eof in context.ids
    near_suffix = context.ids.index(OURS.near_suffix)
    near_prefix = context.ids.index(OURS.near_prefix)
    assert tokenizer.decode(list(context.ids[near_suffix:near_prefix])) == "\ny = 2\n"
    assert tokenizer.decode(list(context.ids[near_prefix:])) + context.left.text == "import os\nx = 1"


@pytest.mark.parametrize("max_tokens", [512, 1024])
def test_context_never_exceeds_its_budget(tokenizer: Tokenizer, max_tokens: int) -> None:
    for cut in range(0, len(SOURCE), 997):
        context = lay_out(tokenizer, Layout.of(max_tokens), SOURCE[:cut], SOURCE[cut:], (SOURCE,))
        assert len(context.ids) <= max_tokens


def test_windows_line_breaks_read_as_plain_ones(tokenizer: Tokenizer) -> None:
    plain = lay_out(tokenizer, Layout(), "a = 1\nb = ", "\nc = 3\n", ())
    windows = lay_out(tokenizer, Layout(), "a = 1\r\nb = ", "\r\nc = 3\r\n", ())
    assert plain.ids == windows.ids


def test_typing_moves_no_border_but_at_the_grid(tokenizer: Tokenizer) -> None:
    moved = sum(
        prefix_borders(Layout(), SOURCE[:cut]) != prefix_borders(Layout(), SOURCE[: cut + 1])
        for cut in range(2000, 4000)
    )
    assert moved <= 2000 // 384 + 1


def test_deleting_behind_the_cursor_keeps_the_far_suffix(tokenizer: Tokenizer) -> None:
    moved = sum(
        len(SOURCE) - cut - suffix_borders(Layout(), SOURCE[cut:])[1]
        != len(SOURCE) - cut - 1 - suffix_borders(Layout(), SOURCE[cut + 1 :])[1]
        for cut in range(2000, 4000)
    )
    assert moved <= 2000 // 192 + 1


def test_without_markers_the_model_sees_the_text_before_the_cursor_alone(tokenizer: Tokenizer) -> None:
    """A causal checkpoint without a card: a suffix in front would read as what comes before the prefix."""
    plain = dict.fromkeys(
        ("mask", "other", "far_suffix", "far_prefix", "near_suffix", "near_prefix", "file", "eof"), -1
    )
    causal = Tokenizer(tokenizer._bpe, Vocabulary(**plain))
    assert causal.decode(list(lay_out(causal, Layout(), "a = 1\nb = ", "\nc = 3\n", ()).ids)) == "a = 1\nb ="
