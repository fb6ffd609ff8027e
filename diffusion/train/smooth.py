"""Evens out a model's activations before it is stored in int8: SmoothQuant (arXiv 2211.10438), the same function.

Rule: an activation channel that is large for all rows is divided by a factor, and what multiplies it is multiplied by
that factor; the division goes into the layer in front (a norm's gain, the values' rows, the MLP's `up` rows), so that
nothing is added to the forward pass. int8 has one scale per row of activations: a few large channels would cost all
the others their digits.

    smooth(model, [ids, ...])       # in place; ids (n,) of ordinary files, 8 x 512 tokens are enough
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from diffusion.model.transformer import Block, ContextCache, Transformer

SHARE = 0.5  # of the unevenness that moves from activations to weights
LEAST = 1e-5


@torch.no_grad()
def smooth(model: Transformer, texts: Iterable[Tensor]) -> None:
    """Even out the inputs of every matrix of the blocks, by what they are on `texts`; float32 models only."""
    largest = largest_inputs(model, texts)
    for number, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        inputs = {name: largest[f"blocks.{number}.{name}"] for name in ("qkv", "o", "gate_up", "down")}
        move(factors(inputs["qkv"], block.qkv.weight), block.attn_norm, block.qkv)
        move(factors(inputs["gate_up"], block.gate_up.weight), block.mlp_norm, block.gate_up)
        smooth_values(block, inputs["o"])
        smooth_up(block, inputs["down"])


def largest_inputs(model: Transformer, texts: Iterable[Tensor]) -> dict[str, Tensor]:
    """The largest absolute value of every input channel of every linear layer of the blocks, by the layer's name."""
    largest: dict[str, Tensor] = {}

    def watch(name: str, layer: nn.Linear) -> torch.utils.hooks.RemovableHandle:
        def see(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen = inputs[0].flatten(0, -2).abs().amax(0)
            largest[name] = torch.maximum(largest[name], seen) if name in largest else seen

        return layer.register_forward_pre_hook(see)

    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    hooks = [watch(name, layer) for name, layer in layers]
    for ids in texts:
        model.encode(ids.tolist(), ContextCache(model.config, len(ids), torch.float32))
    for hook in hooks:
        hook.remove()
    return largest


def factors(inputs: Tensor, weight: Tensor) -> Tensor:
    """By what each input channel (K,) of `weight` (N, K) is divided."""
    columns = weight.abs().amax(0)
    return (inputs.clamp_min(LEAST) ** SHARE / columns.clamp_min(LEAST) ** (1 - SHARE)).clamp_min(LEAST)


def move(by: Tensor, norm: nn.RMSNorm, layer: nn.Linear) -> None:
    """Divide what a norm hands to a layer, and multiply the layer's columns."""
    norm.weight.div_(by)
    layer.weight.mul_(by)


def smooth_values(block: Block, inputs: Tensor) -> None:
    """Divide the rows that make values; a value is read by all heads of its group, which share its factors."""
    h, g, d = block.n_heads, block.n_kv_heads, block.d_head
    of_group = inputs.view(g, h // g, d).amax(1)
    columns = block.o.weight.view(-1, g, h // g, d).abs().amax((0, 2))
    by = (of_group.clamp_min(LEAST) ** SHARE / columns.clamp_min(LEAST) ** (1 - SHARE)).clamp_min(LEAST)
    block.qkv.weight[(h + g) * d :].div_(by.view(-1, 1))
    if block.qkv.bias is not None:
        block.qkv.bias[(h + g) * d :].div_(by.flatten())
    block.o.weight.view(-1, g, h // g, d).mul_(by[:, None])


def smooth_up(block: Block, inputs: Tensor) -> None:
    """Divide the rows of `up`: what `down` reads is linear in them."""
    by = factors(inputs, block.down.weight)
    block.gate_up.weight[len(by) :].div_(by[:, None])
    block.down.weight.mul_(by)
