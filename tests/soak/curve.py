"""The curves of a soak: memory of each server over time, and when what went wrong, as SVG.

Rule: pure; numbers in, text out.

    Path("soak.svg").write_text(curve({"many": [(0.0, 80.0), (5.0, 81.0)]}, [(3.0, "burst")]))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 860, 420, 60, 30, 110, 40
COLORS = ("#3b6ea5", "#b5542d", "#4f8a4f", "#8a5aa5", "#a58a2d", "#2d8a8a", "#666666")
Points = Sequence[tuple[float, float]]


def curve(lines: Mapping[str, Points], marks: Sequence[tuple[float, str]], unit: str = "MB") -> str:
    """Draw lines of (seconds, value), and marks along the time."""
    last_s = max((at for points in lines.values() for at, _ in points), default=1.0)
    most = 1.1 * max((value for points in lines.values() for _, value in points), default=1.0)

    def x(at_s: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * at_s / last_s

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / most

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for step in range(6):
        value = most * step / 5
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#dddddd"/>'
        )
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.0f} {unit}</text>')
        at = last_s * step / 5
        parts.append(f'<text x="{x(at):.1f}" y="{HEIGHT - 14}" text-anchor="middle">{at / 60:.1f} min</text>')
    for at, name in marks:
        title = f"<title>{escape(name)}</title>"
        parts.append(
            f'<line x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{TOP - 8}" y2="{TOP}" stroke="#aa0000">{title}</line>'
        )
    for color, (name, points) in zip(COLORS, lines.items()):
        path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        if points:
            end = y(points[-1][1]) + 4
            parts.append(f'<text x="{WIDTH - RIGHT + 6}" y="{end:.1f}" fill="{color}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])
