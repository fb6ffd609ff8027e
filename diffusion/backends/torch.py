"""The model run by torch: on any device, and the definition of what the native backend must give.

Rule: the only file between `Engine` and torch. Passes of backends that were made `beside` one another run together.

    backend = TorchBackend.load(EMBEDDED, device="cpu"); cache = backend.new_cache(640)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from cuda_ext.rules import Policy, Verdict
from diffusion import lengths, verdict
from diffusion.backends.joined import Joined
from diffusion.blocks import Blocks
from diffusion.canvas import Canvas
from diffusion.denoise import denoise
from diffusion.device import parse_device
from diffusion.model.card import ModelFolder
from diffusion.model.config import ModelConfig
from diffusion.model.load import load_weights
from diffusion.model.memory import fitting, parameters, refuse_if_too_large
from diffusion.model.transformer import ContextCache, Transformer
from diffusion.request import Draft, InfillRequest


class TorchBackend:
    """A transformer and how to run it."""

    def __init__(self, model: Transformer, refresh: int = 1, joined: Joined | None = None) -> None:
        self.model, self.refresh, self.joined = model, refresh, joined or Joined(model)
        self.usual, self.forward_passes = lengths.Usual(), 0

    @classmethod
    def load(
        cls, folder: ModelFolder, device: str = "cpu", threads: int | None = None, precision: str | None = None
    ) -> TorchBackend:
        """Load a model folder; ValueError says what is wrong with it or with the device.

        `precision`: "int8", of weights alone, or the device's usual type; None: int8 where that alone fits.
        """
        if threads:
            torch.set_num_threads(threads)
        kind, index = parse_device(device)
        if kind == "cuda" and index >= torch.cuda.device_count():
            raise ValueError(
                f"device {device!r} asked for, but this torch finds {torch.cuda.device_count()} CUDA devices"
            )
        dtype = inference_dtype(device)
        usual = str(dtype).removeprefix("torch.")
        if precision not in (None, "int8", usual):
            raise ValueError(f"torch runs int8 and {usual} on {device}, not {precision}")
        precision = precision or fitting(folder, (usual, "int8"), device)
        refuse_if_too_large(folder, precision, device, usual)
        model = load_weights(folder, dtype, int8=precision == "int8")
        return cls(model.to(device), folder.refresh)

    @property
    def config(self) -> ModelConfig:
        """Shape of the model."""
        return self.model.config

    @property
    def info(self) -> dict[str, object]:
        """What runs, for logs and reports."""
        embed = self.model.embed.weight
        return {
            "backend": "torch",
            "device": str(embed.device),
            "precision": str(embed.dtype).removeprefix("torch."),
            "parameters": parameters(self.config),
        }

    def beside(self) -> TorchBackend:
        """The same model for another thread; ValueError for a model whose rows are not in order of their slots."""
        if self.config.in_place or self.config.on_grid:
            raise ValueError("passes of several requests run together only where the canvas follows its context")
        return TorchBackend(self.model, self.refresh, self.joined)

    def new_cache(self, capacity: int) -> ContextCache:
        """An empty context cache for `capacity` tokens."""
        rest = self.model.norm.weight  # matrices may be in int8
        return ContextCache(self.config, capacity, rest.dtype, str(rest.device))

    def encode(self, ids: list[int], cache: ContextCache) -> None:
        """Append context tokens to the cache; where the canvas changes what they are, without a pass."""
        if self.config.in_place:
            cache.ids.extend(ids)
            return
        with torch.no_grad():
            self.joined.encode(ids, cache)

    def denoise(
        self,
        cache: ContextCache,
        canvas: Canvas,
        policy: Policy,
        request: InfillRequest,
        cancelled: Callable[[], bool],
    ) -> Iterator[Draft]:
        """The denoising loop."""
        if self.config.in_place:
            drafts = lengths.decode(self.model, cache, canvas, policy, request, self.usual, self.refresh, cancelled)
            return self._counted(drafts)
        blocks = Blocks(self.model) if self.config.on_grid else None
        return self._counted(
            denoise(
                *(blocks or self.joined, cache, canvas, policy, cancelled),
                *(request.deadline_ms, request.temperature, request.seed, request.stop_below),
                within=blocks.within(cache) if blocks else None,
            )
        )

    def verdict(
        self,
        cache: ContextCache,
        canvas: Canvas,
        policy: Verdict,
        request: InfillRequest,
        cancelled: Callable[[], bool],
    ) -> Iterator[Draft]:
        """Draft and verdict; the cache keeps what was decided."""
        return self._counted(
            verdict.decode(
                *(self.joined, cache, canvas, policy, cancelled),
                *(request.deadline_ms, request.temperature, request.seed, request.stop_below, request.start),
            )
        )

    def _counted(self, drafts: Iterator[Draft]) -> Iterator[Draft]:
        """Pass drafts on and count their forward passes: none runs ahead of its draft."""
        passes = 0
        with self.joined.member():
            for draft in drafts:
                self.forward_passes += draft.forward_passes - passes
                passes = draft.forward_passes
                yield draft


def inference_dtype(device: str) -> torch.dtype:
    """bfloat16 where the hardware multiplies it, else float32."""
    if device != "cpu":
        return torch.bfloat16
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32
