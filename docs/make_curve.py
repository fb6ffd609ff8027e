"""Draws exact match against forward passes, by confidence threshold and canvas size, beside decoding token by token.

Rule: held-out holes of a seed that no other table uses; every point is one threshold. Prints the same as a markdown
table, from which the default threshold is chosen.

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
from diffusion.evaluate.cases import MULTI_LINE, REST_OF_LINE, Case, cut, read_folder
from diffusion.evaluate.metrics import edit_similarity, exact_match
from diffusion.evaluate.run import diffusion, never
from diffusion.held_out import PYTHON_FOLDERS
from diffusion.request import Draft, Hole, InfillRequest

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
FROM_RECALL, MASKS = "as usual", "from masks"
CANVASES = (
    (16, REST_OF_LINE, MASKS), (32, REST_OF_LINE, MASKS), (32, REST_OF_LINE, FROM_RECALL), (64, MULTI_LINE, MASKS)
)  # fmt: skip
COLOURS = {(16, MASKS): RIGHT, (32, MASKS): "#1d4f91", (32, FROM_RECALL): "#7a1d91", (64, MASKS): SHOWN}
Key = tuple[int, str]  # canvas rows, what they start from
Decoder = Callable[[InfillRequest, Callable[[], bool]], Iterator[Draft]]
Point = tuple[float, float, float]  # mean forward passes, share exact, mean edit similarity


def measure(decoder: Decoder, cases: list[Case], n_rows: int) -> Point:
    """What a decoder needs and gets for canvases of `n_rows` rows."""
    passes, exact, similar = [], [], []
    for case in cases:
        request = dataclasses.replace(case.request(), middle=(Hole(n_rows, case.multiline),))
        *_, last = decoder(request, never)
        passes.append(last.forward_passes)
        exact.append(exact_match(last.text, case.answer))
        similar.append(edit_similarity(last.text, case.answer))
    return statistics.fmean(passes), statistics.fmean(exact), statistics.fmean(similar)


def svg(curves: dict[Key, list[Point]], tokens: dict[Key, Point]) -> str:
    """Curves of diffusion, and a circle for each decoded token by token; none where nothing is right."""
    curves = {key: points for key, points in curves.items() if any(exact for _, exact, _ in points)}
    tokens = {key: tokens[key] for key in curves}
    most_passes = max(point[0] for points in (*curves.values(), tokens.values()) for point in points)
    most_exact = max(point[1] for points in (*curves.values(), tokens.values()) for point in points) * 1.15

    def where(point: Point) -> tuple[float, float]:
        return LEFT + point[0] / most_passes * SIZE, TOP + (1 - point[1] / most_exact) * SIZE

    parts = [line([(LEFT, TOP + SIZE), (LEFT + SIZE, TOP + SIZE)], GRID), line([(LEFT, TOP), (LEFT, TOP + SIZE)], GRID)]
    for share in (0.25, 0.5, 0.75, 1):
        parts.append(label(LEFT - 8, TOP + (1 - share) * SIZE + 4, f"{most_exact * share:.1%}", anchor="end"))
        parts.append(label(LEFT + share * SIZE, TOP + SIZE + 20, f"{most_passes * share:.1f}"))
    parts.append(label(LEFT + SIZE / 2, TOP + SIZE + 44, "forward passes, mean"))
    for row, (key, points) in enumerate(curves.items()):
        colour = COLOURS[key]
        x, y = where(tokens[key])
        parts.append(line([where(point) for point in points], colour))
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(label(LEFT + SIZE, TOP + SIZE - 80 + 18 * row, f"canvas of {key[0]}, {key[1]}", colour, "end"))
    parts.append(label(LEFT + SIZE, TOP + SIZE - 80 + 18 * len(curves), "circles: token by token", INK, "end"))
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
    engine, files = Engine.load(), read_folder(Path(".corpus/heldout"), PYTHON_FOLDERS)
    curves: dict[Key, list[Point]] = {}
    tokens: dict[Key, Point] = {}
    header = ("canvas", "holes", "start", "decoder", "exact", "edit sim.", "passes, mean")
    print(f"| {' | '.join(header)} |\n|{' --- |' * len(header)}")
    for size, kind, start in CANVASES:
        cases = list(cut(files, kind, args.n, args.seed))
        tokens[size, start] = measure(engine.autoregress, cases, size)
        decoders = [diffusion(engine, p, recall=start == FROM_RECALL) for p in THRESHOLDS]
        curves[size, start] = [measure(decoder, cases, size) for decoder in decoders]
        names = ["autoregressive", *(f"diffusion, threshold {p:g}" for p in THRESHOLDS)]
        for name, (passes, exact, similar) in zip(names, [tokens[size, start], *curves[size, start]], strict=True):
            print(f"| {size} | {kind} | {start} | {name} | {exact:.1%} | {similar:.1%} | {passes:.1f} |", flush=True)
    args.picture.write_text(svg(curves, tokens), encoding="utf-8")


if __name__ == "__main__":
    main()
