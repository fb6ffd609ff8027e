"""Shows the results of an evaluation: a table for a terminal and the same in markdown for docs/quality.md.

Rule: numbers come in as metrics.summary made them; nothing is computed here.

    print(aligned(table({"rest_of_line": {"diffusion": summary(scores)}})))
"""

from __future__ import annotations

import datetime
import os
import platform
import shlex
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

Cell = float | int | str | None
Results = dict[str, dict[str, dict[str, Cell]]]  # by hole kind, then by decoder

COLUMNS = (
    ("exact", "exact"), ("edit sim.", "edit_similarity"), ("parses", "parses"), ("tests pass", "pass_rate"),
    ("(empty)", "floor"), ("passes", "forward_passes"), ("mean", "forward_passes_mean"), ("ms", "ms"),
    ("mean", "ms_mean"), ("n", "n"),
)  # fmt: skip
SHARES = ("exact", "edit_similarity", "parses", "pass_rate", "floor")
NOTE = (
    "`passes` (forward passes) and `ms` are medians, with their means beside them; `ms` counts from an encoded context "
    "to the final draft; `(empty)` is the share of holes whose tests pass with nothing in them."
)


def show(key: str, value: Cell, shares: tuple[str, ...] = SHARES) -> str:
    """A cell of the table; `shares` are the keys whose values are percentages."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:.1%}" if key in shares else f"{value:.1f}" if isinstance(value, float) else str(value)


def table(results: Results) -> list[list[str]]:
    """Header and rows."""
    rows = [["holes", "decoder", *(title for title, _ in COLUMNS)]]
    for kind, decoders in results.items():
        rows += [[kind, name, *(show(key, cells.get(key)) for _, key in COLUMNS)] for name, cells in decoders.items()]
    return rows


def package_table(packages: Results) -> list[list[str]]:
    """Exact match of each package, by decoder."""
    decoders = list(next(iter(packages.values()), {}))
    rows = [["package", "n", *decoders]]
    for package, cells in packages.items():
        n = next(iter(cells.values())).get("n")
        rows.append([package, show("n", n), *(show("exact", cells[name].get("exact")) for name in decoders)])
    return rows


def aligned(rows: list[list[str]]) -> str:
    """The table for a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def markdown(rows: list[list[str]], packages: list[list[str]], facts: list[str]) -> str:
    """The tables for docs/quality.md, with what must be known to repeat them."""
    lines = ["# Quality", "", *(f"- {fact}" for fact in facts), "", NOTE, "", *piped(rows)]
    lines += ["", "Exact match of the rest-of-line holes, by held-out package:", "", *piped(packages)]
    return "\n".join(lines) + "\n"


def piped(rows: list[list[str]]) -> list[str]:
    """The lines of a table in markdown."""
    return ["| " + " | ".join(row) + " |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:])]


def sections(path: Path) -> str:
    """What people wrote behind the table of an earlier report: everything from its first section on."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    at = text.find("\n## ")
    return text[at:] if at >= 0 else ""


def facts(info: Mapping[str, object], argv: list[str]) -> list[str]:
    """When, where, with which weights and by which command the numbers were made."""
    weights = ", ".join(f"{key} {value}" for key, value in info.items() if key != "path")
    words = [Path(word).name if Path(word).is_absolute() else word for word in argv]  # no one else has our folders
    return [
        f"made by `mezzotint eval {shlex.join(words)}` on {datetime.date.today().isoformat()}",
        f"machine: {cpu_name()}, {os.cpu_count()} cores, {platform.system()}",
        f"software: Python {platform.python_version()}, torch {metadata.version('torch')}",
        f"model: {weights}",
    ]


def cpu_name() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names and names[0] != "unknown" else platform.machine()
