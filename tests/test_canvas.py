"""diffusion/canvas.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.canvas import Canvas, decode_spans, merge_spans
from diffusion.healing import NO_EDGE, Edge
from diffusion.request import Hole, Start
from diffusion.tokenizer import Tokenizer
from diffusion.vocabulary import OURS


def test_a_blank_canvas_masks_holes_and_fixes_the_text_between(tokenizer: Tokenizer) -> None:
    canvas = Canvas.blank(tokenizer, (Hole(4), "):\n    return ", Hole(8)), NO_EDGE, NO_EDGE)
    assert int(canvas.masked.sum()) == 12
    assert tokenizer.decode(canvas.ids[canvas.fixed].tolist()) == "):\n    return "
    assert canvas.holes[0] == (0, 4) and canvas.holes[1][1] == len(canvas.ids)


def test_fixed_rows_cannot_be_written_or_masked(tokenizer: Tokenizer) -> None:
    canvas = Canvas.blank(tokenizer, (Hole(2), "x"), NO_EDGE, NO_EDGE)
    before = canvas.ids[2:].copy()
    canvas.write(np.full_like(canvas.ids, 50), np.ones(len(canvas.ids)))
    canvas.remask(np.ones_like(canvas.fixed))
    assert np.array_equal(canvas.ids[2:], before) and canvas.ids[:2].tolist() == [OURS.mask, OURS.mask]


def test_rows_behind_the_first_end_of_the_tail_leave_the_canvas(tokenizer: Tokenizer) -> None:
    canvas = Canvas.blank(tokenizer, (Hole(8),), NO_EDGE, NO_EDGE)
    assert canvas.n_active == 8
    canvas.write(np.array([50, OURS.mask, OURS.end, OURS.end, OURS.end, OURS.end, OURS.end, OURS.end]), np.ones(8))
    assert canvas.n_active == 3


def test_a_draft_shades_guesses_and_hides_what_lies_behind_the_end(tokenizer: Tokenizer) -> None:
    canvas = Canvas.blank(tokenizer, (Hole(6),), NO_EDGE, NO_EDGE)
    a, b, c = tokenizer.encode("return")[0], tokenizer.encode(" x")[0], tokenizer.encode(" +")[0]
    canvas.write(np.array([a, OURS.mask, OURS.mask, OURS.end, OURS.end, OURS.end]), np.full(6, 0.5))
    draft = canvas.draft(np.array([a, b, c, OURS.end, OURS.end, OURS.end]), step=1, forward_passes=1)
    assert draft.text == "return x +"
    assert draft.masked == ((6, 10),)
    assert draft.confidence == pytest.approx(0.5)


def test_fixed_text_behind_a_hole_is_as_likely_as_that_the_hole_ends_there(tokenizer: Tokenizer) -> None:
    canvas = Canvas.blank(tokenizer, (Hole(3), ")"), NO_EDGE, NO_EDGE)
    text = tokenizer.encode("return")[0]
    undecided = canvas.draft(np.array([text, OURS.end, OURS.end, canvas.ids[3]]), 1, 1)
    assert [token[2] for token in undecided.tokens] == [0.0, 0.0]
    canvas.write(np.array([text, OURS.end, OURS.end, canvas.ids[3]]), np.array([0.9, 0.6, 0.6, 1.0]))
    decided = canvas.draft(canvas.ids, 1, 1)
    assert decided.text == "return)"
    assert [token[2] for token in decided.tokens] == [0.9, 0.6]
    full = Canvas.blank(tokenizer, (Hole(3), ")"), NO_EDGE, NO_EDGE)
    full.write(np.array([text, text, text, canvas.ids[3]]), np.full(4, 0.9))
    assert full.draft(full.ids, 1, 1).tokens[-1][2] == 0.0


def test_the_partial_tokens_around_the_cursor_are_not_part_of_the_text(tokenizer: Tokenizer) -> None:
    canvas = Canvas.blank(tokenizer, (Hole(3),), Edge("ret", None), Edge("x", None))
    ids = np.array([tokenizer.encode("return")[0], tokenizer.encode(" x")[0], OURS.end])
    assert canvas.draft(ids, 1, 1).text == "urn "


@given(st.text(st.characters(blacklist_categories=["Cs"]), max_size=40))
def test_spans_cover_the_text_from_end_to_end(text: str) -> None:
    from tests.models import SMALL

    tokenizer = Tokenizer.load(SMALL / "tokenizer.json")
    decoded, spans = decode_spans([tokenizer.token_bytes[i] for i in tokenizer.encode(text)])
    assert decoded == text
    assert merge_spans(spans) == (((0, len(text)),) if text else ())


def test_spans_merge_when_they_touch() -> None:
    assert merge_spans([(0, 2), (2, 3), (3, 3), (5, 6)]) == ((0, 3), (5, 6))


def test_a_start_fills_the_first_hole_and_masks_what_is_doubtful(tokenizer: Tokenizer) -> None:
    start = Start((("return", 0.9), (" x", 0.0), (" +", 0.4)))
    canvas = Canvas.blank(tokenizer, (Hole(8),), NO_EDGE, NO_EDGE, start)
    (a,), (c,) = tokenizer.encode("return"), tokenizer.encode(" +")
    assert canvas.ids.tolist() == [a, OURS.mask, c, OURS.end, OURS.end, OURS.end, OURS.end, OURS.end]
    assert canvas.probability[:3].tolist() == pytest.approx([0.9, 1.0, 0.4])
    assert not canvas.fixed.any()


def test_an_open_start_leaves_the_rest_of_the_hole_masked(tokenizer: Tokenizer) -> None:
    canvas = Canvas.blank(tokenizer, (Hole(4),), NO_EDGE, NO_EDGE, Start((("return", 0.9),), closed=False))
    assert canvas.ids.tolist()[1:] == [OURS.mask] * 3


def test_a_start_that_is_too_long_is_cut(tokenizer: Tokenizer) -> None:
    canvas = Canvas.blank(tokenizer, (Hole(2), "x"), NO_EDGE, NO_EDGE, Start((("return x + 1", 0.9),)))
    assert tokenizer.decode(canvas.ids.tolist()) == "return xx"


def test_a_start_begins_with_the_partial_token_at_the_cursor(tokenizer: Tokenizer) -> None:
    allowed = tokenizer.starting_with(b"ret")
    canvas = Canvas.blank(tokenizer, (Hole(4),), Edge("ret", allowed), NO_EDGE, Start((("urn", 0.9), (" x", 0.5))))
    assert canvas.ids[0] == tokenizer.encode("return")[0]
    assert canvas.draft(canvas.ids, 1, 1, "complete").text == "urn x"
    assert [(a, b, pytest.approx(p)) for a, b, p in canvas.draft(canvas.ids, 1, 1).tokens] == [(0, 3, 0.9), (3, 5, 0.5)]


def test_a_start_keeps_the_partial_token_at_the_cursor_where_no_token_of_the_start_covers_it(
    tokenizer: Tokenizer,
) -> None:
    allowed = tokenizer.starting_with(b" del")
    assert not allowed[tokenizer.encode(" delivered")[0]]
    canvas = Canvas.blank(tokenizer, (Hole(8),), Edge(" del", allowed), NO_EDGE, Start((("ivered", 0.9),)))
    n_fixed = int(canvas.fixed.sum())
    assert tokenizer.decode(canvas.ids[:n_fixed].tolist()) == " del"
    assert canvas.draft(canvas.ids, 1, 1, "complete").text == "ivered"
