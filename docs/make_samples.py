"""Prints completions of held-out code as markdown, as they come out: the first holes of a seed, none picked.

Usage: python docs/make_samples.py --n 5 --seed 7 > samples.md
"""

from __future__ import annotations

import argparse
from pathlib import Path

from diffusion.engine import Engine
from diffusion.evaluate.cases import MULTI_LINE, REST_OF_LINE, Case, cut, read_folder
from diffusion.held_out import PYTHON_FOLDERS

LINES_BEFORE, LINES_AFTER = 5, 2


def block(case: Case, middle: str) -> str:
    """The code around the hole with `middle` in it, marked."""
    before = "\n".join(case.prefix.split("\n")[-LINES_BEFORE - 1 :])
    after = "\n".join(case.suffix.split("\n")[: LINES_AFTER + 1])
    return f"{before}⟦{middle}⟧{after}"


def sample(engine: Engine, case: Case) -> str:
    """One case: the file, the code with the completion, and what the file says."""
    *_, last = engine.infill(case.request(), lambda: False)
    verdict = "right" if last.text.rstrip() == case.answer.rstrip() else f"the file has `{case.answer!r}`"
    code = block(case, last.text)
    return f"`{case.name}`, {last.forward_passes} forward passes, {verdict}:\n\n```python\n{code}\n```\n"


def main() -> None:
    """Print `--n` samples of both kinds."""
    parser = argparse.ArgumentParser(description="Print completions of held-out code as markdown.")
    parser.add_argument("--holdout", type=Path, default=Path(".corpus/heldout"))
    parser.add_argument("--n", type=int, default=4, help="of each kind")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    engine = Engine.load()
    files = read_folder(args.holdout, PYTHON_FOLDERS)
    for kind in (REST_OF_LINE, MULTI_LINE):
        for case in cut(files, kind, args.n, args.seed):
            print(sample(engine, case))


if __name__ == "__main__":
    main()
