"""Passes of several requests as one, in torch and in native code: each has the numbers that it has alone."""

from __future__ import annotations

import dataclasses
import gc
import random
import threading
import weakref

import numpy as np
import pytest
import torch

from cuda_ext import native
from cuda_ext.rules import Verdict
from diffusion.backends import together
from diffusion.backends.joined import Joined
from diffusion.backends.torch import TorchBackend
from diffusion.engine import Engine
from diffusion.model.config import ModelConfig
from diffusion.model.load import load_model
from diffusion.model.transformer import ContextCache, Pass, Transformer
from diffusion.request import Hole, InfillRequest
from diffusion.verdict import decode
from tests.models import SMALL
from tests.native_shapes import SHAPES, random_tensors
from tests.test_together import in_threads
from tests.verdict_cases import CAPACITY, EXTRAS, PLAIN, TEXT, Case, tiny

needs_native = pytest.mark.skipif(native.load("cpu") is None, reason=native.why_not("cpu"))
BLOCKS = dataclasses.replace(PLAIN, context_sees=1, canvas_sees=4)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes that can meet do, however slow the machine is."""
    monkeypatch.setattr(together, "GATHER_S", 60.0)


def a_pass(config: ModelConfig, number: int) -> Pass:
    """Rows behind a context of their own."""
    rng = random.Random(number)
    cache = ContextCache(config, CAPACITY, torch.float32)
    tiny(config).encode([rng.randrange(20, 500) for _ in range(rng.randrange(1, 90))], cache)
    context = [rng.randrange(20, 500) for _ in range(rng.choice((0, 1, 7)))]
    canvas = [rng.randrange(20, 500) for _ in range(rng.choice((0, 3, 16)) or int(not context))]
    return Pass(context, canvas, cache, rng.randrange(len(context) + 1))


@pytest.mark.parametrize("config", [PLAIN, EXTRAS, BLOCKS], ids=["shifted", "with extras", "canvas in blocks"])
def test_the_logits_of_passes_that_run_as_one_are_those_of_each_alone(config: ModelConfig) -> None:
    model, passes = tiny(config), [a_pass(config, number) for number in range(12)]
    alone = [model.logits(model.run_all([one])[0]) for one in passes]
    kept = [one.cache.k[:, :, :, : one.stop].clone() for one in passes]
    for one in passes:
        one.cache.k[:, :, :, one.start :] = torch.nan
    for found, expected in zip(model.run_all(passes), alone, strict=True):
        assert torch.allclose(model.logits(found), expected, atol=1e-4)
    for one, keys in zip(passes, kept, strict=True):
        assert torch.allclose(one.cache.k[:, :, :, : one.stop], keys, atol=1e-4)


def test_loops_of_several_threads_say_what_each_says_alone_in_fewer_passes(
    patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [Case.of(number) for number in range(4)]
    joined, here = Joined(tiny(PLAIN)), threading.Barrier(len(cases))
    runs: list[int] = []
    run_all = Transformer.run_all

    def counted(model: Transformer, passes: list[Pass]) -> list[torch.Tensor]:
        runs.append(len(passes))
        return run_all(model, passes)

    def said(case: Case, model: Joined) -> list[tuple[str, int]]:
        cache = ContextCache(PLAIN, CAPACITY, torch.float32)
        tiny(PLAIN).encode(list(case.ids), cache)
        drafts = decode(model, cache, case.canvas(), Verdict(), lambda: False, None, case.temperature, case.seed)
        return [(draft.text, draft.forward_passes) for draft in drafts]

    def beside(number: int) -> list[tuple[str, int]]:
        with joined.member():
            here.wait(60)
            return said(cases[number], joined)

    alone = [said(case, Joined(tiny(PLAIN))) for case in cases]
    monkeypatch.setattr(Transformer, "run_all", counted)
    assert in_threads(beside, len(cases)) == alone
    assert sum(runs) == sum(drafts[-1][1] for drafts in alone) + len(cases), "each context is encoded alone"
    assert len(runs) < sum(runs) and max(runs) == len(cases)


def requests(n: int) -> list[InfillRequest]:
    """In the middle of a real file, at several places."""
    places = random.Random(1).sample(range(300, len(TEXT) - 300), n)
    return [InfillRequest(TEXT[:at], TEXT[at + 20 :], (Hole(16),)) for at in places]


def in_float32() -> Engine:
    model, tokenizer = load_model(SMALL, torch.float32)
    torch.set_num_threads(1)
    engine = Engine.load(SMALL, backend="torch")
    return Engine(TorchBackend(model), tokenizer, engine.policy, engine.info)


@pytest.mark.parametrize("backend", ["torch", pytest.param("native", marks=needs_native)])
def test_engines_beside_one_another_give_the_texts_that_one_alone_gives(backend: str) -> None:
    asked = requests(12)
    engine = in_float32() if backend == "torch" else Engine.load(SMALL, backend=backend, threads=1)
    alone = [list(engine.infill(request, lambda: False))[-1].text for request in asked]
    engines = [engine, engine.beside(), engine.beside(), engine.beside()]
    passes = engine.forward_passes

    def answers(number: int) -> list[str]:
        mine = asked[number::4]
        return [list(engines[number].infill(request, lambda: False))[-1].text for request in mine]

    found = in_threads(answers, 4)
    assert [found[n % 4][n // 4] for n in range(12)] == alone
    assert engine.forward_passes > passes and all(one.forward_passes for one in engines[1:])


@needs_native
@pytest.mark.parametrize("precision", ["int8", "bf16"])
@pytest.mark.parametrize("shape", ["ours", "llama", "blocks of 4, shifted", "all at once"])
def test_native_passes_of_several_threads_are_those_of_each_alone_bit_for_bit(shape: str, precision: str) -> None:
    """Whoever comes while a pass runs waits for the next one, so that of twenty rounds most meet."""
    model = native.NativeModel(SHAPES[shape], random_tensors(SHAPES[shape]), precision, 2)
    ids = np.random.default_rng(3).integers(0, SHAPES[shape].vocab_size, 200)
    sizes = ((16, 1, 8, 1), (33, 9, 16, 4), (64, 5, 0, 0), (8, 0, 24, 0), (120, 3, 70, 2), (48, 0, 1, 0))
    caches = [native.NativeCache(model, 320) for _ in sizes]

    def logits(number: int, offset: int) -> np.ndarray:
        n_cached, n_context, n_canvas, decided = sizes[number]
        model.encode(caches[number], ids[offset : offset + n_cached], 0)
        rows = ids[offset + 10 : offset + 10 + n_context], ids[offset + 5 : offset + 5 + n_canvas]
        return model.forward(caches[number], *rows, n_cached, decided)

    rounds = range(20)
    alone = [[logits(number, offset) for offset in rounds] for number in range(len(sizes))]
    found = in_threads(lambda number: [logits(number, offset) for offset in rounds], len(sizes))
    for number in range(len(sizes)):
        for one, expected in zip(found[number], alone[number], strict=True):
            np.testing.assert_array_equal(one, expected)


def test_a_model_whose_rows_stand_elsewhere_says_that_its_passes_run_alone() -> None:
    config = dataclasses.replace(PLAIN, context_sees=4, canvas_sees=4)
    with pytest.raises(ValueError, match="run together only where the canvas follows its context"):
        TorchBackend(tiny(config)).beside()


def test_a_model_is_gone_without_the_garbage_collector() -> None:
    """It is hundreds of megabytes."""
    model = Transformer(PLAIN)
    backend, gone = TorchBackend(model), weakref.ref(model)
    gc.collect()
    gc.disable()
    try:
        del model, backend
        assert gone() is None
    finally:
        gc.enable()
