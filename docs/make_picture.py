"""Makes the README's picture of one completion sharpening (an SVG) from the real output of `mezzotint complete --json`.

Rule: nothing is invented; every stage drawn is a draft that the model gave.

    python docs/make_picture.py FILE:LINE:COL docs/completion.svg
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from lsp_server.suggest.holes import plan_at
from lsp_server.tools.complete import around_hole, offset_of, read_file, split_position
from lsp_server.tools.drawing import AROUND, DECIDED, FRESH, MASKED, Around, Cell, Stage, columns, rows_of

N_STAGES = 4
WIDTH_COLUMNS = 88
FONT_SIZE, COLUMN, ROW, MARGIN, CAPTION = 14, 8.4, 20, 16, 24
PAPER, INK, SHADE = "#fbfaf6", {AROUND: "#77736a", DECIDED: "#1c1b19", FRESH: "#12703a", MASKED: "#8d887c"}, "#d8d2c4"
FONT = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def completion(position: str) -> dict[str, Any]:
    """What `mezzotint complete --json` says."""
    command = [sys.executable, "-m", "lsp_server.cli", "complete", "--json", position]
    answer: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return answer


def surroundings(position: str) -> Around:
    """The code around the hole."""
    path, line, column = split_position(position)
    document = read_file(path)
    plan = plan_at(document, offset_of(document, line, column))
    assert plan, "nothing is completed at this position"
    return around_hole(document, plan)


def chosen(drafts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most N_STAGES drafts that look different, the first and the last among them, evenly spread."""
    different = [next(same) for _, same in groupby(drafts, key=lambda draft: (draft["text"], draft["masked"]))]
    last = len(different) - 1
    indices = {round(i * last / (N_STAGES - 1)) for i in range(N_STAGES)}
    return [different[i] for i in sorted(indices)]


def svg_row(row: list[Cell], top: float) -> str:
    """One row of code; every run of a style is stretched to its columns, so that shades fit any font."""
    parts, left = [], 0
    for style, cells in groupby(row, key=lambda cell: cell[1]):
        text = "".join(cell[0] for cell in cells)
        size = sum(columns(char) for char in text)
        x, width = MARGIN + left * COLUMN, size * COLUMN
        if style == MASKED:
            parts.append(f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{ROW}" fill="{SHADE}"/>')
        if code := text.strip():
            x, width = x + (len(text) - len(text.lstrip())) * COLUMN, sum(columns(char) for char in code) * COLUMN
            parts.append(
                f'<text x="{x:.1f}" y="{top + 15:.1f}" fill="{INK[style]}" textLength="{width:.1f}" '
                f'lengthAdjust="spacingAndGlyphs" xml:space="preserve">{escape(code)}</text>'
            )
        left += size
    return "".join(parts)


def picture(answer: dict[str, Any], around: Around) -> str:
    """The whole SVG."""
    parts, top, before = [], float(MARGIN), None
    for draft in chosen(answer["drafts"]):
        stage = Stage(draft["text"], [(start, stop) for start, stop in draft["masked"]])
        parts.append(f'<text x="{MARGIN}" y="{top + 14:.1f}" fill="{INK[AROUND]}">step {draft["step"]}</text>')
        top += CAPTION
        for row in rows_of(around, stage, before, WIDTH_COLUMNS):
            parts.append(svg_row(row, top))
            top += ROW
        top, before = top + MARGIN, stage
    numbers = f"{answer['steps']} steps, {answer['forward_passes']} forward passes, {answer['ms']:.0f} ms"
    parts.append(f'<text x="{MARGIN}" y="{top + 14:.1f}" fill="{INK[AROUND]}">{numbers}</text>')
    width, height = WIDTH_COLUMNS * COLUMN + 2 * MARGIN, top + CAPTION + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" role="img" '
        f'font-family="{FONT}" font-size="{FONT_SIZE}"><title>One completion, step by step</title>'
        f'<rect width="100%" height="100%" rx="8" fill="{PAPER}"/>' + "\n".join(parts) + "</svg>\n"
    )


def main() -> int:
    """Write the picture."""
    parser = argparse.ArgumentParser(description="Draw one completion, step by step, as an SVG.")
    parser.add_argument("position", metavar="FILE:LINE:COL", help="where to complete")
    parser.add_argument("target", nargs="?", type=Path, default=Path("docs/completion.svg"), help="default %(default)s")
    args = parser.parse_args()
    answer = completion(args.position)
    args.target.write_text(picture(answer, surroundings(args.position)), encoding="utf-8")
    print(f"{args.target}: {len(answer['drafts'])} drafts, {len(chosen(answer['drafts']))} drawn")
    return 0


if __name__ == "__main__":
    sys.exit(main())
