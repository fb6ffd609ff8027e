"""`make parity`: the native loop against the plain-torch definition of it, decision by decision, on held-out holes.

Rule: the definition leads. Every canvas that it comes through is also given to the native loop for one step, and the
two drafts are compared row by row. Where a row parts, its two candidates must lie within rounding of each other:
rounded products are chaotic, a last bit decides how an input is rounded, and that moves logits by hundredths.

    python -m diffusion.evaluate.parity --n 300 --precision int8
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cuda_ext import native
from cuda_ext.rules import Policy, expand
from cuda_ext.twin import Twin
from diffusion.backends.native import NativeBackend, control_of, rows_of, shape_of, with_neighbour_tables
from diffusion.canvas import Canvas
from diffusion.denoise import denoise
from diffusion.engine import CANVAS_ROWS
from diffusion.evaluate.cases import MULTI_LINE, REST_OF_LINE, Case, cut, read_folder
from diffusion.held_out import PYTHON_FOLDERS
from diffusion.layout import Layout, lay_out
from diffusion.model.card import open_folder
from diffusion.model.config import EMBEDDED
from diffusion.tokenizer import Tokenizer

NEAR_LOGITS, NEAR_PROBABILITY = 0.3, 0.05  # how far rounding alone may move either; see docs/performance.md


@dataclass
class TwinModel:
    """The twin as `denoise` wants a model: hidden rows are logits already."""

    twin: Twin
    n_context: int = 0
    last: Tensor = field(default_factory=lambda: torch.zeros(0))  # logits of the last step
    k: Tensor = field(default_factory=lambda: torch.zeros(0))  # denoise asks for the cache's device

    def encode(self, ids: tuple[int, ...]) -> None:
        """Encode a context from its start."""
        self.twin.forward(np.array(ids), [], 0)
        self.n_context = len(ids)

    def denoise(self, ids: Tensor, cache: object) -> Tensor:
        """Logits (1, C, V)."""
        self.last = self.twin.forward([], ids[0].numpy(), self.n_context)
        return self.last[None]

    def logits(self, hidden: Tensor) -> Tensor:
        """The same."""
        return hidden


def compare(case: Case, backend: NativeBackend, model: TwinModel, tokenizer: Tokenizer, counts: Counter[str]) -> None:
    """Count the decisions of one hole: compared, parted, and parted further than rounding goes."""
    policy = Policy(max_revisions=0)  # what was doubted before cannot be handed over to a single step
    request = case.request()
    layout = Layout.of(backend.config.max_context)
    context = lay_out(tokenizer, layout, request.prefix, request.suffix, request.other_files)
    model.encode(context.ids)
    cache = backend.new_cache(backend.config.max_context + CANVAS_ROWS)
    backend.encode(list(context.ids), cache)
    canvas = Canvas.blank(tokenizer, request.middle, context.left.as_one, context.right)
    before = dataclasses.replace(canvas, ids=canvas.ids.copy())
    same = True
    for draft in denoise(model, model, canvas, policy, lambda: False):  # type: ignore[arg-type]
        left = dataclasses.replace(policy, max_steps=policy.max_steps - draft.step + 1)
        control = control_of(before, left, request)
        with native.NativeRun(backend.model, cache.cache, len(context.ids), control, before.flags) as run:
            slot = run.next(native.FOREVER_US)
        assert slot is not None
        parted = np.flatnonzero(rows_of(slot.ids, canvas) != canvas.ids)
        counts["decisions"] += int(before.masked.sum())
        counts["parted"] += len(parted)
        far = [row for row in parted if not within_rounding(model.last, before, int(row), policy)]
        counts["parted beyond rounding"] += len(far)
        same = same and not len(parted)
        before = dataclasses.replace(canvas, ids=canvas.ids.copy())
    counts["steps"] += draft.step
    counts["holes that never part"] += same


def within_rounding(logits: Tensor, before: Canvas, row: int, policy: Policy) -> bool:
    """Whether the definition's own numbers leave it to rounding what becomes of the row.

    Its best two tokens, or some row's probability or chance to be the end and what that is compared with, lie so close.
    """
    n_active = len(logits)
    forbidden, ends = (torch.from_numpy(mask) for mask in expand(before.rules()[:n_active], before.flags))
    p = logits.masked_fill(forbidden, -torch.inf).softmax(dim=-1)
    masked = torch.from_numpy(before.masked[:n_active])
    if row < n_active:
        best, second = logits[row].masked_fill(forbidden[row] | ends[row], -torch.inf).topk(2).values
        if best - second < NEAR_LOGITS:
            return True
    probability, end = p.masked_fill(ends, 0).amax(dim=-1)[masked], (p * ends).sum(dim=-1)[masked]
    compared = [end - 0.5, end - policy.threshold, probability - policy.threshold]
    return any(bool((difference.abs() < NEAR_PROBABILITY).any()) for difference in compared)


def main(argv: list[str] | None = None) -> int:
    """Print the counts and the JSON line; 1 if a row parts further than rounding goes."""
    parser = argparse.ArgumentParser(
        prog="python -m diffusion.evaluate.parity", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--holdout", type=Path, default=Path(".corpus/heldout"), metavar="DIR")
    parser.add_argument("--n", type=int, default=300, help="holes; a third of them over several lines (300)")
    parser.add_argument("--precision", choices=("int8", "bf16"), default="int8")
    args = parser.parse_args(argv)
    folder = open_folder(EMBEDDED)
    backend, tokenizer = NativeBackend.load(folder, precision=args.precision), folder.tokenizer()
    capacity = backend.config.max_context + CANVAS_ROWS
    tensors = with_neighbour_tables({name: weight.words() for name, weight in folder.weights().items()}, backend.config)
    model = TwinModel(Twin(shape_of(backend.config), tensors, args.precision, capacity))
    files = read_folder(args.holdout, PYTHON_FOLDERS)
    cases = [*cut(files, REST_OF_LINE, args.n - args.n // 3, 5), *cut(files, MULTI_LINE, args.n // 3, 5)]
    counts: Counter[str] = Counter()
    for number, case in enumerate(cases):
        print(f"\r{number}/{len(cases)} {dict(counts)}   ", end="", file=sys.stderr, flush=True)
        compare(case, backend, model, tokenizer, counts)
        counts["holes"] += 1
    print(file=sys.stderr)
    for name in ("holes", "holes that never part", "steps", "decisions", "parted", "parted beyond rounding"):
        print(f"{name:24}{counts[name]:8}")
    print(json.dumps({"precision": args.precision, **counts}))
    return 1 if counts["parted beyond rounding"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
