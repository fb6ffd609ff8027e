"""diffusion/train/from_base.py: a causal base learns our layout and a canvas; what it trains is what inference runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffusion.layout import Layout
from diffusion.model.card import open_folder
from diffusion.model.config import ModelConfig
from diffusion.model.load import load_weights, save_model
from diffusion.model.transformer import ContextCache, Transformer, sdpa
from diffusion.train.base_loss import freeze, losses_at, told_rows
from diffusion.train.batches import Batch, Packer, visible
from diffusion.train.from_base import BaseRun, train
from diffusion.train.recipe import VERDICT
from diffusion.train.step import attention_mask
from tests.make_data import tiny_dataset, write_corpus
from tests.models import SMALL

SHAPE = ModelConfig(
    d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48, qk_norm=False, extras=False, shift=True, max_context=512
)
RUN = BaseRun(rows=640, told=400, sequences=2, together=2, compile=False, lr=1e-2, warmup_steps=1, minutes=0.03)


def small_model() -> Transformer:
    torch.manual_seed(0)
    model = Transformer(SHAPE)
    model.init_weights(torch.Generator().manual_seed(1))
    for name, parameter in model.named_parameters():
        if name.endswith(("o.weight", "down.weight")):
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def base(path: Path) -> Path:
    """A base with our own token ids on a card."""
    save_model(path, small_model(), (SMALL / "tokenizer.json").read_bytes())
    names = ("mask", "end", "other", "far_suffix", "far_prefix", "near_suffix", "near_prefix", "file", "eof")
    card = {"format": 1, "tokens": {name: i for i, name in enumerate(names)}, "policy": "verdict"}
    (path / "mezzotint.json").write_text(json.dumps(card))
    return path


def test_a_shifted_canvas_in_a_packed_sequence_reads_as_it_does_at_inference() -> None:
    model = small_model().requires_grad_(False)
    packer = Packer(tiny_dataset(), 640, 3, replace(VERDICT, recall_share=0.0), Layout(), shift=True)
    batch = packer.batch(1)
    mask = visible(batch.branch, batch.canvas, batch.trunk_limit, batch.branch_limit)[:, None]
    packed = model(
        batch.ids, batch.positions, batch.ids, batch.ids, batch.canvas > 0, lambda _, q, k, v: sdpa(q, k, v, mask)
    )
    numbers = [number for number in batch.canvas.unique().tolist() if number]
    assert len(numbers) > 3
    for number in numbers:
        rows = torch.nonzero(batch.canvas[0] == number)[:, 0]
        context = torch.nonzero(mask[0, 0, rows[0]] & (batch.canvas[0] == 0))[:, 0]
        cache = ContextCache(SHAPE, 640, torch.float32)
        model.encode(batch.ids[0, context].tolist(), cache)
        assert batch.ids[0, rows[0]] == cache.ids[-1], "the first row repeats the last token in front of the canvas"
        canvas = [*batch.ids[0, rows[1:]].tolist(), 0]  # the last token is fed to no row
        alone = model.run([], canvas, cache)
        torch.testing.assert_close(packed[0, rows], alone, atol=1e-4, rtol=1e-4)


def test_rows_behind_a_canvas_first_end_and_in_front_of_its_first_mask_weigh_nothing() -> None:
    packer = Packer(tiny_dataset(), 640, 3, replace(VERDICT, recall_share=0.0, two_holes_share=0.0), shift=True)
    batch = packer.batch(2)
    end = packer.ids.end
    for sequence, canvas in enumerate(batch.canvas):
        for number in set(canvas.tolist()) - {0}:
            rows = canvas == number
            targets, weight = batch.targets[sequence][rows], batch.canvas_weight[sequence][rows]
            total = float(weight.sum())  # 0 where none but rows behind the end is masked
            assert total == 0 or total == pytest.approx(1, rel=1e-4)
            ended = torch.nonzero(targets == end)[:, 0]
            assert not len(ended) or not bool(weight[int(ended[0]) + 1 :].any())
            told = weight[weight > 0]
            assert bool((told[1:] < told[:-1]).all())


def test_the_losses_are_those_of_the_whole_vocabulary_and_only_special_rows_learn() -> None:
    model = small_model()
    plain = load_plain_losses(model)
    embed = freeze(model, tiny_dataset().tokenizer.specials)
    batch = Packer(tiny_dataset(), 640, 3, VERDICT, shift=True).batch(1)
    rows = told_rows(batch, 400, torch.Generator().manual_seed(0))
    assert len(rows) == 400 and len(rows.unique()) == 400
    found = losses_at(model, batch, attention_mask(batch), rows)
    for ours, theirs in zip(found, plain(batch, rows), strict=True):
        assert float(ours.detach()) == pytest.approx(theirs, rel=0.02)
    sum(found).backward()
    assert embed.rows.grad is not None and bool(embed.rows.grad.any())
    assert not embed.weight.requires_grad


def load_plain_losses(model: Transformer) -> Callable[[Batch, torch.Tensor], list[float]]:
    """The same losses by the plain way: float32, all logits."""
    copy = small_model()
    copy.load_state_dict(model.state_dict())

    def losses(batch: Batch, rows: torch.Tensor) -> list[float]:
        mask = visible(batch.branch, batch.canvas, batch.trunk_limit, batch.branch_limit)[:, None]
        with torch.no_grad():
            hidden = copy(
                batch.ids,
                batch.positions,
                batch.ids,
                batch.ids,
                batch.canvas > 0,
                lambda _, q, k, v: sdpa(q, k, v, mask),
            )
            each = torch.nn.functional.cross_entropy(
                copy.logits(hidden[0, rows]), batch.targets[0, rows], reduction="none"
            )
        weights = batch.ar_weight[0, rows], batch.canvas_weight[0, rows]
        return [float(each @ weight / weight.sum()) for weight in weights]

    return losses


def test_a_run_resumes_and_writes_a_folder_that_loads_and_text_embeddings_stay(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus")
    folder = base(tmp_path / "base")
    first = train(folder, tmp_path / "corpus", tmp_path / "run", RUN)
    again = train(folder, tmp_path / "corpus", tmp_path / "run", RUN)
    assert 0 < int(str(first["step"])) < int(str(again["step"]))
    before, after = load_weights(open_folder(folder)), load_weights(open_folder(tmp_path / "run" / "model"))
    assert torch.equal(before.embed.weight[16:], after.embed.weight[16:])
    assert not torch.equal(before.embed.weight[:2], after.embed.weight[:2])
    assert not torch.equal(before.blocks[0].qkv.weight, after.blocks[0].qkv.weight)
    assert open_folder(tmp_path / "run" / "model").vocabulary == open_folder(folder).vocabulary
