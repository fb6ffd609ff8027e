"""Shapes and random weights for the tests of the native library and of its twin."""

from __future__ import annotations

import numpy as np

from cuda_ext import native
from cuda_ext.native import EXTRAS, OWN_HEAD, QK_NORM, QKV_BIAS, SHIFT, Shape

EVERYTHING = 2**30
OURS = EXTRAS | QK_NORM

# vocab, d_model, layers, heads, kv heads, d_ff, d_head, flags, context_sees, canvas_sees, rope_base, norm_eps
SHAPES = {
    "ours": Shape(501, 64, 2, 4, 2, 100, 16, OURS, 1, EVERYTHING, 1e4, 1e-6),
    "embedded": Shape(1000, 256, 3, 4, 2, 704, 64, OURS, 1, EVERYTHING, 1e4, 1e-6),
    "llama": Shape(300, 576, 2, 9, 3, 128, 64, 0, 1, EVERYTHING, 1e4, 1e-5),
    "qwen2": Shape(301, 112, 2, 6, 2, 90, 64, QKV_BIAS, 1, EVERYTHING, 1e6, 1e-6),
    "qwen3": Shape(300, 96, 2, 3, 1, 90, 128, QK_NORM | OWN_HEAD, 1, EVERYTHING, 1e6, 1e-6),
    "blocks of 4, shifted": Shape(300, 96, 2, 4, 2, 90, 32, QK_NORM | SHIFT, 4, 4, 1e6, 1e-6),
    "blocks of 32": Shape(300, 96, 2, 4, 2, 90, 32, QK_NORM, 32, 32, 1e6, 1e-6),
    "no block, odd sizes": Shape(299, 70, 1, 3, 1, 61, 10, QKV_BIAS | SHIFT, 1, 1, 1e4, 1e-6),
    "all at once": Shape(300, 64, 2, 4, 1, 90, 16, OURS | QKV_BIAS | OWN_HEAD | SHIFT, 1, EVERYTHING, 1e4, 1e-4),
}


def random_tensors(shape: Shape, seed: int = 0) -> dict[str, native.Tensor]:
    """Bfloat16 words of a model with normal weights."""
    random = np.random.default_rng(seed)
    tensors: dict[str, native.Tensor] = {}
    for name, size in native.tensor_sizes(shape).items():
        centre, spread = (1.0, 0.1) if "norm" in name else (0.0, 0.3 if "bias" in name else size[-1] ** -0.5)
        values = random.normal(centre, spread, size).astype(np.float32)
        tensors[name] = (values.view(np.uint32) >> 16).astype(np.uint16)
    return tensors


def in_int8(shape: Shape, tensors: dict[str, native.Tensor]) -> dict[str, native.Tensor]:
    """The same with every matrix that may be in int8."""
    kept = {"left", "right", *(["embed.weight"] if shape.flags & EXTRAS else [])}
    sizes = native.tensor_sizes(shape)
    return {
        name: tensor if len(sizes[name]) == 1 or name in kept or isinstance(tensor, tuple) else quantised(tensor)
        for name, tensor in tensors.items()
    }


def quantised(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Int8 values and scales, with a coarser rounding than the library's own: to be told from it."""
    values = (words.astype(np.uint32) << 16).view(np.float32)
    scales = np.abs(values).max(axis=1) / 100
    return np.rint(values / scales[:, None]).astype(np.int8), scales
