"""`mezzotint bench loop`: what a forward pass and a completion cost on every backend, against what the machine can.

Rule: every backend runs the same canvas through the same interface, in turns in one process; medians. Ways: N_STEPS
threshold steps over a canvas of masks; one verdict pass, the canvas behind 8 judged rows; token by token to the end of
the canvas; encoding the context from nothing. Weights other than the default model's are random: speed does not depend
on them. The last line of stdout is one JSON list.

    mezzotint bench loop --shapes smollm2-135m --canvas 16 --context 1024
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
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from cuda_ext.rules import END, SPECIAL, TOKEN_BY_TOKEN, Policy, Verdict
from diffusion.canvas import Canvas
from diffusion.engine import CANVAS_ROWS, ENCODE_ROWS, Backend
from diffusion.evaluate.report import aligned
from diffusion.healing import NO_EDGE
from diffusion.model.config import ModelConfig
from diffusion.request import Draft, Hole, InfillRequest, Start
from diffusion.vocabulary import OUR_SPECIAL_TOKENS, OURS

N_STEPS = 8
VERDICT_ROWS = 8  # the last decided token and the judged ones
SETTLE_S = 0.25  # threads of the backend that ran before spin for a while before they sleep
POLICY = Policy(threshold=2.0, max_steps=N_STEPS, revise_below=0.0, max_revisions=0)  # nothing is ever sure
ONE_PASS = InfillRequest("", "", start=Start((("x" * VERDICT_ROWS, 1.0),)), stop_below=2.0)  # no chance is above 1
LLAMA = functools.partial(ModelConfig, extras=False, qk_norm=False)
SHAPES = {
    "default": ModelConfig(),
    "smollm2-135m": LLAMA(49_152, 576, 30, 9, 3, 1536, 1e4, 1024, norm_eps=1e-5),
    "qwen2.5-0.5b": LLAMA(151_936, 896, 24, 14, 2, 4864, 1e6, 1024, qkv_bias=True),
    "qwen2.5-7b": LLAMA(152_064, 3584, 28, 28, 4, 18_944, 1e6, 1024, qkv_bias=True, tied=False),
}


@dataclass(frozen=True)
class Row:
    """One line of the table. `ms`: of the whole way; `floor_ms`: of a mean pass, what the machine needs at least."""

    shape: str
    backend: str
    way: str
    context: int
    ms_per_pass: float
    ms: float
    floor_ms: float | None
    ratio_to_floor: float | None


@dataclass(frozen=True)
class Way:
    """Something to time: `run` returns its forward passes; a mean one has so many rows and looks at so many logits."""

    run: Callable[[], int]
    rows: float
    head_rows: float
    keys: float  # that a row sees


class AnyTokens:
    """As much of a tokenizer as a canvas needs, for any vocabulary: tokens read as single letters."""

    vocabulary = OURS

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.token_bytes = [b"" if i < len(OUR_SPECIAL_TOKENS) else bytes([97 + i % 26]) for i in range(vocab_size)]
        self.flags = np.zeros(vocab_size, dtype=np.uint8)
        self.flags[: len(OUR_SPECIAL_TOKENS)] = SPECIAL
        self.flags[1] = END

    def encode(self, text: str) -> list[int]:
        """A token per character."""
        return [len(OUR_SPECIAL_TOKENS) + ord(character) % 26 for character in text]


any_tokens = functools.cache(AnyTokens)


def never() -> bool:
    """Nobody cancels a benchmark."""
    return False


def random_words(sizes: dict[str, tuple[int, ...]], seed: int = 0) -> Iterator[tuple[str, np.ndarray]]:
    """(name, bfloat16 words) of tensors of these sizes, one at a time."""
    block = np.random.default_rng(seed).standard_normal(1 << 16, dtype=np.float32)
    for name, size in sizes.items():
        std = 0.05 if name == "embed.weight" else size[-1] ** -0.5
        values = np.ones(1, np.float32) if "norm" in name else block * np.float32(std)
        words = (values.view(np.uint32) >> 16).astype(np.uint16)  # over and over: quick, and as good for timing
        yield name, np.resize(words, size)


def blank(config: ModelConfig, rows: int) -> Canvas:
    """A canvas of masks, one hole."""
    tokens: Any = any_tokens(config.vocab_size)
    return Canvas.blank(tokens, (Hole(rows, multiline=True),), NO_EDGE, NO_EDGE)


def timed(run: Callable[[], int]) -> tuple[float, float]:
    """(ms per forward pass, ms) of one run."""
    began = time.perf_counter()
    passes = run()
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


def floor_ms(config: ModelConfig, way: Way, precision: str, machine: Machine | None) -> float | None:
    """Least time of a mean pass: products and attention at the measured rates, or the weights at the bandwidth.

    The CPU attends in 16-bit integers, at half the rate of int8 at best; where bfloat16 is faster, that rate counts.
    """
    if machine is None:
        return None
    d, q, kv = config.d_model, config.n_heads * config.d_head, config.n_kv_heads * config.d_head
    body = config.n_layers * (d * (q + 2 * kv) + q * d + 3 * d * config.d_ff)
    head = d * config.vocab_size if way.head_rows else 0
    products = 2.0 * (way.rows * body + way.head_rows * head)
    attention = 4.0 * config.n_layers * q * way.rows * way.keys
    rate = machine.int8 if precision == "int8" else machine.bf16
    n_bytes = (body + head) * (1 if precision == "int8" else 2)
    return 1000 * max(products / rate + attention / max(machine.bf16, machine.int8 / 2), n_bytes / machine.bandwidth)


def native_backend(config: ModelConfig, precision: str, threads: int) -> Backend:
    """Random weights of a shape in native memory."""
    from cuda_ext import native
    from diffusion.backends.native import NativeBackend, shape_of

    shape = shape_of(config)
    model = native.NativeModel(shape, random_words(native.tensor_sizes(shape)), precision, threads)
    return NativeBackend(config, model, {})


def torch_backend(config: ModelConfig, threads: int, compiled: bool) -> Backend:
    """The same in torch, bfloat16."""
    import torch

    from diffusion.backends.torch import TorchBackend, inference_dtype
    from diffusion.model.transformer import Transformer

    torch.set_num_threads(threads)
    with torch.device("meta"):
        model = Transformer(config)
    sizes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    tensors = {
        name: torch.from_numpy(words).view(torch.bfloat16).to(inference_dtype("cpu"))
        for name, words in random_words(sizes)
    }
    model.load_state_dict(tensors, assign=True)
    model.requires_grad_(False).eval()
    if compiled:
        model.forward = torch.compile(model.forward)  # type: ignore[method-assign]
    return TorchBackend(model)


def encoded(backend: Backend, ids: list[int], cache: Any) -> int:
    """Encode a context in the engine's pieces; how many these are."""
    pieces = range(0, len(ids), ENCODE_ROWS)
    for start in pieces:
        backend.encode(ids[start : start + ENCODE_ROWS], cache)
    return len(pieces)


def ways(backend: Backend, config: ModelConfig, canvas: int, context: int) -> dict[str, Way]:
    """All that is timed of one backend, behind an encoded context."""
    cache, cold = (backend.new_cache(context + CANVAS_ROWS) for _ in range(2))
    ids = np.random.default_rng(1).integers(len(OUR_SPECIAL_TOKENS), config.vocab_size, context).tolist()
    encoded(backend, ids, cache)
    verdict = Verdict(judge_rows=VERDICT_ROWS - 1, canvas_rows=canvas)

    def last(drafts: Iterator[Draft]) -> int:
        passes = [draft.forward_passes for draft in drafts][-1]
        cache.keep(context)
        return passes

    def judged(policy: Verdict, request: InfillRequest) -> int:
        return last(backend.verdict(cache, blank(config, canvas), policy, request, never))

    def from_nothing() -> int:
        cold.keep(0)
        return encoded(backend, ids, cold)

    def threshold() -> int:
        return last(backend.denoise(cache, blank(config, canvas), POLICY, InfillRequest("", ""), never))

    rows, masked = canvas + VERDICT_ROWS, canvas * (N_STEPS + 1) / (2 * N_STEPS)  # revealed evenly over the steps
    piece = min(ENCODE_ROWS, context)
    return {
        f"threshold {canvas}": Way(threshold, canvas, masked, context + canvas),
        f"verdict {canvas}+{VERDICT_ROWS}": Way(lambda: judged(verdict, ONE_PASS), rows, rows, context + canvas),
        "token by token": Way(lambda: judged(TOKEN_BY_TOKEN, replace(ONE_PASS, stop_below=0)), 1, 1, context),
        "cold context": Way(from_nothing, piece, 0, context / 2),
    }


BACKENDS: dict[str, tuple[str, Callable[[ModelConfig, int], Backend]]] = {  # name: (precision, how to make it)
    "torch eager bf16": ("bf16", lambda config, threads: torch_backend(config, threads, compiled=False)),
    "torch.compile bf16": ("bf16", lambda config, threads: torch_backend(config, threads, compiled=True)),
    "native bf16": ("bf16", lambda config, threads: native_backend(config, "bf16", threads)),
    "native int8": ("int8", lambda config, threads: native_backend(config, "int8", threads)),
}


def measure(
    shape: str, canvas: int, context: int, backends: dict[str, Backend], repeats: int, machine: Machine | None
) -> list[Row]:
    """Rows of one shape, canvas and context: all backends in turns, the first run of every turn not counted."""
    config = SHAPES[shape]
    every = {
        (name, what): way
        for name, backend in backends.items()
        for what, way in ways(backend, config, canvas, context).items()
    }
    runs: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in every}
    label = f"{shape}, canvas {canvas}, context {context}"
    for number, (key, way) in itertools.product(range(repeats), every.items()):
        print(f"\r{label}: {number}/{repeats}   ", end="", file=sys.stderr, flush=True)
        time.sleep(SETTLE_S)
        timed(way.run)  # caches are warm again
        runs[key].append(timed(way.run))
    rows = []
    for (name, what), results in runs.items():
        per_pass, whole = (round(statistics.median(column), 3) for column in zip(*results, strict=True))
        floor = floor_ms(config, every[name, what], BACKENDS[name][0], machine)
        ratio = round(per_pass / floor, 2) if floor else None
        rows.append(Row(shape, name, what, context, per_pass, whole, round(floor, 3) if floor else None, ratio))
    return rows


def main(argv: list[str] | None = None) -> int:
    """Print the table and the JSON line; 2 and one line on stderr if something is missing."""
    about = "Time forward passes and completions on every backend, against what this machine allows."
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
    from diffusion.backends.native import default_threads

    missing = native.why_not("cpu")
    if missing:
        print(f"native backends are left out: {missing}", file=sys.stderr)
    names = args.backends or [name for name in BACKENDS if not (missing and name.startswith("native"))]
    threads = args.threads or default_threads()
    machine = measure_machine(threads)
    rows = []
    for shape in args.shapes:
        backends = {name: BACKENDS[name][1](SHAPES[shape], threads) for name in names}
        for canvas, context in itertools.product(args.canvas, args.context):
            rows += measure(shape, canvas, context, backends, args.repeats, machine)
    print(file=sys.stderr)
    if machine:
        print(f"measured: int8 {machine.int8 / 1e9:.0f} GOP/s, bf16 {machine.bf16 / 1e9:.0f} GFLOP/s,", end=" ")
        print(f"reading {machine.bandwidth / 1e9:.0f} GB/s, {threads} threads\n")
    titles = ("shape", "backend", "way", "context", "ms/pass", "ms", "floor ms", "ratio")
    cells = [["-" if cell is None else str(cell) for cell in asdict(row).values()] for row in rows]
    print(aligned([list(titles), *cells]))
    print(json.dumps([asdict(row) for row in rows]))
    return 0
