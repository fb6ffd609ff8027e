"""Draws how often a shown suggestion is right, and how often one is shown, over `minConfidencePercent` (an SVG).

Rule: held-out lines, every one asked once; what would be shown is what the server's own rule leaves of the answer.
Prints the same as a markdown table.

    python docs/make_calibration.py --n 1000 docs/calibration.svg
"""

from __future__ import annotations

import argparse
from pathlib import Path

from diffusion.confidence import cut
from diffusion.engine import Engine
from diffusion.evaluate.cases import REST_OF_LINE, Case, read_folder
from diffusion.evaluate.cases import cut as cut_holes
from diffusion.held_out import PYTHON_FOLDERS
from diffusion.request import Draft

PERCENTS = tuple(range(5, 100, 5))
LEFT, TOP, SIZE = 60, 20, 400
PAPER, INK, GRID, RIGHT, SHOWN = "#fbfaf6", "#1c1b19", "#d8d2c4", "#12703a", "#8a5a00"
FONT = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
Point = tuple[int, int, int]  # percent, suggestions shown, of which right


def answers(n: int, seed: int) -> list[tuple[Case, Draft]]:
    """What the engine says to n held-out rest-of-line holes."""
    engine = Engine.load()
    cases = cut_holes(read_folder(Path(".corpus/heldout"), PYTHON_FOLDERS), REST_OF_LINE, n, seed)
    return [(case, list(engine.infill(case.request(), lambda: False))[-1]) for case in cases]


def curve(answered: list[tuple[Case, Draft]]) -> list[Point]:
    """For every percentage: what would be shown, and what of it is the beginning of the truth."""
    points = []
    for percent in PERCENTS:
        shown = [(case.answer, cut(draft, percent / 100).text.strip()) for case, draft in answered]
        right = [text for answer, text in shown if text and answer.strip().startswith(text)]
        points.append((percent, sum(bool(text) for _, text in shown), len(right)))
    return points


def at(x_percent: float, y_share: float) -> tuple[float, float]:
    """Where a value stands in the picture."""
    return LEFT + x_percent / 100 * SIZE, TOP + (1 - y_share) * SIZE


def line(points: list[tuple[float, float]], colour: str, dash: str = "") -> str:
    """A polyline."""
    where = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{where}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'


def label(x: float, y: float, text: str, colour: str = INK, anchor: str = "middle") -> str:
    """A piece of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{text}</text>'


def svg(points: list[Point], n: int) -> str:
    """The picture."""
    grid = [line([at(0, share), at(100, share)], GRID) for share in (0, 0.25, 0.5, 0.75, 1)]
    scale = [label(LEFT - 8, at(0, share)[1] + 4, f"{share:.0%}", anchor="end") for share in (0, 0.25, 0.5, 0.75, 1)]
    scale += [label(*at(percent, -0.06), f"{percent}") for percent in range(0, 101, 20)]
    scale += [label(*at(50, -0.12), "minConfidencePercent")]
    lines = [
        line([at(0, 0), at(100, 1)], GRID, "4 4"),
        line([at(percent, right / shown) for percent, shown, right in points if shown], RIGHT),
        line([at(percent, shown / n) for percent, shown, _ in points], SHOWN),
        label(*at(3, 0.95), "right, of those shown", RIGHT, "start"),
        label(*at(3, 0.89), f"shown, of {n} held-out lines", SHOWN, "start"),
    ]
    width, height = LEFT + SIZE + 30, TOP + SIZE + 64
    size, font = f'width="{width}" height="{height}"', f'font-family="{FONT}" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>'
    return "\n".join([head, f'<rect width="100%" height="100%" fill="{PAPER}"/>', *grid, *scale, *lines, "</svg>\n"])


def main() -> None:
    """Ask, count, draw."""
    parser = argparse.ArgumentParser(description="Draw how often what is shown is right.")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    answered = answers(args.n, args.seed)
    points = curve(answered)
    args.picture.write_text(svg(points, len(answered)), encoding="utf-8")
    print("| minConfidencePercent | shown | of these right |\n| --- | --- | --- |")
    for percent, shown, right in points:
        print(f"| {percent} | {shown / len(answered):.1%} | {right / max(1, shown):.1%} |")


if __name__ == "__main__":
    main()
