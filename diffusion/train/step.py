"""One training step: both losses of a packed batch, and the optimizers.

Rule: on a CPU attention takes dense masks, on a GPU FlexAttention's blocks; both say what `batches.visible` says.

    losses = compute_losses(model, batch, attention_mask(batch)); (ar_weight * losses[0] + losses[1]).backward()
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from diffusion.model.transformer import Transformer
from diffusion.train.batches import Batch, neighbours, visible
from diffusion.train.recipe import LARGEST_CANVAS

ROWS_AT_ONCE = 160  # that a CPU attends for
Mask = BlockMask | tuple[Tensor, ...]


def precision(device: torch.device) -> torch.dtype:
    """What matrices are multiplied in: bfloat16, or float32 on a CPU that would emulate it, three times slower."""
    emulated = device.type == "cpu" and not torch.cpu._is_avx512_bf16_supported()  # torch has no public name for it
    return torch.float32 if emulated else torch.bfloat16


def autocast(device: torch.device) -> torch.autocast:
    """The context of a forward pass in `precision`."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision(device) == torch.bfloat16)


def attention_mask(batch: Batch) -> Mask:
    """Who sees whom, as the batch's device wants it; made outside the compiled step, once for all layers."""
    return block_mask(batch) if batch.ids.is_cuda else dense_masks(batch)


def dense_masks(batch: Batch) -> tuple[Tensor, ...]:
    """Additive masks (B, 1, rows, keys) of successive rows, without the keys that come too late for all."""
    seen = visible(batch.branch, batch.canvas, batch.trunk_limit, batch.branch_limit)[:, None]
    mask = torch.zeros(seen.shape, dtype=precision(seen.device), device=seen.device).masked_fill_(~seen, -torch.inf)
    return tuple(
        mask[:, :, start : start + ROWS_AT_ONCE, : start + ROWS_AT_ONCE + LARGEST_CANVAS].contiguous()
        for start in range(0, mask.shape[2], ROWS_AT_ONCE)
    )


def block_mask(batch: Batch) -> BlockMask:
    """The same as blocks of 128 x 128 (arXiv 2412.05496): those that nobody sees are never computed."""
    branch, canvas, trunk_limit, branch_limit = batch.branch, batch.canvas, batch.trunk_limit, batch.branch_limit

    def sees(b: Tensor, _head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        in_trunk = (branch[b, k] == 0) & (k < trunk_limit[b, q])
        in_branch = (branch[b, q] == branch[b, k]) & (canvas[b, k] == 0) & (k < branch_limit[b, q])
        return in_trunk | in_branch | ((canvas[b, q] == canvas[b, k]) & (canvas[b, q] > 0))

    n_sequences, n_rows = branch.shape
    create = torch.compile(create_block_mask) if branch.is_cuda else create_block_mask  # 20 times as fast, on a CPU
    return create(sees, n_sequences, None, n_rows, n_rows, device=branch.device)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
    """Grouped-query attention: q (B, H, R, D), k and v (B, G, R, D)."""
    if isinstance(mask, BlockMask):
        out: Tensor = flex_attention(q, k, v, block_mask=mask, enable_gqa=True)
        return out
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    rows, parts = 0, []
    for part in mask:  # compiled, this is 2.7 times as fast as the fused kernel of torch 2.13, most of it backward
        q_part, n_keys = q[:, :, rows : rows + part.shape[2]], part.shape[3]
        scores = q_part @ k[:, :, :n_keys].transpose(-1, -2) * q.shape[-1] ** -0.5 + part
        parts.append(scores.softmax(-1).to(v.dtype) @ v[:, :, :n_keys])
        rows += part.shape[2]
    return torch.cat(parts, dim=2)


def forward(model: Transformer, batch: Batch, mask: Mask) -> Tensor:
    """Logits (B, R, V) of a packed batch, float32."""

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention(q, k, v, mask)

    with autocast(batch.ids.device):
        hidden = model(batch.ids, batch.positions, *neighbours(batch), batch.canvas > 0, attend)
        return model.logits(hidden)


def compute_losses(model: Transformer, batch: Batch, mask: Mask) -> tuple[Tensor, Tensor]:
    """Next-token loss (nats per token) and masked-diffusion loss (nats per masked token) of a batch."""
    logits = forward(model, batch, mask)
    losses = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none")
    next_token = losses @ batch.ar_weight.flatten() / batch.ar_weight.sum()
    # A canvas weighs 1 in all (a little more with its revealed rows): the sum of weights counts canvases.
    diffusion = losses @ batch.canvas_weight.flatten() / batch.canvas_weight.sum()
    return next_token, diffusion


def make_optimizers(model: Transformer, lr: float) -> list[torch.optim.Optimizer]:
    """Muon (Jordan 2024) for all matrices but the embeddings, AdamW for those and the gains."""
    matrices = [p for p in model.parameters() if p.dim() == 2 and p is not model.embed.weight]
    rest = [p for p in model.parameters() if p.dim() != 2 or p is model.embed.weight]
    muon = torch.optim.Muon(matrices, lr=lr, weight_decay=0.02, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=0.0)
    return [muon, adamw]


def learning_rate(progress: float, peak: float, warmup: float = 0.02, decay: float = 0.4) -> float:
    """Warm up, hold, then fall linearly to zero over the last `decay` share of the run (progress in [0, 1])."""
    if progress < warmup:
        return peak * max(progress, 1e-3) / warmup
    return peak * min(1.0, max(0.0, 1.0 - progress) / decay)


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], lr: float) -> None:
    """Write `lr` into every parameter group."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr


def clip(model: nn.Module, max_norm: float = 1.0) -> None:
    """Clip the gradients."""
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
