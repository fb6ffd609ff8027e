"""Draws how much a pass of the canvas decides, by rows of training: tokens a forward pass, from masks alone (an SVG).

Rule: held-out lines, the same for every model; nothing is recalled or looked up, so that only the canvas drafts. Prints
the same as a markdown table.

    python docs/make_growth.py docs/growth.svg 0=.base/smollm2-135m 371712=diffusion/weights
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from make_calibration import FONT, GRID, INK, LEFT, PAPER, RIGHT, SIZE, TOP, label, line

from cuda_ext.rules import Verdict
from diffusion.engine import Engine
from diffusion.evaluate.cases import REST_OF_LINE, Case, cut, read_folder
from diffusion.evaluate.run import never
from diffusion.held_out import PYTHON_FOLDERS
from diffusion.request import FROM_MASKS

CANVAS_ALONE = Verdict(look_up=0, patience=0)  # it is never sent away
GOAL = 2.5  # tokens a pass
Point = tuple[int, float]  # rows of training, tokens a pass


def tokens_a_pass(folder: Path, cases: list[Case]) -> float:
    """Passes of token by token for each pass of draft and verdict, over all holes."""
    engine = Engine.load(folder)
    engine.policy = CANVAS_ALONE
    ones = drafted = 0
    for case in cases:
        request = dataclasses.replace(case.request(), start=FROM_MASKS)
        ones += list(engine.autoregress(request, never))[-1].forward_passes
        drafted += list(engine.infill(request, never))[-1].forward_passes
    return ones / drafted


def svg(points: list[Point]) -> str:
    """The picture."""
    most_rows = max(rows for rows, _ in points) or 1

    def at(rows: float, tokens: float) -> tuple[float, float]:
        return LEFT + rows / most_rows * SIZE, TOP + (1 - (tokens - 1) / (GOAL - 1)) * SIZE

    parts = [line([at(0, tokens), at(most_rows, tokens)], GRID) for tokens in (1, 1.5, 2, GOAL)]
    parts += [label(LEFT - 8, at(0, tokens)[1] + 4, f"{tokens:g}", anchor="end") for tokens in (1, 1.5, 2, GOAL)]
    parts += [label(at(rows, 1)[0], TOP + SIZE + 20, f"{rows / 1e6:.2f}M") for rows, _ in points]
    parts += [label(LEFT + SIZE / 2, TOP + SIZE + 44, "rows of training")]
    parts += [label(LEFT + 12, TOP + 24, "tokens a pass, from masks; the goal is the upper edge", INK, "start")]
    parts += [line([at(*point) for point in points], RIGHT)]
    parts += [label(at(*point)[0], at(*point)[1] - 10, f"{point[1]:.2f}", RIGHT) for point in points]
    size, font = f'width="{LEFT + SIZE + 40}" height="{TOP + SIZE + 64}"', f'font-family="{FONT}" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>'
    return "\n".join([head, f'<rect width="100%" height="100%" fill="{PAPER}"/>', *parts, "</svg>\n"])


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description="Draw tokens a pass by rows of training.")
    parser.add_argument("picture", type=Path)
    parser.add_argument("models", nargs="+", metavar="ROWS=FOLDER")
    parser.add_argument("--n", type=int, default=60)
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    cases = list(cut(read_folder(Path(".corpus/heldout"), PYTHON_FOLDERS), REST_OF_LINE, args.n, args.seed))
    print("| rows of training | tokens a pass |\n| --- | --- |")
    points = []
    for rows, folder in (model.split("=", 1) for model in args.models):
        points.append((int(rows), tokens_a_pass(Path(folder), cases)))
        print(f"| {int(rows):,} | {points[-1][1]:.2f} |", flush=True)
    args.picture.write_text(svg(points), encoding="utf-8")


if __name__ == "__main__":
    main()
