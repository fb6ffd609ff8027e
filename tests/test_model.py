"""diffusion/model.py, and that training sees exactly what inference sees."""

import torch

from diffusion.engine import Engine
from diffusion.model.config import ModelConfig
from diffusion.model.transformer import ContextCache, Transformer, sdpa
from diffusion.train.batches import Batch, neighbours, visible
from diffusion.vocabulary import OURS
from tests.make_data import tiny_packer


def small_model() -> Transformer:
    model = Transformer(ModelConfig(vocab_size=300, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48))
    model.init_weights(torch.Generator().manual_seed(1))
    for name, parameter in model.named_parameters():  # residual branches start at zero: wake them up
        if name.endswith(("o.weight", "down.weight", "left.weight", "right.weight")):
            torch.nn.init.normal_(parameter, std=0.2)
    return model.requires_grad_(False)


def test_encoding_in_pieces_equals_encoding_at_once() -> None:
    model, ids = small_model(), list(range(20, 60))
    whole, pieces = (ContextCache(model.config, 64, torch.float32) for _ in range(2))
    model.encode(ids, whole)
    for start in range(0, len(ids), 7):
        model.encode(ids[start : start + 7], pieces)
    torch.testing.assert_close(whole.k, pieces.k)
    torch.testing.assert_close(whole.v, pieces.v)


def test_canvas_rows_see_one_another_in_both_directions() -> None:
    model = small_model()
    cache = ContextCache(model.config, 64, torch.float32)
    model.encode([20, 21, 22], cache)
    one = model.denoise(torch.tensor([[OURS.mask, OURS.mask, 30]]), cache)
    other = model.denoise(torch.tensor([[OURS.mask, OURS.mask, 31]]), cache)
    assert not torch.allclose(one[0, 0], other[0, 0])


def test_denoising_leaves_the_cached_context_alone() -> None:
    model = small_model()
    cache = ContextCache(model.config, 64, torch.float32)
    model.encode([20, 21, 22], cache)
    before = cache.k[..., :3, :].clone()
    model.denoise(torch.tensor([[OURS.mask] * 8]), cache)
    assert torch.equal(before, cache.k[..., :3, :]) and cache.ids == [20, 21, 22]


def test_a_canvas_in_a_packed_training_sequence_reads_as_it_does_at_inference(engine: Engine) -> None:
    """Every canvas of a packed batch equals the same canvas behind its own context, encoded alone."""
    batch = tiny_packer(rows=640).batch(1)
    model = engine.backend.model
    packed = forward_packed(model, batch)
    for number in batch.canvas.unique().tolist():
        if number == 0:
            continue
        rows = torch.nonzero(batch.canvas[0] == number)[:, 0]
        first = rows[0]
        sees = visible(batch.branch, batch.canvas, batch.trunk_limit, batch.branch_limit)[0, first]
        context = torch.nonzero(sees & (batch.canvas[0] == 0))[:, 0]
        cache = ContextCache(model.config, 640, torch.float32)
        model.encode(batch.ids[0, context].tolist(), cache)
        alone = model.denoise(batch.ids[:, rows], cache)
        torch.testing.assert_close(packed[0, rows], alone[0], atol=2e-3, rtol=2e-3)


def forward_packed(model: Transformer, batch: Batch) -> torch.Tensor:
    mask = visible(batch.branch, batch.canvas, batch.trunk_limit, batch.branch_limit)[:, None]
    with torch.no_grad():
        beside = neighbours(batch)
        return model(batch.ids, batch.positions, *beside, batch.canvas > 0, lambda layer, q, k, v: sdpa(q, k, v, mask))
