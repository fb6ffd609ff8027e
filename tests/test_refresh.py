"""Passes over the neighbourhood of a canvas against exact ones, with a tiny model that has learned something.

The model goes on with what repeats: text of a pattern of eight tokens, over and over, has a gap, and both sides are
behind 40 tokens that are different ones each time. Training takes some seconds; nothing of it is shipped.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from cuda_ext.rules import SPECIAL, Policy
from diffusion.canvas import Canvas
from diffusion.denoise import denoise
from diffusion.healing import NO_EDGE
from diffusion.inplace import InPlace
from diffusion.model.card import open_folder
from diffusion.model.load import load_weights
from diffusion.model.transformer import ContextCache
from diffusion.request import Hole
from diffusion.tokenizer import Tokenizer
from tests.foreign import write

pytest.importorskip("transformers")

PERIOD, SIDE, GAP, N_IDS = 8, 40, 12, 24
STEPS, BATCH, LR = 200, 8, 3e-3


def texts(n: int, generator: torch.Generator, first_id: int) -> torch.Tensor:
    """N texts (n, 2 * SIDE + GAP) that repeat a pattern of tokens."""
    patterns = torch.stack([torch.randperm(N_IDS, generator=generator)[:PERIOD] for _ in range(n)])
    return first_id + patterns.repeat(1, (2 * SIDE + GAP) // PERIOD + 1)[:, : 2 * SIDE + GAP]


def learn(model: Any, mask: int, first_id: int) -> None:
    """Masked diffusion on gaps: a random share of a gap is masked. Row r predicts token r + 1, as Open-dCoder does."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.train().requires_grad_(True).named_parameters():
        parameter.data = torch.ones_like(parameter) if "norm" in name else parameter * 0.5 * (parameter.dim() == 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.98))
    everything = torch.zeros(BATCH, 1, 2 * SIDE + GAP, 2 * SIDE + GAP)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = LR * min(1.0, (step + 1) / 30, 2 * (STEPS - step) / STEPS)
        ids = texts(BATCH, generator, first_id)
        share = torch.rand(BATCH, 1, generator=generator).clamp_min(0.1)
        gone = torch.zeros_like(ids, dtype=torch.bool)
        gone[:, SIDE : SIDE + GAP] = torch.rand(BATCH, GAP, generator=generator) <= share
        logits = model(input_ids=ids.masked_fill(gone, mask), attention_mask=everything).logits
        loss = F.cross_entropy(logits[:, :-1][gone[:, 1:]], ids[:, 1:][gone[:, 1:]])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Tokenizer]:
    """A model of ours that has learned to go on with a pattern, and its tokenizer without an end."""
    path = tmp_path_factory.mktemp("refresh") / "tiny"
    model = write("open-dcoder", path)
    tokenizer = open_folder(path).tokenizer()
    learn(model, tokenizer.vocabulary.mask, first_id=300)
    there = load_file(path / "model.safetensors").keys()
    save_file({n: t.contiguous() for n, t in model.state_dict().items() if n in there}, path / "model.safetensors")
    tokenizer.flags[sorted(tokenizer.specials)] = SPECIAL
    return load_weights(open_folder(path)), tokenizer


def filled(model: Any, tokenizer: Tokenizer, text: list[int], refresh: int) -> tuple[list[int], InPlace]:
    """What the loop puts into the gap, a few tokens a pass."""
    cache = ContextCache(model.config, 256, torch.float32)
    cache.ids, cache.behind = text[:SIDE] + text[SIDE + GAP :], SIDE
    canvas = Canvas.blank(tokenizer, (Hole(GAP, multiline=True),), NO_EDGE, NO_EDGE)
    placed = InPlace(model, tokenizer.vocabulary.end, refresh)
    for _ in denoise(placed, cache, canvas, Policy(threshold=1.0, max_steps=6), lambda: False):
        pass
    return canvas.ids.tolist(), placed


def test_on_a_model_that_has_learned_passes_in_between_give_the_text_of_exact_ones(
    trained: tuple[Any, Tokenizer],
) -> None:
    model, tokenizer = trained
    same = right = exactly_right = 0
    for row in texts(40, torch.Generator().manual_seed(7), first_id=300).tolist():
        exact, every = filled(model, tokenizer, row, refresh=1)
        found, some = filled(model, tokenizer, row, refresh=8)
        assert (every.full_passes, some.full_passes) == (every.passes, 1) and some.passes == every.passes > 3
        same += found == exact
        right += found == row[SIDE : SIDE + GAP]
        exactly_right += exact == row[SIDE : SIDE + GAP]
    print(f"of 40 gaps: right {exactly_right} exact, {right} with passes in between, the same text {same}")
    assert exactly_right >= 36
    assert same >= 36
