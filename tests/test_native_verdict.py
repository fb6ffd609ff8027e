"""The native verdict loop against token by token, and against its definition in diffusion/verdict.py."""

from __future__ import annotations

import ctypes
import dataclasses
import random
import time
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch

from cuda_ext import native
from cuda_ext.rules import TOKEN_BY_TOKEN, Policy, Rule, Verdict
from diffusion.backends.native import NativeBackend, shape_of, verdict_control, with_neighbour_tables
from diffusion.canvas import Canvas
from diffusion.engine import Engine
from diffusion.model.config import ModelConfig
from diffusion.model.transformer import ContextCache
from diffusion.request import Draft, Hole, InfillRequest, Start
from diffusion.verdict import decode, statistics
from diffusion.vocabulary import OURS
from tests.models import SMALL
from tests.verdict_cases import CAPACITY, EXTRAS, PLAIN, Case, random_policy, random_start, tiny

pytestmark = pytest.mark.skipif(bool(native.why_not("cpu")), reason=f"native backend: {native.why_not('cpu')}")
CONFIGS = pytest.mark.parametrize("config", [PLAIN, EXTRAS], ids=["plain, shifted", "with extras"])


@cache
def backend(config: ModelConfig, precision: str) -> NativeBackend:
    state = tiny(config).state_dict().items()
    words = {name: t.bfloat16().view(torch.int16).numpy().view(np.uint16) for name, t in state}
    tensors = with_neighbour_tables(words, config) if config.extras else words
    return NativeBackend(config, native.NativeModel(shape_of(config), tensors, precision, threads=2), {})


def request_of(case: Case, start: Start | None) -> InfillRequest:
    return InfillRequest("", "", case.middle, temperature=case.temperature, seed=case.seed, start=start)


def run(case: Case, config: ModelConfig, policy: Verdict, start: Start | None, precision: str = "int8") -> list[Draft]:
    one = backend(config, precision)
    cache = one.new_cache(CAPACITY)
    one.encode(list(case.ids), cache)
    before = one.forward_passes
    drafts = list(one.verdict(cache, case.canvas(), policy, request_of(case, start), lambda: False))
    assert one.forward_passes - before == drafts[-1].forward_passes
    assert cache.ids[: len(case.ids)] == list(case.ids)
    return drafts


@CONFIGS
def test_the_final_text_is_what_token_by_token_decoding_gives(config: ModelConfig) -> None:
    """Logits are the same bit for bit; sums over the vocabulary are not, and may turn an end that is a tie."""
    parted = fewer = 0
    for number in range(250):
        rng, case = random.Random(number), Case.of(number)
        *_, plain = run(case, config, TOKEN_BY_TOKEN, None)
        *_, judged = run(case, config, random_policy(rng), random_start(rng, plain.text))
        parted += (judged.text, judged.reason) != (plain.text, plain.reason)
        fewer += judged.forward_passes < plain.forward_passes
    assert parted <= 1 and fewer > 20


@CONFIGS
def test_decisions_are_those_of_the_definition(config: ModelConfig) -> None:
    """The same logits, torch's, for both: draft by draft the same canvas, guess, passes and cached tokens."""
    for number in range(120):
        rng, case = random.Random(number), Case.of(number)
        start = random_start(rng, "self.layout = lay")
        policy = random_policy(rng)
        if number % 10 == 0:
            policy = Verdict(judge_rows=60, canvas_rows=60)
        for found, expected in zip(
            native_decisions(case, config, policy, start), torch_decisions(case, config, policy, start), strict=True
        ):
            assert found == expected, number


Decision = tuple[int, bool, int, list[int], list[int]]  # passes, done, cached, ids, guess


def torch_decisions(case: Case, config: ModelConfig, policy: Verdict, start: Start | None) -> list[Decision]:
    model, cache, canvas = tiny(config), ContextCache(config, CAPACITY, torch.float32), case.canvas()
    model.encode(list(case.ids), cache)
    guesses: list[np.ndarray] = []
    told = canvas.draft

    def draft(guess: np.ndarray, *rest: object) -> Draft:
        guesses.append(guess)
        return told(guess, *rest)  # type: ignore[arg-type]

    canvas.draft = draft  # type: ignore[method-assign]
    drafts = decode(
        model, cache, canvas, policy, lambda: False, temperature=case.temperature, seed=case.seed, start=start
    )
    return [(d.step, d.done, len(cache.ids), canvas.ids.tolist(), guesses[-1].tolist()) for d in drafts]


def native_decisions(case: Case, config: ModelConfig, policy: Verdict, start: Start | None) -> list[Decision]:
    """What core.h decides behind the forward passes that it plans, torch running them."""
    canvas, cache, model = case.canvas(), ContextCache(config, CAPACITY, torch.float32), tiny(config)
    model.encode(list(case.ids), cache)
    control = verdict_control(canvas, policy, request_of(case, start), case.ids)
    library = native.load("cpu")
    assert library is not None
    state, stream, plan, slot = native.CanvasState(), native.Stream(), native.Plan(), native.DraftSlot()
    given = [ctypes.addressof(each) for each in (control, state, stream)]
    library.raw.mz_test_verdict_start(given[0], len(case.ids), *given[1:])
    decisions: list[Decision] = []
    while not slot.done:
        library.raw.mz_test_verdict_plan(*given, int(canvas.flags.ctypes.data), ctypes.addressof(plan))
        rows = rows_of_pass(case, canvas, model, cache, plan)
        judged = [ctypes.addressof(each) for each in (plan, rows, slot)]
        library.raw.mz_test_verdict_commit(*given, int(canvas.flags.ctypes.data), *judged)
        if plan.n_wanted:
            n = control.n_rows
            decisions.append((slot.step, bool(slot.done), slot.cached, slot.ids[:n], slot.guess[:n]))
        cache.ids = [*cache.ids[: plan.start], *plan.ids[: plan.n_context]][: stream.cached]
    return decisions


def rows_of_pass(case: Case, canvas: Canvas, model: object, cache: ContextCache, plan: native.Plan) -> ctypes.Array:
    """Statistics of the rows that a plan wants, its forward pass run by torch."""
    cache.keep(plan.start)
    ids, n = plan.ids[: plan.n_context + plan.n_canvas], plan.n_wanted
    with torch.no_grad():
        hidden = model.run(ids[: plan.n_context], ids[plan.n_context :], cache, plan.decided)  # type: ignore[attr-defined]
        logits = model.logits(hidden)  # type: ignore[attr-defined]
    rows = (native.Row * max(n, 1))()
    if not n:
        return rows
    rules = [Rule(r.forbid, r.need, r.also_need, r.ends) for r in plan.rule[:n]]
    stats = statistics(logits[plan.wanted[:n]], canvas, plan.at[:n], rules, case.temperature, case.seed)
    for i in range(n):
        rows[i].best, rows[i].probability, rows[i].end = stats.best[i], stats.probability[i], stats.end[i]
    return rows


@CONFIGS
def test_the_whole_loop_gives_the_text_of_the_definition(config: ModelConfig) -> None:
    """In bfloat16 against float32: a rounding that turns a decision turns all behind it, so some texts part."""
    same = 0
    for number in range(60):
        case = dataclasses.replace(Case.of(number), temperature=0.0)
        model, cache = tiny(config), ContextCache(config, CAPACITY, torch.float32)
        model.encode(list(case.ids), cache)
        *_, expected = decode(model, cache, case.canvas(), Verdict(), lambda: False)
        same += run(case, config, Verdict(), None, "bf16")[-1].text == expected.text
    assert same >= 45


def test_candidates_are_sampled_token_by_token_as_well() -> None:
    case = dataclasses.replace(Case.of(0), middle=(Hole(16, True),), temperature=1.0)
    texts = {run(dataclasses.replace(case, seed=seed), PLAIN, TOKEN_BY_TOKEN, None)[-1].text for seed in range(4)}
    again = run(dataclasses.replace(case, seed=3), PLAIN, Verdict(), None)[-1].text
    assert len(texts) > 1 and again in texts


def test_what_was_accepted_stays_in_the_cache_for_the_next_request() -> None:
    case = dataclasses.replace(Case.of(0), middle=(Hole(16, True),), temperature=1.0)
    one = backend(PLAIN, "int8")
    cache, canvas = one.new_cache(CAPACITY), case.canvas()
    one.encode(list(case.ids), cache)
    for draft in one.verdict(cache, canvas, TOKEN_BY_TOKEN, request_of(case, None), lambda: False):
        decided = [token for token in canvas.ids.tolist() if token not in (OURS.mask, OURS.end)]
        kept = cache.ids[len(case.ids) :]
        assert kept == decided[: len(kept)] and len(kept) >= draft.step - 1
    assert len(kept) > 2


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A reader so slow that three passes have run when the first draft is read."""
    read = native.NativeRun.next

    def slowly(self: native.NativeRun, timeout_us: int) -> native.DraftSlot | None:
        slot = read(self, timeout_us)
        while slot is not None and not slot.done and self.steps < 3:
            time.sleep(0.001)
        return slot

    monkeypatch.setattr(native.NativeRun, "next", slowly)
    yield


@pytest.mark.parametrize("policy", [Policy(threshold=2.0, max_steps=32), TOKEN_BY_TOKEN], ids=["threshold", "verdict"])
def test_passes_that_ran_ahead_of_a_cancelled_reader_are_counted(ahead: None, policy: Policy | Verdict) -> None:
    engine = Engine.load(SMALL, backend="native")
    engine.policy, engine.recall_above = policy, 1.0
    request = InfillRequest("def area(width, height):\n    ", "\n", (Hole(32, True),), temperature=4.0)
    read: list[Draft] = []
    for draft in engine.infill(request, lambda: bool(read)):
        read.append(draft)
    assert [draft.forward_passes for draft in read] == [1]
    assert engine.forward_passes >= 3
