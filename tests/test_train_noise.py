"""diffusion/train/noise.py, echoes.py and own_drafts.py: what training canvases hold besides masks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffusion.tokenizer import Tokenizer
from diffusion.train.batches import neighbours
from diffusion.train.echoes import recalled_draft
from diffusion.train.noise import Noise
from diffusion.train.own_drafts import with_own_drafts
from diffusion.train.recipe import Recipe
from diffusion.vocabulary import OURS
from tests.make_data import tiny_packer

SEEN = "def area(self):\n    return self.width * self.height\n\n\ndef half(self):\n    return self."


def test_a_draft_is_what_the_file_went_on_with_before(tokenizer: Tokenizer) -> None:
    ids = np.array(tokenizer.encode(SEEN + "total\n"))
    start = len(tokenizer.encode(SEEN))
    draft = recalled_draft(np.random.default_rng(0), ids, start, len(ids) - 1, tokenizer)
    assert draft is not None
    assert tokenizer.decode(draft.tolist()) == "width * self.height"


def test_nothing_is_recalled_where_nothing_echoes(tokenizer: Tokenizer) -> None:
    ids = np.array(tokenizer.encode("alpha = 1\nbeta"))
    assert recalled_draft(np.random.default_rng(0), ids, len(ids) - 1, len(ids), tokenizer) is None


def test_a_canvas_that_starts_from_a_draft_asks_for_the_right_tokens_of_every_row(tokenizer: Tokenizer) -> None:
    noise = Noise(Recipe(doubted_share=0.0), tokenizer, np.random.default_rng(0))
    content, inputs, weights = noise.from_draft(np.array([40, 41, 42]), np.array([40, 50]), 8)
    assert content.tolist() == [40, 50] + [OURS.end] * 6
    assert inputs.tolist() == [40, 41, 42] + [OURS.end] * 5
    assert weights[:4].tolist() == [0.25] * 4 and not weights[4:].any()


def test_wrong_rows_of_a_draft_are_doubted_more_often_than_right_ones(tokenizer: Tokenizer) -> None:
    noise = Noise(Recipe(doubted_share=1.0), tokenizer, np.random.default_rng(0))
    masked = np.zeros(8)
    for _ in range(400):
        _, inputs, weights = noise.from_draft(np.array([40, 41]), np.array([40, 50]), 8)
        masked += inputs == OURS.mask
        assert weights[:3].all() and not weights[3:].any()
    assert masked[1] > 3 * masked[0] > 0 and not masked[3:].any()


def test_some_canvases_of_a_batch_start_from_drafts() -> None:
    batch = tiny_packer(rows=640, seed=5, recipe=Recipe(recall_share=1.0, doubted_share=0.0)).batch(8)
    canvases = [(b, n) for b, canvas in enumerate(batch.canvas) for n in set(canvas.tolist()) - {0}]
    unmasked = [not bool((batch.ids[b][batch.canvas[b] == n] == OURS.mask).any()) for b, n in canvases]
    assert 0 < sum(unmasked) < len(canvases)


def test_own_drafts_reveal_the_likely_rows_and_leave_one_masked() -> None:
    batch = tiny_packer(rows=640, seed=5).batch(2)
    masked = (batch.ids == OURS.mask) & (batch.canvas > 0)
    probability = torch.rand(batch.ids.shape, generator=torch.Generator().manual_seed(1))
    best = probability, torch.full_like(batch.ids, 77)
    drafted = with_own_drafts(best, batch, Recipe(own_draft_share=1.0), seed=0)
    revealed = masked & (drafted.ids == 77)
    assert bool(revealed.any())
    assert torch.equal(drafted.ids[~revealed], batch.ids[~revealed])
    assert float(probability[revealed].mean()) > float(probability[masked & ~revealed].mean())
    assert torch.equal(drafted.targets, batch.targets)
    for sequence, canvas in enumerate(batch.canvas):
        for number in set(canvas.tolist()) - {0}:
            rows = (canvas == number) & (drafted.ids[sequence] == OURS.mask)
            assert float(drafted.canvas_weight[sequence][rows].sum()) == pytest.approx(1, rel=1e-4)


def test_without_a_share_of_own_drafts_a_batch_stays_what_it_is() -> None:
    batch = tiny_packer(rows=640, seed=5).batch(1)
    best = torch.ones(batch.ids.shape), torch.full_like(batch.ids, 77)
    drafted = with_own_drafts(best, batch, replace(Recipe(), own_draft_share=0.0), seed=0)
    assert torch.equal(drafted.ids, batch.ids) and torch.equal(drafted.canvas_weight, batch.canvas_weight)


def test_a_canvas_masked_from_the_left_holds_the_right_text_and_masks_behind_it(
    tokenizer: Tokenizer,
) -> None:
    recipe = Recipe(all_masked_share=0.0, from_left_share=1.0, complement_share=0.0, two_holes_share=0.0)
    noise = Noise(recipe, tokenizer, np.random.default_rng(0))
    firsts = set()
    for n_text in (1, 5, 8):
        content, fixed = noise.content(np.arange(40, 40 + n_text), 8)
        for _ in range(60):
            masked = noise.choose_masked(content, fixed, None)
            first = int(np.argmax(masked))
            assert masked[first:].all() and not masked[:first].any()
            firsts.add((n_text, first))
    assert firsts == {(1, 1), *((5, row) for row in range(1, 6)), *((8, row) for row in range(1, 8))}


def test_a_row_knows_the_tokens_left_and_right_of_it_and_a_canvas_what_stands_in_front_of_it() -> None:
    batch = tiny_packer(rows=640, seed=5).batch(2)
    left, right = neighbours(batch)
    for b, rows in enumerate(batch.canvas.tolist()):
        for row, canvas in enumerate(rows):
            if canvas == 0:
                continue
            first = row == 0 or rows[row - 1] != canvas
            seen = int(batch.branch_limit[b, row]) - 1 if first else row - 1
            last = row + 1 == len(rows) or rows[row + 1] != canvas
            assert left[b, row] == batch.ids[b, seen]
            assert right[b, row] == (OURS.end if last else batch.ids[b, row + 1])
    assert (left[:, 0] == OURS.end).all()
    assert (left[:, 1:] == batch.ids[:, :-1])[(batch.branch[:, 1:] == 0)].all()
