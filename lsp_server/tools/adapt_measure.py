"""What an adaptation was worth: rest-of-line holes in files that it did not learn, by the model before and after.

Rule: the same holes, asked twice each: all of the line by the engine, as `mezzotint eval` does (exact match), and as
the server answers while somebody types, at the default `minConfidencePercent` (benefit: the share of holes at which
what is shown is right to its end, less the share at which it is not; silence counts nothing). No other file is context.

    before, after = (measure(engine, cases, "") for engine in (plain, adapted)); print(verdict(before, after))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from diffusion.evaluate.cases import REST_OF_LINE, Case, SourceFile, cut
from diffusion.evaluate.metrics import exact_match
from diffusion.evaluate.report import aligned
from diffusion.evaluate.run import fill, progress
from lsp_server.tools.shown import ask

if TYPE_CHECKING:
    from diffusion.engine import Engine

LEAST_HOLES = 20


class Hole(NamedTuple):
    """What became of one hole: `exact`, and what is shown there: 1 right, -1 wrong, 0 nothing."""

    exact: bool
    shown: int


def holes_in(files: Sequence[SourceFile], n: int) -> list[Case]:
    """Up to `n` holes, always the same; ValueError if the files hold too few to say anything."""
    cases = list(cut(list(files), REST_OF_LINE, n, seed=0))
    if len(cases) < min(n, LEAST_HOLES):
        raise ValueError(f"the {len(files)} files held out have {len(cases)} lines to measure; it takes {LEAST_HOLES}")
    return cases


def measure(engine: Engine, cases: list[Case], label: str) -> list[Hole]:
    """What a model makes of every hole."""
    found = []
    for case in progress(cases, label):
        text, _, _ = fill(engine.infill, case.request())
        offered, asked = ask(engine, case, invoked=False)
        found.append(Hole(exact_match(text, case.answer), worth(offered, asked.answer)))
    return found


def worth(shown: str, answer: str) -> int:
    """1 for text that is right to its end, -1 for text that is not, 0 for none."""
    if not shown.strip():
        return 0
    return 1 if answer.rstrip().startswith(shown.rstrip()) else -1


def summary(holes: Sequence[Hole]) -> dict[str, float]:
    """The shares, of all holes."""
    n = len(holes)
    right, wrong = (sum(hole.shown == sign for hole in holes) / n for sign in (1, -1))
    exact = sum(hole.exact for hole in holes) / n
    return {"exact": exact, "shown_right": right, "shown_wrong": wrong, "benefit": right - wrong}


def table(before: Sequence[Hole], after: Sequence[Hole]) -> str:
    """Both, side by side."""
    rows = [["of the lines held out", "before", "after", "points"]]
    first, then = summary(before), summary(after)
    for key, title in (
        ("exact", "exact match, whole line"), ("shown_right", "shown and right"), ("shown_wrong", "shown and wrong"),
        ("benefit", "benefit: right less wrong"),
    ):  # fmt: skip
        rows.append([title, f"{first[key]:.1%}", f"{then[key]:.1%}", f"{100 * (then[key] - first[key]):+.1f}"])
    return aligned(rows)


def verdict(before: Sequence[Hole], after: Sequence[Hole]) -> str:
    """Whether it was worth it, in words.

    Yes where exact lines gain more than chance gives and what is shown is no worse; no where no line is gained, or
    where what is shown is worse by more than chance gives; in between it is not clear.
    """
    pairs, n = list(zip(before, after, strict=True)), len(before)
    gained = sum(b.exact > a.exact for a, b in pairs)
    lost = sum(b.exact < a.exact for a, b in pairs)
    shown = sum(b.shown - a.shown for a, b in pairs)
    error, shown_error = (gained + lost) ** 0.5, sum((b.shown - a.shown) ** 2 for a, b in pairs) ** 0.5
    said = f"of {n} lines {gained} became right and {lost} wrong ({points(gained - lost, error, n)})"
    said += f"; the benefit of what is shown changed by {points(shown, shown_error, n)}"
    if gained - lost > error and shown >= 0:
        return f"It was worth it: {said}."
    if gained > lost and shown >= -shown_error:
        return f"It is not clear that it was worth it: {said}."
    return f"It was NOT worth it: {said}. Do not use it."


def points(holes: int, error: float, n: int) -> str:
    """A change of `holes` of `n`, in points, with its standard error."""
    return f"{100 * holes / n:+.1f} points, give or take {100 * error / n:.1f}"
