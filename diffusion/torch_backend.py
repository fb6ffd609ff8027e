"""The model run by torch: on any device, and the definition of what the native backend must give.

Rule: the only file between `Engine` and torch.

    backend = TorchBackend.load(EMBEDDED, device="cpu"); cache = backend.new_cache(640)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from cuda_ext.rules import Policy
from diffusion.autoregress import autoregress
from diffusion.canvas import Canvas
from diffusion.denoise import denoise
from diffusion.model.card import ModelFolder
from diffusion.model.config import ModelConfig
from diffusion.model.load import load_weights
from diffusion.model.transformer import ContextCache, Transformer
from diffusion.request import Draft, InfillRequest


class TorchBackend:
    """A transformer and how to run it."""

    def __init__(self, model: Transformer) -> None:
        self.model = model

    @classmethod
    def load(cls, folder: ModelFolder, device: str = "cpu", threads: int | None = None) -> TorchBackend:
        """Load a model folder; ValueError says what is wrong with it or with the device."""
        if threads:
            torch.set_num_threads(threads)
        if device != "cpu" and not torch.cuda.is_available():
            raise ValueError(f"device {device!r} asked for, but this torch finds no CUDA device")
        model = load_weights(folder, inference_dtype(device))
        return cls(model.to(device))

    @property
    def config(self) -> ModelConfig:
        """Shape of the model."""
        return self.model.config

    @property
    def info(self) -> dict[str, object]:
        """What runs, for logs and reports."""
        embed = self.model.embed.weight
        n_parameters = sum(p.numel() for p in self.model.parameters())
        return {
            "backend": "torch",
            "device": str(embed.device),
            "precision": str(embed.dtype).removeprefix("torch."),
            "parameters": n_parameters,
        }

    def new_cache(self, capacity: int) -> ContextCache:
        """An empty context cache for `capacity` tokens."""
        embed = self.model.embed.weight
        return ContextCache(self.config, capacity, embed.dtype, str(embed.device))

    def encode(self, ids: list[int], cache: ContextCache) -> None:
        """Append context tokens to the cache."""
        with torch.no_grad():
            self.model.encode(ids, cache)

    def denoise(
        self,
        cache: ContextCache,
        canvas: Canvas,
        policy: Policy,
        request: InfillRequest,
        cancelled: Callable[[], bool],
    ) -> Iterator[Draft]:
        """The denoising loop."""
        return denoise(
            *(self.model, cache, canvas, policy, cancelled),
            *(request.deadline_ms, request.temperature, request.seed, request.stop_below),
        )

    def autoregress(self, cache: ContextCache, canvas: Canvas, cancelled: Callable[[], bool]) -> Iterator[Draft]:
        """The same canvas decoded token by token."""
        return autoregress(self.model, cache, canvas, cancelled)


def inference_dtype(device: str) -> torch.dtype:
    """bfloat16 where the hardware multiplies it, else float32."""
    if device != "cpu":
        return torch.bfloat16
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32
