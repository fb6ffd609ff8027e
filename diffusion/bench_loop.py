"""`mezzotint bench loop`: what a denoising step and a completion cost on every backend, against what the machine can.

Rule: every backend runs the same canvas through the same interface, in turns in one process; medians. A completion is
N_STEPS denoising steps over a canvas of masks, or one token at a time to the end of the canvas. Weights other than the
default model's are random: speed does not depend on them. The last line of stdout is one JSON list.

    mezzotint bench loop --shapes default --canvas 32 --context 1024
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cuda_ext.rules import END, SPECIAL, Policy
from diffusion.canvas import Canvas
from diffusion.engine import CANVAS_ROWS, Backend
from diffusion.evaluate.report import aligned
from diffusion.healing import NO_EDGE
from diffusion.model.config import ModelConfig
from diffusion.request import Draft, Hole, InfillRequest
from diffusion.vocabulary import OUR_SPECIAL_TOKENS, OURS

N_STEPS = 8
SETTLE_S = 0.25  # threads of the backend that ran before spin for a while before they sleep
POLICY = Policy(threshold=2.0, max_steps=N_STEPS, revise_below=0.0, max_revisions=0)  # nothing is ever sure
SHAPES = {
    "default": ModelConfig(),
    "0.5B": ModelConfig(151_936, 896, 24, 14, 2, 4864, 1e6),
    "7B": ModelConfig(152_064, 3584, 28, 28, 4, 18_944, 1e6),
}


@dataclass(frozen=True)
class Row:
    """One line of the table. `ms_per_completion` is N_STEPS steps, or as many tokens as the canvas has rows."""

    shape: str
    backend: str
    canvas: int
    context: int
    ms_per_step: float
    ms_per_completion: float
    floor_ms: float | None
    ratio_to_floor: float | None


class AnyTokens:
    """As much of a tokenizer as a canvas needs, for any vocabulary: token i reads as the byte i."""

    vocabulary = OURS

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.token_bytes = [b"" if i < len(OUR_SPECIAL_TOKENS) else bytes([97 + i % 26]) for i in range(vocab_size)]
        self.flags = np.zeros(vocab_size, dtype=np.uint8)
        self.flags[: len(OUR_SPECIAL_TOKENS)] = SPECIAL
        self.flags[1] = END


any_tokens = functools.cache(AnyTokens)


def never() -> bool:
    """Nobody cancels a benchmark."""
    return False


def random_bf16(config: ModelConfig, tables: bool, seed: int = 0) -> Iterator[tuple[str, np.ndarray]]:
    """(name, bfloat16 words) of every tensor of a model of this shape, one at a time.

    With `tables`, what neighbours add is looked up, as the native library wants it, instead of multiplied.
    """
    rng = np.random.default_rng(seed)
    d, f, kv = config.d_model, config.d_ff, config.n_kv_heads * config.d_head
    matrices = {"qkv": (d + 2 * kv, d), "o": (d, d), "gate_up": (2 * f, d), "down": (d, f)}
    gains = {"attn_norm": d, "mlp_norm": d, "q_norm": config.d_head, "k_norm": config.d_head}

    def normal(rows: int, columns: int, std: float) -> np.ndarray:
        words = np.empty(rows * columns, dtype=np.uint16)
        block = (rng.standard_normal(1 << 16, dtype=np.float32) * std).view(np.uint32) >> 16
        for start in range(0, len(words), len(block)):  # one block over and over: quick, and as good for timing
            words[start : start + len(block)] = block[: len(words) - start]
        return words

    one = np.uint16(0x3F80)
    yield "embed.weight", normal(config.vocab_size, d, 0.05)
    for side in ("left", "right"):
        yield (side, normal(config.vocab_size + 1, d, 0.5)) if tables else (f"{side}.weight", normal(d, d, d**-0.5))
    yield "canvas_embed", normal(1, d, 0.5)
    for name in ("embed_norm.weight", "norm.weight"):
        yield name, np.full(d, one)
    for layer in range(config.n_layers):
        for name, (rows, columns) in matrices.items():
            yield f"blocks.{layer}.{name}.weight", normal(rows, columns, columns**-0.5)
        for name, size in gains.items():
            yield f"blocks.{layer}.{name}.weight", np.full(size, one)


def blank(config: ModelConfig, rows: int) -> Canvas:
    """A canvas of masks, one hole."""
    tokens: Any = any_tokens(config.vocab_size)
    return Canvas.blank(tokens, (Hole(rows, multiline=True),), NO_EDGE, NO_EDGE)


def timed(drafts: Callable[[], Iterator[Draft]]) -> tuple[float, float]:
    """(ms per forward pass, ms) of one run."""
    began, passes = time.perf_counter(), 0
    for draft in drafts():
        passes = draft.forward_passes
    ms = (time.perf_counter() - began) * 1000
    return ms / passes, ms


@dataclass(frozen=True)
class Machine:
    """Rates measured in this process, operations and bytes per second."""

    int8: float
    bf16: float
    bandwidth: float


def measure_machine(threads: int) -> Machine | None:
    """What the native library's own tiles reach on data in L1; None without the library."""
    from cuda_ext import native

    library = native.load("cpu")
    if library is None:
        return None
    raw = library.raw
    return Machine(
        raw.mz_measure_int8_rate(threads), raw.mz_measure_bf16_rate(threads), raw.mz_measure_bandwidth(threads, 1 << 26)
    )


def floor_ms(config: ModelConfig, canvas: int, context: int, precision: str, machine: Machine | None) -> float | None:
    """Least time of a mean step: products and attention at the measured rates, or the weights at the bandwidth.

    Rows are revealed evenly over the steps, so the mean step needs the logits of a little over half of them.
    """
    if machine is None:
        return None
    d, kv = config.d_model, config.n_kv_heads * config.d_head
    body = config.n_layers * (d * (d + 2 * kv) + d * d + 3 * d * config.d_ff)
    head = d * config.vocab_size
    masked = canvas * (N_STEPS + 1) / (2 * N_STEPS)
    products = 2.0 * (canvas * body + masked * head)
    attention = 4.0 * config.n_layers * d * canvas * (context + canvas)
    rate = machine.int8 if precision == "int8" else machine.bf16
    n_bytes = (body + head) * (1 if precision == "int8" else 2)
    return 1000 * max(products / rate + attention / machine.bf16, n_bytes / machine.bandwidth)


def native_backend(config: ModelConfig, precision: str, threads: int) -> Backend:
    """Random weights of a shape in native memory."""
    from cuda_ext import native
    from diffusion.native_backend import NativeBackend, shape_of

    model = native.NativeModel(shape_of(config), random_bf16(config, tables=True), precision, threads)
    return NativeBackend(config, model, {})


def torch_backend(config: ModelConfig, threads: int, compiled: bool) -> Backend:
    """The same in torch, bfloat16."""
    import torch

    from diffusion.model.transformer import Transformer
    from diffusion.torch_backend import TorchBackend, inference_dtype

    torch.set_num_threads(threads)
    with torch.device("meta"):
        model = Transformer(config)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    tensors = {
        name: torch.from_numpy(words).view(torch.bfloat16).view(shapes[name]).to(inference_dtype("cpu"))
        for name, words in random_bf16(config, tables=False)
    }
    model.load_state_dict(tensors, assign=True)
    model.requires_grad_(False).eval()
    if compiled:
        model.forward = torch.compile(model.forward)  # type: ignore[method-assign]
    return TorchBackend(model)


def decoders(
    backend: Backend, config: ModelConfig, canvas: int, context: int
) -> dict[str, Callable[[], Iterator[Draft]]]:
    """Both ways to fill the canvas behind an encoded context."""
    cache = backend.new_cache(context + CANVAS_ROWS)
    ids = np.random.default_rng(1).integers(len(OUR_SPECIAL_TOKENS), config.vocab_size, context).tolist()
    for start in range(0, context, 128):
        backend.encode(ids[start : start + 128], cache)
    request = InfillRequest("", "")
    return {
        "diffusion": lambda: backend.denoise(cache, blank(config, canvas), POLICY, request, never),
        "autoregressive": lambda: backend.autoregress(cache, blank(config, canvas), never),
    }


BACKENDS: dict[str, tuple[str, Callable[[ModelConfig, int], Backend]]] = {  # name: (precision, how to make it)
    "torch eager bf16": ("bf16", lambda config, threads: torch_backend(config, threads, compiled=False)),
    "torch.compile bf16": ("bf16", lambda config, threads: torch_backend(config, threads, compiled=True)),
    "native bf16": ("bf16", lambda config, threads: native_backend(config, "bf16", threads)),
    "native int8": ("int8", lambda config, threads: native_backend(config, "int8", threads)),
}


def measure(
    shape: str, canvas: int, context: int, names: list[str], repeats: int, threads: int, machine: Machine | None
) -> list[Row]:
    """Rows of one shape, canvas and context: all backends in turns, the first run of every turn not counted."""
    config = SHAPES[shape]
    ways = {
        (name, way): run
        for name in names
        for way, run in decoders(BACKENDS[name][1](config, threads), config, canvas, context).items()
    }
    runs: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in ways}
    label = f"{shape}, canvas {canvas}, context {context}"
    for number, (key, run) in itertools.product(range(repeats), ways.items()):
        print(f"\r{label}: {number}/{repeats}   ", end="", file=sys.stderr, flush=True)
        time.sleep(SETTLE_S)
        timed(run)  # caches are warm again
        runs[key].append(timed(run))
    rows = []
    for (name, way), results in runs.items():
        per_step, whole = (round(statistics.median(column), 3) for column in zip(*results, strict=True))
        floor = floor_ms(config, canvas, context, BACKENDS[name][0], machine) if way == "diffusion" else None
        label = name if way == "diffusion" else f"{name}, autoregressive"
        ratio = round(per_step / floor, 2) if floor else None
        rows.append(Row(shape, label, canvas, context, per_step, whole, round(floor, 3) if floor else None, ratio))
    return rows


def main(argv: list[str] | None = None) -> int:
    """Print the table and the JSON line; 2 and one line on stderr if something is missing."""
    about = "Time denoising steps and completions on every backend, against what this machine allows."
    parser = argparse.ArgumentParser(prog="mezzotint bench loop", description=about)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["default"], help="model shapes (default)")
    parser.add_argument("--canvas", nargs="+", type=int, default=[32, 64], metavar="ROWS", help="(32 64)")
    parser.add_argument("--context", nargs="+", type=int, default=[1024, 4096], metavar="TOKENS", help="(1024 4096)")
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, help="default: all that were built")
    parser.add_argument("--repeats", type=int, default=15, metavar="N", help="runs of each (default %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=0, metavar="N", help="CPU threads (default: as the engine chooses)"
    )
    args = parser.parse_args(argv)
    from cuda_ext import native
    from diffusion.native_backend import default_threads

    missing = native.why_not("cpu")
    if missing:
        print(f"native backends are left out: {missing}", file=sys.stderr)
    names = args.backends or [name for name in BACKENDS if not (missing and name.startswith("native"))]
    threads = args.threads or default_threads()
    machine = measure_machine(threads)
    rows = []
    for shape, canvas, context in itertools.product(args.shapes, args.canvas, args.context):
        rows += measure(shape, canvas, context, names, args.repeats, threads, machine)
    print(file=sys.stderr)
    if machine:
        print(f"measured: int8 {machine.int8 / 1e9:.0f} GOP/s, bf16 {machine.bf16 / 1e9:.0f} GFLOP/s,", end=" ")
        print(f"reading {machine.bandwidth / 1e9:.0f} GB/s, {threads} threads\n")
    titles = ("shape", "backend", "canvas", "context", "ms/step", "ms/completion", "floor ms", "ratio")
    cells = [["-" if cell is None else str(cell) for cell in asdict(row).values()] for row in rows]
    print(aligned([list(titles), *cells]))
    print(json.dumps([asdict(row) for row in rows]))
    return 0
