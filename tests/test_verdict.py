"""diffusion/verdict.py: what is decided is what token-by-token decoding decides, whatever is drafted."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

import numpy as np
import pytest
import torch

from cuda_ext.rules import MAX_ROWS, SPECIAL, TOKEN_BY_TOKEN, Verdict
from diffusion import verdict
from diffusion.canvas import Canvas
from diffusion.healing import NO_EDGE, Edge
from diffusion.model.config import ModelConfig
from diffusion.model.transformer import ContextCache, Transformer
from diffusion.request import Draft, Hole, Start
from diffusion.stream import Stream
from diffusion.verdict import decode
from tests.verdict_cases import CAPACITY, EXTRAS, PLAIN, Case, loaded, random_policy, random_start, tiny


def run(case: Case, config: ModelConfig, policy: Verdict, start: Start | None) -> list[Draft]:
    model, cache = tiny(config), ContextCache(config, CAPACITY, torch.float32)
    model.encode(list(case.ids), cache)
    sampled = {"temperature": case.temperature, "seed": case.seed, "start": start}
    drafts = list(decode(model, cache, case.canvas(), policy, lambda: False, **sampled))  # type: ignore[arg-type]
    assert cache.ids[: len(case.ids)] == list(case.ids)
    return drafts


@pytest.mark.parametrize("config", [PLAIN, EXTRAS], ids=["plain, shifted", "with extras"])
def test_the_final_text_is_what_token_by_token_decoding_gives(config: ModelConfig) -> None:
    fewer = drafted = 0
    for number in range(250):
        rng, case = random.Random(number), Case.of(number)
        plain = run(case, config, TOKEN_BY_TOKEN, None)
        start = random_start(rng, plain[-1].text)
        drafts = run(case, config, random_policy(rng), start)
        assert (drafts[-1].text, drafts[-1].reason) == (plain[-1].text, plain[-1].reason), number
        assert drafts[-1].forward_passes <= plain[-1].forward_passes
        fewer += drafts[-1].forward_passes < plain[-1].forward_passes
        drafted += any(draft.masked for draft in drafts)
    assert fewer > 20 and drafted > 20, "the drafts were never of use: this test has seen nothing"


def test_a_right_draft_is_accepted_in_one_pass_and_a_wrong_one_costs_none() -> None:
    case = Case.of(3)
    plain = run(case, PLAIN, TOKEN_BY_TOKEN, None)[-1]
    right = run(case, PLAIN, Verdict(judge_rows=64, canvas_rows=0), Start(((plain.text, 1.0),)))[-1]
    wrong = run(case, PLAIN, Verdict(judge_rows=64, canvas_rows=0), Start((("zz zz", 1.0),)))[-1]
    assert right.text == wrong.text == plain.text
    assert wrong.forward_passes <= plain.forward_passes


def test_cancelled_before_the_first_pass_the_cache_is_what_it_was() -> None:
    model, cache = tiny(PLAIN), ContextCache(PLAIN, 64, torch.float32)
    model.encode([20, 21, 22], cache)
    canvas = Canvas.blank(loaded(), (Hole(4),), NO_EDGE, NO_EDGE)
    assert list(decode(model, cache, canvas, Verdict(), lambda: True)) == []
    assert cache.ids == [20, 21, 22]


def test_a_hole_that_ends_at_once_leaves_the_whole_context_in_the_cache() -> None:
    for number in range(40):
        case = dataclasses.replace(Case.of(number), middle=(Hole(1), Hole(4)))
        run(case, EXTRAS, Verdict(), None)


def test_fixed_text_longer_than_a_pass_is_encoded_before_the_hole_behind_it() -> None:
    fixed = "x = [" + "1, " * 36
    case = dataclasses.replace(Case.of(1), middle=(fixed, Hole(4)))
    assert 100 < len(case.canvas().ids) <= MAX_ROWS
    plain = run(case, PLAIN, TOKEN_BY_TOKEN, None)[-1]
    judged = run(case, PLAIN, Verdict(judge_rows=64, canvas_rows=60), Start((("y y y", 1.0),)))[-1]
    assert plain.text == judged.text and plain.text.startswith(fixed)


def test_a_draft_behind_fixed_text_is_judged_too() -> None:
    cases = (dataclasses.replace(Case.of(n), middle=(" = ", Hole(8)), temperature=0.0) for n in range(50))
    plain_of = ((case, run(case, PLAIN, TOKEN_BY_TOKEN, None)[-1]) for case in cases)
    case, plain = next((case, plain) for case, plain in plain_of if plain.forward_passes > 1)
    start = Start(((plain.text.removeprefix(" = "), 1.0),))
    assert run(case, PLAIN, Verdict(judge_rows=16, canvas_rows=0), start)[-1].forward_passes < plain.forward_passes


@pytest.mark.parametrize(
    ("patience", "rest", "windows"),
    [(2, 3, [9, 8, 0, 0, 0, 4, 3, 0, 0]), (1, 16, [9, 0, 0, 0, 0, 0, 0, 0, 0]), (0, 5, [9, 8, 7, 6, 5, 4, 3, 2, 1])],
)
def test_a_canvas_that_drafts_nothing_leaves_and_comes_back(patience: int, rest: int, windows: list[int]) -> None:
    model, cache = tiny(PLAIN), ContextCache(PLAIN, 64, torch.float32)
    model.encode([20, 21, 22], cache)
    canvas, seen = Canvas.blank(loaded(), (Hole(9, True),), NO_EDGE, NO_EDGE), []
    end_id = canvas.end_id
    canvas.flags[end_id] = SPECIAL  # it is never the end
    policy = Verdict(draft_above=2.0, patience=patience, rest=rest)
    for draft in decode(WindowsSeen(model, seen), cache, canvas, policy, lambda: False):  # type: ignore[arg-type]
        assert draft.forward_passes == len(seen)
    assert seen == windows and end_id not in canvas.ids


class WindowsSeen:
    """A model that writes down how many canvas rows each pass had."""

    def __init__(self, model: Transformer, seen: list[int]) -> None:
        self.config, self.logits, self._run, self._seen = model.config, model.logits, model.run, seen

    def run(self, context: list[int], canvas: list[int], *rest: object, **named: object) -> torch.Tensor:
        self._seen.append(len(canvas))
        return self._run(context, canvas, *rest, **named)  # type: ignore[arg-type]


def test_only_a_causal_context_that_is_not_empty_is_judged() -> None:
    blocks = dataclasses.replace(PLAIN, context_sees=4)
    for config, ids in ((blocks, [20]), (PLAIN, [])):
        cache = ContextCache(config, 64, torch.float32)
        tiny(config).encode(ids, cache) if ids else None
        canvas = Canvas.blank(loaded(), (Hole(4),), NO_EDGE, NO_EDGE)
        with pytest.raises(ValueError, match="causal, and not empty"):
            next(decode(tiny(config), cache, canvas, Verdict(), lambda: False))


LAST, HEAD, WHOLE, AFTER, OTHER = 20, 30, 31, 40, 41  # tokens


class Says:
    """A model of which each row says what its token does, `says`, and the end behind any other."""

    config = PLAIN

    def __init__(self, says: dict[int, dict[int, float]]) -> None:
        self.says = says

    def run(self, context: list[int], canvas: list[int], cache: ContextCache, decided: int = 0) -> torch.Tensor:
        return torch.tensor(context + canvas)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        rows = torch.full((len(hidden), loaded().vocab_size), -20.0)
        for row, token in zip(rows, hidden.tolist(), strict=True):
            for said, chance in self.says.get(token, {loaded().vocabulary.end: 1.0}).items():
                row[said] = math.log(max(chance, 1e-9))
        return rows


@pytest.mark.parametrize("policy", [TOKEN_BY_TOKEN, Verdict()], ids=["token by token", "with drafts"])
@pytest.mark.parametrize(
    ("p_head", "p_after", "tokens", "passes"),
    [
        (0.9, 0.8, [HEAD, AFTER], 4),  # weighed and taken: two passes, then what follows it, then the end
        (0.9, 0.05, [WHOLE], 3),  # weighed, and nothing that was typed would follow it
        (0.4, 0.8, [WHOLE], 2),  # a token that contains all is likelier at once
    ],
)
def test_the_head_of_a_word_is_taken_where_what_was_typed_would_follow_it(
    policy: Verdict, p_head: float, p_after: float, tokens: list[int], passes: int
) -> None:
    model = Says({LAST: {HEAD: p_head, WHOLE: 1 - p_head}, HEAD: {AFTER: p_after, OTHER: 1 - p_after}})
    whole, after = (np.isin(np.arange(loaded().vocab_size), [token]) for token in (WHOLE, AFTER))
    canvas = Canvas.blank(loaded(), (Hole(3),), Edge("", whole, HEAD, after), NO_EDGE)
    cache = ContextCache(PLAIN, CAPACITY, torch.float32)
    cache.ids.append(LAST)
    *_, last = decode(model, cache, canvas, policy, lambda: False)  # type: ignore[arg-type]
    assert canvas.ids[canvas.ids != canvas.end_id].tolist() == tokens
    assert last.forward_passes == passes and cache.ids[: len(tokens)] == [LAST, *tokens][: len(tokens)]
    expected = p_head * p_after / (p_head * p_after + 1 - p_head) if tokens[0] == HEAD else None
    assert expected is None or canvas.probability[0] == pytest.approx(expected, rel=1e-4)


def test_the_random_cases_weigh_heads_and_take_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests of the loops, which draw them, would say nothing of it."""
    weighed: list[bool] = []
    weigh_head = verdict.weigh_head

    def noted(model: Transformer, cache: ContextCache, stream: Stream, *rest: Any) -> np.ndarray:
        guess = weigh_head(model, cache, stream, *rest)
        weighed.append(int(stream.canvas.ids[0]) == stream.canvas.left.head)
        return guess

    monkeypatch.setattr(verdict, "weigh_head", noted)
    for number in range(120):
        run(Case.of(number), PLAIN, Verdict(), None)
    assert any(weighed) and not all(weighed)
