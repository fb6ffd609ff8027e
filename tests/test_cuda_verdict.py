"""The verdict loop of cuda_ext/kernels/commit.cuh, by emulation, against its definition in diffusion/verdict.py."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from cuda_ext.native import DraftSlot, NativeCache, NativeModel, NativeRun
from cuda_ext.rules import BREAK, END, MAX_ROWS, SPECIAL, TOKEN_BY_TOKEN, Verdict
from diffusion.backends.native import NativeBackend, shape_of, verdict_control, with_neighbour_tables
from diffusion.canvas import Canvas
from diffusion.healing import NO_EDGE, Edge
from diffusion.model.config import ModelConfig
from diffusion.model.transformer import ContextCache, Transformer
from diffusion.request import Draft, Hole, InfillRequest, Start
from diffusion.verdict import decode
from diffusion.vocabulary import OURS
from tests.emulated import bf16, needs_compiler
from tests.verdict_cases import random_edge

pytestmark = needs_compiler

VOCAB, CAPACITY = 300, 220
CONFIGS = {
    "ours": ModelConfig(VOCAB, d_model=64, n_layers=1, n_heads=2, n_kv_heads=1, d_ff=64, d_head=64),
    "shifted": ModelConfig(
        *(VOCAB, 64, 1, 3, 1, 64), d_head=64, qkv_bias=True, qk_norm=False, tied=False, extras=False, shift=True
    ),
}
CONTEXT = [40 + i * 7 % 80 for i in range(20)]


def tiny_tokenizer() -> Any:
    """A token is a character, but for the special ones; some break a line."""
    flags = np.zeros(VOCAB, np.uint8)
    flags[:16], flags[1], flags[20::23] = SPECIAL, END, BREAK
    token_bytes = [b"" if i < 16 else chr(i).encode() for i in range(VOCAB)]
    return SimpleNamespace(vocabulary=OURS, flags=flags, token_bytes=token_bytes, encode=lambda text: [*map(ord, text)])


def random_model(config: ModelConfig) -> Transformer:
    """Weights that are bfloat16 numbers and that end a hole now and then."""
    model, generator = Transformer(config), torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        scale = parameter.shape[1] ** -0.5 if parameter.dim() == 2 else 0.3
        centre = 1.0 if name.endswith("norm.weight") else 0.0
        scale *= 4 if name.endswith(("o.weight", "down.weight")) else 1  # else a tied model repeats its last token
        values = centre + (0.1 if centre else scale) * torch.randn(parameter.shape, generator=generator)
        parameter.data = values.bfloat16().float()
    last = model.embed if model.head is None else model.head
    last.weight.data[OURS.end] *= 1.5
    return model.requires_grad_(False)


@pytest.fixture(scope="module", params=CONFIGS)
def pair(emulated: Any, request: pytest.FixtureRequest) -> tuple[Transformer, NativeBackend]:
    """A model in plain torch, and the same in the emulated library."""
    config = CONFIGS[request.param]
    model = random_model(config)
    tensors = {name: bf16(p.numpy()) for name, p in model.named_parameters()}
    given = with_neighbour_tables(tensors, config) if config.extras else tensors
    return model, NativeBackend(config, NativeModel(shape_of(config), given, "bf16", 1, kind="cuda"), {})


class Emulated:
    """What `decode` asks of a model, answered by the library's forward pass: hidden rows are logits already."""

    def __init__(self, backend: NativeBackend) -> None:
        self.config, self.model = backend.config, backend.model

    def run(self, context: list[int], canvas: list[int], cache: Any, decided: int = 0) -> torch.Tensor:
        return torch.from_numpy(self.model.forward(cache.cache, context, canvas, len(cache.ids), decided))

    def encode(self, ids: list[int], cache: Any) -> None:
        self.model.encode(cache.cache, ids, len(cache.ids))
        cache.ids.extend(ids)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden


def random_canvas(rng: random.Random) -> Canvas:
    """One hole, or two around fixed text, or fixed text first, sometimes with a partial token at an edge."""
    holes = [Hole(rng.choice((1, 3, 9)), rng.random() < 0.5) for _ in range(2)]
    middle = rng.choice([(holes[0],), (holes[0], "ab", holes[1]), ("abc", holes[0]), (holes[0], holes[1])])
    left, right = (
        Edge("", np.random.default_rng(rng.randrange(99)).random(VOCAB) < 0.5) if rng.random() < 0.3 else NO_EDGE
        for _ in range(2)
    )
    if rng.random() < 0.3:
        left = random_edge(rng.randrange(99), VOCAB)
    return Canvas.blank(tiny_tokenizer(), middle, left, right)


def random_start(rng: random.Random, right: str) -> Start | None:
    """A draft to begin with: none, half right, wrong, or right."""
    text = rng.choice(("", right[: len(right) // 2] + "zz", "wrong", right))
    return Start(((text, 0.5),), closed=rng.random() < 0.5) if text else None


def same(mine: list[Draft], theirs: list[Draft]) -> None:
    """The same drafts, probabilities apart, which are near."""
    for a, b in zip(mine, theirs, strict=True):
        bare = [replace(draft, confidence=0.0, tokens=()) for draft in (a, b)]
        assert bare[0] == bare[1]
        assert [token[:2] for token in a.tokens] == [token[:2] for token in b.tokens]
        assert [token[2] for token in a.tokens] == pytest.approx([token[2] for token in b.tokens], rel=0.05, abs=2e-3)


def drafts_of(backend: NativeBackend, canvas: Canvas, policy: Verdict, request: InfillRequest) -> Iterator[Draft]:
    cache = backend.new_cache(CAPACITY)
    backend.encode(CONTEXT, cache)
    return backend.verdict(cache, canvas, policy, request, lambda: False)


def test_decides_and_drafts_as_the_torch_loop_does_with_the_same_forward_pass(
    pair: tuple[Transformer, NativeBackend],
) -> None:
    _, backend = pair
    fewer, right = 0, ""
    for number in range(8):
        rng = random.Random(number)
        policy = Verdict(rng.choice((0.0, 0.01)), rng.choice((0, 2, 8)), rng.choice((0, 5, 16)))
        start, temperature, seed = random_start(rng, right), rng.choice((0.0, 1.0)), rng.randrange(1000)
        request = InfillRequest("", "", start=start, temperature=temperature, seed=seed)
        caches, found = [backend.new_cache(CAPACITY) for _ in range(2)], []
        for cache in caches:
            backend.encode(CONTEXT, cache)
            state, canvas = rng.getstate(), random_canvas(rng)
            if cache is caches[0]:
                rng.setstate(state)
                found.append(list(backend.verdict(cache, canvas, policy, request, lambda: False)))
                continue
            settings: dict[str, Any] = {"temperature": temperature, "seed": seed, "start": start}
            stand_in: Any = Emulated(backend)
            found.append(list(decode(stand_in, cast(Any, cache), canvas, policy, lambda: False, **settings)))
        same(*found)
        assert caches[0].ids == caches[1].ids
        one, other = (backend.model.forward(cache.cache, [], [0] * 5, len(cache.ids)) for cache in caches)
        np.testing.assert_allclose(one, other, rtol=0.02, atol=0.02)
        right = found[0][-1].text
        fewer += sum(canvas.masked) == 0 and len(found[0]) < len(right)
    assert fewer > 0  # drafts were accepted


def decided(draft: Draft) -> tuple[int, str, str]:
    """What a draft says but for its guesses, where bfloat16 may prefer another of two tokens that are as likely."""
    sure = [draft.text[start:stop] for start, stop, p in draft.tokens if p > 0]
    return draft.step, "".join(sure), draft.reason


def test_is_the_loop_of_plain_torch(pair: tuple[Transformer, NativeBackend]) -> None:
    model, backend = pair
    for policy in (TOKEN_BY_TOKEN, Verdict(0.0, 4, 8)):
        canvas = [
            Canvas.blank(tiny_tokenizer(), (Hole(6, True), "xy", Hole(3, True)), NO_EDGE, NO_EDGE) for _ in range(2)
        ]
        cache = ContextCache(model.config, CAPACITY, torch.float32)
        model.encode(CONTEXT, cache)
        theirs = list(decode(model, cache, canvas[0], policy, lambda: False))
        mine = list(drafts_of(backend, canvas[1], policy, InfillRequest("", "")))
        assert [decided(draft) for draft in mine] == [decided(draft) for draft in theirs]
        assert len(theirs) > 5 and not theirs[-1].masked


def endless(canvas: Canvas) -> np.ndarray:
    """Its flags without a token that ends a hole, so that a run takes many passes."""
    return np.where(canvas.flags == END, SPECIAL, 0).astype(np.uint8)


def control_for(canvas: Canvas, policy: Verdict, request: InfillRequest | None = None) -> Any:
    return verdict_control(canvas, policy, request or InfillRequest("", ""), CONTEXT)


def test_every_way_of_looping_gives_the_same_drafts(
    pair: tuple[Transformer, NativeBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, backend = pair
    canvas, found = Canvas.blank(tiny_tokenizer(), (Hole(7),), NO_EDGE, NO_EDGE), []
    control = control_for(canvas, Verdict(0.0, 4, 4))
    for loop in ("while", "replay", "step"):
        monkeypatch.setenv("MEZZOTINT_CUDA_LOOP", loop)
        cache = backend.new_cache(CAPACITY)
        backend.encode(CONTEXT, cache)
        with NativeRun(backend.model, cache.cache, 20, control, endless(canvas)) as run:
            found.append([bytes(draft) for draft in run])
            assert run.close() == len(found[-1]) > 1
    assert found[0] == found[1] == found[2]


def test_fixed_text_that_fills_a_pass_goes_ahead_of_it(pair: tuple[Transformer, NativeBackend]) -> None:
    model, backend = pair
    start, policy = Start((("abcdefgh", 0.9),)), Verdict(0.0, 8, 16)
    canvases = [Canvas.blank(tiny_tokenizer(), ("x" * 112, Hole(16)), NO_EDGE, NO_EDGE) for _ in range(2)]
    assert len(canvases[0].ids) == MAX_ROWS
    cache = ContextCache(model.config, CAPACITY, torch.float32)
    model.encode(CONTEXT, cache)
    theirs = [next(iterated) for iterated in [decode(model, cache, canvases[0], policy, lambda: False, start=start)]]
    mine = next(drafts_of(backend, canvases[1], policy, InfillRequest("", "", start=start)))
    assert mine.forward_passes == theirs[0].forward_passes == 2  # one of them only filled the cache
    same([mine], theirs)


def test_a_deadline_ends_it_with_what_is_decided(emulated: Any, pair: tuple[Transformer, NativeBackend]) -> None:
    _, backend = pair
    canvas = Canvas.blank(tiny_tokenizer(), (Hole(9),), NO_EDGE, NO_EDGE)
    cache = backend.new_cache(CAPACITY)
    backend.encode(CONTEXT, cache)
    control = control_for(canvas, TOKEN_BY_TOKEN, InfillRequest("", "", seed=5, temperature=1.0))
    found: list[list[DraftSlot]] = []
    emulated.emu_tick_us(ctypes.c_int64(4_000_000))
    try:
        for control.deadline_us in (0, 10_000_000):
            with NativeRun(backend.model, cache.cache, 20, control, endless(canvas)) as run:
                found.append(list(run))
    finally:
        emulated.emu_tick_us(ctypes.c_int64(0))
    (at_once,), (first, second, last) = found
    assert (at_once.step, at_once.done, at_once.late, at_once.cached) == (0, 1, 1, 20)
    assert (first.done, second.done, second.late) == (0, 0, 0)
    assert (last.step, last.done, last.late) == (2, 1, 1)
    assert list(last.ids) == list(second.ids) and list(last.guess) == list(second.guess)


def test_a_cancelled_run_ends(pair: tuple[Transformer, NativeBackend], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEZZOTINT_CUDA_LOOP", "step")
    _, backend = pair
    canvas = Canvas.blank(tiny_tokenizer(), (Hole(12),), NO_EDGE, NO_EDGE)
    cache = NativeCache(backend.model, 64)
    backend.model.encode(cache, CONTEXT, 0)
    with NativeRun(backend.model, cache, 20, control_for(canvas, TOKEN_BY_TOKEN), endless(canvas)) as run:
        assert run.next(1_000_000) is not None
        run.cancel()
        assert len(list(run)) <= 1 and run.ended
        assert run.steps <= 2
