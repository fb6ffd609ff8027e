"""Random requests, first drafts and tiny models, for the tests of the verdict loop in torch and in native code."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from cuda_ext.rules import CLOSES, END, SPECIAL, Verdict
from diffusion import layout
from diffusion.canvas import Canvas
from diffusion.healing import Edge
from diffusion.layout import Layout, lay_out
from diffusion.model.config import ModelConfig
from diffusion.model.transformer import Transformer
from diffusion.request import Hole, Start
from diffusion.tokenizer import Tokenizer
from diffusion.vocabulary import OURS
from tests.models import SMALL

TEXT = Path(layout.__file__).read_text(encoding="utf-8")
PLAIN = ModelConfig(d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48, qk_norm=False, extras=False, shift=True)
EXTRAS = ModelConfig(d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48)
CAPACITY = 800


@cache
def loaded() -> Tokenizer:
    return Tokenizer.load(SMALL / "tokenizer.json")


@cache
def tiny(config: ModelConfig) -> Transformer:
    """Random bfloat16 weights, in float32, that end a hole and break a line now and then."""
    torch.set_num_threads(1)  # a model this small only waits for a second thread
    model = Transformer(config)
    model.init_weights(torch.Generator().manual_seed(1))
    for name, parameter in model.named_parameters():
        if name.endswith(("o.weight", "down.weight", "left.weight", "right.weight")):
            torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(2))
    model.requires_grad_(False)
    model.embed.weight[OURS.end] *= 3
    return model.bfloat16().float()


def random_middle(rng: random.Random) -> tuple[Hole | str, ...]:
    """One hole, or two around fixed text, or fixed text first (typed through), sometimes much of it."""
    holes = [Hole(rng.choice((1, 4, 16)), rng.random() < 0.5) for _ in range(2)]
    fixed = rng.choice(("x", " = self.", ")\n    return ", "\n".join(f"    {name} = 1" for name in "abcdefghij")))
    return rng.choice([(holes[0],), (holes[0], fixed, holes[1]), (fixed, holes[0]), (holes[0], holes[1])])


def random_start(rng: random.Random, right: str) -> Start | None:
    """A recalled draft: none, half right, wrong, or what token by token says."""
    kind = rng.randrange(4)
    text = {0: "", 1: right[: len(right) // 2] + "zz", 2: "self.layout = 3", 3: right}[kind]
    return Start(((text, 0.5),), closed=rng.random() < 0.5) if text else None


def random_policy(rng: random.Random) -> Verdict:
    rows = rng.choice((0, 1, 8)), rng.choice((0, 5, 16))
    return Verdict(
        rng.choice((0.0, 0.01, 0.3)), *rows, rng.choice((0, 1, 2)), rng.choice((0, 1, 5)), rng.choice((0, 1, 3))
    )


def random_edge(seed: int, vocab: int) -> Edge:
    """A partial token that a head goes on from as likely as the one or two tokens that contain it."""
    rng = np.random.default_rng(seed)
    allowed = np.zeros(vocab, dtype=bool)
    head, *others = rng.choice(np.arange(20, vocab), 3, replace=False)
    allowed[others[: rng.integers(1, 3)]] = True
    return Edge("", allowed, int(head), rng.random(vocab) < 0.7)


@dataclass(frozen=True)
class Case:
    """A context, a middle, and how it is sampled."""

    ids: tuple[int, ...]
    middle: tuple[Hole | str, ...]
    temperature: float
    seed: int
    cut: int

    @classmethod
    def of(cls, number: int) -> Case:
        """The case of that number."""
        rng = random.Random(str(number))
        cut, middle = rng.randrange(200, 3000), random_middle(rng)
        context = lay_out(loaded(), Layout(), TEXT[:cut], TEXT[cut + 20 :], ())
        return cls(context.ids, middle, rng.choice((0.0, 1.0)), rng.randrange(1000), cut)

    def canvas(self) -> Canvas:
        """A blank canvas for it, its edges healed."""
        context = lay_out(loaded(), Layout(), TEXT[: self.cut], TEXT[self.cut + 20 :], ())
        left = random_edge(self.seed, loaded().vocab_size) if self.seed % 3 == 0 else context.left
        canvas = Canvas.blank(loaded(), self.middle, left, context.right)
        if self.seed % 2:  # a vocabulary with tokens that close their line: a fifth of all
            closes = np.random.default_rng(self.seed).random(len(canvas.flags)) < 0.2
            canvas.flags[closes & (canvas.flags & (SPECIAL | END) == 0)] |= CLOSES
        return canvas
