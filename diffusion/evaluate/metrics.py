"""What a completion is worth: exact match, edit similarity, whether the file still parses.

Rule: pure functions of text. Trailing white space never counts.

    exact_match("x + 1 ", "x + 1"), edit_similarity("x + 1", "x + 2")
"""

from __future__ import annotations

import ast
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from diffusion.grammars import language_of, parse


@dataclass(frozen=True)
class Score:
    """One completion, scored.

    `parses` is None where the whole file did not parse to begin with; `passed` where the hole has no tests, and `floor`
    says whether the tests pass with nothing in the hole.
    """

    exact: bool
    edit_similarity: float
    parses: bool | None
    forward_passes: int
    ms: float
    passed: bool | None = None
    floor: bool | None = None


def strip_line_ends(text: str) -> str:
    """`text` without white space at the ends of its lines and without blank lines at its end."""
    return "\n".join(line.rstrip() for line in text.split("\n")).rstrip()


def exact_match(completion: str, answer: str) -> bool:
    """Whether both are the same but for trailing white space."""
    return strip_line_ends(completion) == strip_line_ends(answer)


def edit_similarity(completion: str, answer: str) -> float:
    """1 - Levenshtein distance / length of the longer one; 1 for two empty texts."""
    a, b = strip_line_ends(completion), strip_line_ends(answer)
    longest = max(len(a), len(b))
    return 1.0 - levenshtein(a, b) / longest if longest else 1.0


def levenshtein(a: str, b: str) -> int:
    """Insertions, deletions and replacements of one character that turn `a` into `b` (Wagner and Fischer 1974)."""
    row = list(range(len(b) + 1))
    for i, char in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (char != other))
    return row[-1]


def parses(text: str, name: str = "") -> bool:
    """Whether `text` is a file without syntax errors; Python, unless its name says otherwise."""
    if language_of(name) not in ("", "python"):
        return not parse(name, text.encode()).root_node.has_error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def score(
    prefix: str, completion: str, suffix: str, answer: str, forward_passes: int, ms: float, name: str = ""
) -> Score:
    """Everything that can be said about one completion in the file `name`."""
    still_parses = parses(prefix + completion + suffix, name) if parses(prefix + answer + suffix, name) else None
    similarity = edit_similarity(completion, answer)
    return Score(exact_match(completion, answer), similarity, still_parses, forward_passes, ms)


def summary(scores: Sequence[Score]) -> dict[str, float | int | str | None]:
    """The numbers of one hole kind and one decoder; `forward_passes` and `ms` are medians, means stand beside them."""
    passes, ms = [s.forward_passes for s in scores], [s.ms for s in scores]
    numbers: dict[str, float | int | str | None] = {
        "exact": share([s.exact for s in scores]),
        "edit_similarity": mean([s.edit_similarity for s in scores]),
        "parses": share([s.parses for s in scores]),
        "forward_passes": statistics.median(passes) if passes else None,
        "ms": round(statistics.median(ms), 1) if ms else None,
        "forward_passes_mean": mean(passes),
        "ms_mean": mean(ms),
        "n": len(scores),
    }
    if any(s.passed is not None for s in scores):
        numbers |= {"pass_rate": share([s.passed for s in scores]), "floor": share([s.floor for s in scores])}
    return numbers


def share(flags: Sequence[bool | None]) -> float | None:
    """How many of those that are not None are true."""
    return mean([float(flag) for flag in flags if flag is not None])


def mean(values: Sequence[float]) -> float | None:
    """Mean with four decimals, None of nothing."""
    return round(statistics.fmean(values), 4) if values else None
