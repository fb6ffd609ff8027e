"""diffusion/verdict.py: what is decided is what token-by-token decoding decides, whatever is drafted."""

from __future__ import annotations

import random
from functools import cache

import pytest
import torch

from cuda_ext.rules import TOKEN_BY_TOKEN, Verdict
from diffusion.canvas import Canvas
from diffusion.healing import NO_EDGE
from diffusion.layout import Layout, lay_out
from diffusion.model.config import EMBEDDED, ModelConfig
from diffusion.model.transformer import ContextCache, Transformer
from diffusion.request import Draft, Hole, Start
from diffusion.tokenizer import Tokenizer
from diffusion.verdict import decode
from diffusion.vocabulary import OURS

TEXT = (EMBEDDED.parent / "layout.py").read_text(encoding="utf-8")
PLAIN = ModelConfig(d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48, qk_norm=False, extras=False, shift=True)
EXTRAS = ModelConfig(d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48)


@cache
def tiny(config: ModelConfig) -> Transformer:
    """Random weights that end a hole and break a line now and then."""
    model = Transformer(config)
    model.init_weights(torch.Generator().manual_seed(1))
    for name, parameter in model.named_parameters():
        if name.endswith(("o.weight", "down.weight", "left.weight", "right.weight")):
            torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(2))
    model.requires_grad_(False)
    model.embed.weight[OURS.end] *= 3
    return model


def random_middle(rng: random.Random) -> tuple[Hole | str, ...]:
    """One hole, or two around fixed text, or fixed text first (typed through)."""
    holes = [Hole(rng.choice((1, 4, 16)), rng.random() < 0.5) for _ in range(2)]
    fixed = rng.choice(("x", " = self.", ")\n    return "))
    return rng.choice([(holes[0],), (holes[0], fixed, holes[1]), (fixed, holes[0]), (holes[0], holes[1])])


def random_start(rng: random.Random, right: str) -> Start | None:
    """A recalled draft: none, half right, wrong, or what token by token says."""
    kind = rng.randrange(4)
    text = {0: "", 1: right[: len(right) // 2] + "zz", 2: "self.layout = 3", 3: right}[kind]
    return Start(((text, 0.5),), closed=rng.random() < 0.5) if text else None


def run(case: random.Random, config: ModelConfig, policy: Verdict, start: Start | None) -> list[Draft]:
    tokenizer = loaded()
    model, cut = tiny(config), case.randrange(200, 3000)
    context = lay_out(tokenizer, Layout(), TEXT[:cut], TEXT[cut + 20 :], ())
    canvas = Canvas.blank(tokenizer, random_middle(case), context.left, context.right)
    cache = ContextCache(model.config, 800, torch.float32)
    model.encode(list(context.ids), cache)
    temperature, seed = case.choice((0.0, 1.0)), case.randrange(1000)
    drafts = list(decode(model, cache, canvas, policy, lambda: False, temperature=temperature, seed=seed, start=start))
    assert cache.ids[: len(context.ids)] == list(context.ids)
    return drafts


@cache
def loaded() -> Tokenizer:
    return Tokenizer.load(EMBEDDED / "tokenizer.json")


@pytest.mark.parametrize("config", [PLAIN, EXTRAS], ids=["plain, shifted", "with extras"])
def test_the_final_text_is_what_token_by_token_decoding_gives(config: ModelConfig) -> None:
    fewer = drafted = 0
    for number in range(250):
        seed = f"{number}"
        plain = run(random.Random(seed), config, TOKEN_BY_TOKEN, None)
        rng = random.Random(number)
        start = random_start(rng, plain[-1].text)
        policy = Verdict(rng.choice((0.0, 0.01, 0.3)), rng.choice((0, 1, 8)), rng.choice((0, 5, 16)))
        drafts = run(random.Random(seed), config, policy, start)
        assert (drafts[-1].text, drafts[-1].reason) == (plain[-1].text, plain[-1].reason), number
        assert drafts[-1].forward_passes <= plain[-1].forward_passes
        fewer += drafts[-1].forward_passes < plain[-1].forward_passes
        drafted += any(draft.masked for draft in drafts)
    assert fewer > 20 and drafted > 20, "the drafts were never of use: this test has seen nothing"


def test_a_right_draft_is_accepted_in_one_pass_and_a_wrong_one_costs_none() -> None:
    plain = run(random.Random("a"), PLAIN, TOKEN_BY_TOKEN, None)[-1]
    right = run(random.Random("a"), PLAIN, Verdict(judge_rows=64, canvas_rows=0), Start(((plain.text, 1.0),)))[-1]
    wrong = run(random.Random("a"), PLAIN, Verdict(judge_rows=64, canvas_rows=0), Start((("zz zz", 1.0),)))[-1]
    assert right.text == wrong.text == plain.text
    assert wrong.forward_passes <= plain.forward_passes


def test_cancelled_before_the_first_pass_the_cache_is_what_it_was() -> None:
    model, cache = tiny(PLAIN), ContextCache(PLAIN, 64, torch.float32)
    model.encode([20, 21, 22], cache)
    canvas = Canvas.blank(loaded(), (Hole(4),), NO_EDGE, NO_EDGE)
    assert list(decode(model, cache, canvas, Verdict(), lambda: True)) == []
    assert cache.ids == [20, 21, 22]
