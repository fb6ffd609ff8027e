"""Draws the held-out loss of adaptations while they learn, and exact match before and after, from adapters' cards.

Rule: what the cards of the adapters say, nothing is measured here. Prints the same as a markdown table.

    python docs/make_adapt.py docs/adapt.svg dmr=/tmp/dmr justhtml=/tmp/justhtml
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from make_calibration import FONT, GRID, INK, LEFT, PAPER, RIGHT, SHOWN, SIZE, TOP, label, line

COLOURS = (RIGHT, SHOWN, "#1d4f91", "#7a1d91")
Card = dict[str, Any]


def svg(cards: dict[str, Card]) -> str:
    """One curve a card: the next-token loss of the held-out files, as a share of what it was before."""
    curves = {
        name: [(step, loss / card["history"][0][2]) for _, step, loss, _ in card["history"]]
        for name, card in cards.items()
    }
    most_steps = max(step for points in curves.values() for step, _ in points)
    least = min(0.9, *(share for points in curves.values() for _, share in points))
    parts = [line([(LEFT, TOP + SIZE), (LEFT + SIZE, TOP + SIZE)], GRID), line([(LEFT, TOP), (LEFT, TOP + SIZE)], GRID)]
    for part in (0, 0.25, 0.5, 0.75, 1):
        parts.append(label(LEFT - 8, TOP + part * SIZE + 4, f"{1 - part * (1 - least):.0%}", anchor="end"))
        parts.append(label(LEFT + part * SIZE, TOP + SIZE + 20, f"{most_steps * part:.0f}"))
    parts.append(label(LEFT + SIZE / 2, TOP + SIZE + 44, "steps"))
    for row, ((name, points), colour) in enumerate(zip(curves.items(), COLOURS, strict=False)):
        where = [(LEFT + step / most_steps * SIZE, TOP + (1 - share) / (1 - least) * SIZE) for step, share in points]
        before, after = (cards[name][when]["exact"] for when in ("before", "after"))
        said = f"{name}: exact {before:.1%}, then {after:.1%}"
        parts += [line(where, colour), label(LEFT + SIZE, TOP + 14 + 18 * row, said, colour, "end")]
    parts.append(label(LEFT + SIZE, TOP + 14 + 18 * len(curves), "next-token loss of the files held out", INK, "end"))
    size_of = f'width="{LEFT + SIZE + 30}" height="{TOP + SIZE + 64}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size_of} font-family="{FONT}" font-size="12">'
    return "\n".join([head, f'<rect width="100%" height="100%" fill="{PAPER}"/>', *parts, "</svg>\n"])


def row(name: str, card: Card) -> str:
    """A line of the table."""
    before, after = card["before"], card["after"]
    shares = [f"{one[key]:.1%}" for key in ("exact", "benefit") for one in (before, after)]
    loss = [card["history"][0][2], min(loss for _, _, loss, _ in card["history"])]
    learned, run = card["learned"], card["run"]
    cells = [name, f"{learned['files']}, {learned['tokens']:,}", str(card["held_out"]["files"]), str(run["steps"]),
             str(run["cpu_minutes"]), *(f"{value:.3f}" for value in loss), *shares]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print and draw."""
    parser = argparse.ArgumentParser(description="Draw what adaptations gave.")
    parser.add_argument("picture", type=Path)
    parser.add_argument("cards", nargs="+", metavar="NAME=FOLDER")
    args = parser.parse_args()
    pairs = [pair.partition("=") for pair in args.cards]
    cards = {name: json.loads((Path(folder) / "adapter.json").read_text()) for name, _, folder in pairs}
    header = ("package", "files, tokens learned", "files held out", "steps", "core minutes", "loss before", "after",
              "exact before", "after", "benefit before", "after")  # fmt: skip
    print(f"| {' | '.join(header)} |\n|{' --- |' * len(header)}")
    for name, card in cards.items():
        print(row(name, card))
    args.picture.write_text(svg(cards), encoding="utf-8")


if __name__ == "__main__":
    main()
