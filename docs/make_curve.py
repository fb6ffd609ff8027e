"""Draws exact match against forward passes, by confidence threshold and canvas size, beside decoding token by token.

Rule: held-out holes of a seed that no other table uses, all started from masks; every point is one threshold. Prints
the same as a markdown table, from which the default threshold is chosen.

    python docs/make_curve.py --n 400 docs/passes.svg
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

from make_calibration import FONT, GRID, INK, LEFT, PAPER, RIGHT, SHOWN, SIZE, TOP, label, line

from diffusion.engine import Engine
from diffusion.evaluate.holes import MULTI_LINE, REST_OF_LINE, Case, cut, read_folder
from diffusion.evaluate.metrics import edit_similarity, exact_match
from diffusion.evaluate.run import diffusion, never
from diffusion.held_out import HELD_OUT
from diffusion.request import FROM_MASKS, Draft, Hole, InfillRequest

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
CANVASES = ((16, REST_OF_LINE), (32, REST_OF_LINE), (64, MULTI_LINE))
COLOURS = {16: RIGHT, 32: "#1d4f91", 64: SHOWN}
Decoder = Callable[[InfillRequest, Callable[[], bool]], Iterator[Draft]]
Point = tuple[float, float, float]  # mean forward passes, share exact, mean edit similarity


def measure(decoder: Decoder, engine: Engine, cases: list[Case], n_rows: int) -> Point:
    """What a decoder needs and gets for canvases of `n_rows` rows."""
    passes, exact, similar = [], [], []
    for case in cases:
        hole = Hole(n_rows, case.multiline)
        request = dataclasses.replace(case.request(), middle=(hole,), start=FROM_MASKS)
        *_, last = decoder(request, never)
        passes.append(last.forward_passes)
        exact.append(exact_match(last.text, case.answer))
        similar.append(edit_similarity(last.text, case.answer))
    return statistics.fmean(passes), statistics.fmean(exact), statistics.fmean(similar)


def svg(curves: dict[int, list[Point]], tokens: dict[int, Point]) -> str:
    """Curves of diffusion, and a circle for each canvas size decoded token by token."""
    most_passes = max(point[0] for points in (*curves.values(), tokens.values()) for point in points)
    most_exact = max(point[1] for points in (*curves.values(), tokens.values()) for point in points) * 1.15

    def where(point: Point) -> tuple[float, float]:
        return LEFT + point[0] / most_passes * SIZE, TOP + (1 - point[1] / most_exact) * SIZE

    parts = [line([(LEFT, TOP + SIZE), (LEFT + SIZE, TOP + SIZE)], GRID), line([(LEFT, TOP), (LEFT, TOP + SIZE)], GRID)]
    for share in (0.25, 0.5, 0.75, 1):
        parts.append(label(LEFT - 8, TOP + (1 - share) * SIZE + 4, f"{most_exact * share:.1%}", anchor="end"))
        parts.append(label(LEFT + share * SIZE, TOP + SIZE + 20, f"{most_passes * share:.0f}"))
    parts.append(label(LEFT + SIZE / 2, TOP + SIZE + 44, "forward passes, mean"))
    for row, (size, points) in enumerate(curves.items()):
        colour = COLOURS[size]
        x, y = where(tokens[size])
        parts.append(line([where(point) for point in points], colour))
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(label(LEFT + 12, TOP + 14 + 18 * row, f"canvas of {size}: exact, by threshold", colour, "start"))
    parts.append(label(LEFT + 12, TOP + 14 + 18 * len(curves), "circles: token by token", INK, "start"))
    size_of = f'width="{LEFT + SIZE + 30}" height="{TOP + SIZE + 64}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size_of} font-family="{FONT}" font-size="12">'
    return "\n".join([head, f'<rect width="100%" height="100%" fill="{PAPER}"/>', *parts, "</svg>\n"])


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description="Draw exact match against forward passes.")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    engine, files = Engine.load(), read_folder(Path(".corpus/holdout"), HELD_OUT)
    curves: dict[int, list[Point]] = {}
    tokens: dict[int, Point] = {}
    print("| canvas | holes | decoder | exact | edit sim. | passes, mean |\n| --- | --- | --- | --- | --- | --- |")
    for size, kind in CANVASES:
        cases = list(cut(files, kind, args.n, args.seed))
        tokens[size] = measure(engine.autoregress, engine, cases, size)
        curves[size] = [measure(diffusion(engine, p), engine, cases, size) for p in THRESHOLDS]
        names = ["autoregressive", *(f"diffusion, threshold {p:g}" for p in THRESHOLDS)]
        for name, (passes, exact, similar) in zip(names, [tokens[size], *curves[size]], strict=True):
            print(f"| {size} | {kind} | {name} | {exact:.1%} | {similar:.1%} | {passes:.1f} |", flush=True)
    args.picture.write_text(svg(curves, tokens), encoding="utf-8")


if __name__ == "__main__":
    main()
