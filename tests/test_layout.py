"""diffusion/layout.py."""

import inspect
import json

import pytest

from diffusion.layout import MIN_CONTEXT, lay_out, prefix_borders, suffix_borders
from diffusion.tokenizer import EOF, FAR_PREFIX, FAR_SUFFIX, FILE, NEAR_PREFIX, NEAR_SUFFIX, OTHER, Tokenizer

SOURCE = inspect.getsource(json.decoder)


def test_parts_come_in_order_of_how_seldom_they_change(tokenizer: Tokenizer) -> None:
    half = SOURCE.index("\n", len(SOURCE) // 2)
    ids = lay_out(tokenizer, SOURCE[:half], SOURCE[half:], ("import os\n",), 512).ids
    markers = [i for i in ids if i in (OTHER, FAR_SUFFIX, FAR_PREFIX, NEAR_SUFFIX, NEAR_PREFIX)]
    assert markers == [OTHER, FAR_SUFFIX, FAR_PREFIX, NEAR_SUFFIX, NEAR_PREFIX]


def test_a_short_file_is_laid_out_whole(tokenizer: Tokenizer) -> None:
    context = lay_out(tokenizer, "import os\nx = 1", "\ny = 2\n", (), 512)
    assert FILE in context.ids and EOF in context.ids
    near_suffix = context.ids.index(NEAR_SUFFIX)
    near_prefix = context.ids.index(NEAR_PREFIX)
    assert tokenizer.decode(list(context.ids[near_suffix:near_prefix])) == "\ny = 2\n"
    assert tokenizer.decode(list(context.ids[near_prefix:])) + context.left.text == "import os\nx = 1"


@pytest.mark.parametrize("max_tokens", [MIN_CONTEXT, 512])
def test_context_never_exceeds_its_budget(tokenizer: Tokenizer, max_tokens: int) -> None:
    for cut in range(0, len(SOURCE), 997):
        context = lay_out(tokenizer, SOURCE[:cut], SOURCE[cut:], (SOURCE,), max_tokens)
        assert len(context.ids) <= max_tokens


def test_windows_line_breaks_read_as_plain_ones(tokenizer: Tokenizer) -> None:
    plain = lay_out(tokenizer, "a = 1\nb = ", "\nc = 3\n", (), 512)
    windows = lay_out(tokenizer, "a = 1\r\nb = ", "\r\nc = 3\r\n", (), 512)
    assert plain.ids == windows.ids


def test_typing_moves_no_border_but_at_the_grid(tokenizer: Tokenizer) -> None:
    moved = sum(prefix_borders(SOURCE[:cut]) != prefix_borders(SOURCE[: cut + 1]) for cut in range(2000, 4000))
    assert moved <= 2000 // 384 + 1


def test_deleting_behind_the_cursor_keeps_the_far_suffix(tokenizer: Tokenizer) -> None:
    moved = sum(
        len(SOURCE) - cut - suffix_borders(SOURCE[cut:])[1]
        != len(SOURCE) - cut - 1 - suffix_borders(SOURCE[cut + 1 :])[1]
        for cut in range(2000, 4000)
    )
    assert moved <= 2000 // 192 + 1
