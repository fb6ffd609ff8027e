"""diffusion/train/smooth.py: the same function, with activations that int8 rounds less."""

from __future__ import annotations

import torch

from diffusion.model.config import ModelConfig
from diffusion.model.transformer import ContextCache, Transformer
from diffusion.train.smooth import largest_inputs, smooth

SHAPE = ModelConfig(
    vocab_size=64, d_model=32, n_layers=2, n_heads=6, n_kv_heads=2, d_head=8, d_ff=48, qkv_bias=True, qk_norm=False,
    extras=False,
)  # fmt: skip
IDS = torch.arange(40) % 64


def uneven_model() -> Transformer:
    """A few channels of every activation are large, as in trained models."""
    torch.manual_seed(0)
    model = Transformer(SHAPE).requires_grad_(False)
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, 1.0 if name.endswith("norm.weight") else 0.0, 0.3)
    for block in model.blocks:
        block.attn_norm.weight[3] *= 40
        block.mlp_norm.weight[5] *= 40
        block.qkv.weight[-1] *= 40
        block.gate_up.weight[-1] *= 40
    return model


def hidden(model: Transformer) -> torch.Tensor:
    return model.encode(IDS.tolist(), ContextCache(SHAPE, len(IDS), torch.float32))


def unevenness(inputs: dict[str, torch.Tensor]) -> float:
    """How much larger the largest channel is than the median one, over all matrices."""
    return max(float(largest.max() / largest.median()) for largest in inputs.values())


def test_a_smoothed_model_computes_what_it_computed() -> None:
    model = uneven_model()
    before = hidden(model)
    smooth(model, [IDS])
    assert torch.allclose(hidden(model), before, rtol=1e-3, atol=1e-3)


def test_activations_are_evener_afterwards() -> None:
    model = uneven_model()
    before = unevenness(largest_inputs(model, [IDS]))
    smooth(model, [IDS])
    assert unevenness(largest_inputs(model, [IDS])) < before / 3
