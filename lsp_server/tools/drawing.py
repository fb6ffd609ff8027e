"""Draws the stages of one completion in a terminal, each over the one before.

Rule: nothing is hidden and nothing leaks. Rows are wrapped here, so that their number is known; control characters of
a file are shown as symbols and never reach the terminal.

    screen = Screen(sys.stdout, colours=True); screen.draw(rows_of(around, stage, before=None, width=80), final=False)
"""

from __future__ import annotations

import difflib
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TextIO

AROUND, DECIDED, FRESH, MASKED = "around", "decided", "fresh", "masked"
SGR = {AROUND: "2", DECIDED: "", FRESH: "1;32", MASKED: "2;48;5;238"}
SHADE = "░"
TAB_COLUMNS = 4
FIRST_STAGE_COLUMNS = 16

Span = tuple[int, int]
Cell = tuple[str, str]  # what to print, and its style


class Stage(NamedTuple):
    """One draft as it is shown: `masked` are half-open spans of `text`, in code points."""

    text: str
    masked: Sequence[Span]


class Around(NamedTuple):
    """The code around the hole: lines above, the hole's line left and right of it, lines below, and its line number."""

    above: Sequence[str]
    left: str
    right: str
    below: Sequence[str]
    line: int


BLACK = Stage(SHADE * FIRST_STAGE_COLUMNS, ((0, FIRST_STAGE_COLUMNS),))  # before the first draft


def decided(stage: Stage) -> list[int]:
    """Indices of the characters of `stage` that are decided."""
    masked = {index for start, stop in stage.masked for index in range(start, stop)}
    return [index for index in range(len(stage.text)) if index not in masked]


def styles(stage: Stage, before: Stage | None) -> list[str]:
    """The style of every character; what the stage before had not decided is fresh."""
    shown = [MASKED] * len(stage.text)
    now = decided(stage)
    old = "".join(before.text[i] for i in decided(before)) if before else ""
    matcher = difflib.SequenceMatcher(None, old, "".join(stage.text[i] for i in now), autojunk=False)
    for kind, _, _, start, stop in matcher.get_opcodes():
        for index in now[start:stop]:
            shown[index] = DECIDED if kind == "equal" else FRESH
    return shown


def columns(char: str) -> int:
    """How many columns of a terminal a printable character takes."""
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def printable(char: str) -> str:
    """`char`, or a symbol for one that would do something to the terminal."""
    if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return char
    return chr(0x2400 + ord(char)) if ord(char) < 0x20 else "\N{REPLACEMENT CHARACTER}"


def split_lines(cells: Sequence[Cell]) -> Iterator[list[Cell]]:
    """Lines of cells; a line break that is not decided leaves one shaded column behind."""
    line: list[Cell] = []
    for char, style in cells:
        if char != "\n":
            line.append((char, style))
            continue
        yield [*line, (" ", MASKED)] if style == MASKED else line
        line = []
    yield line


def wrap(line: Sequence[Cell], width: int) -> Iterator[list[Cell]]:
    """Rows of at most `width` columns, tabs as spaces."""
    row: list[Cell] = []
    used = 0
    for char, style in line:
        if char == "\t":
            char, size = " " * (TAB_COLUMNS - used % TAB_COLUMNS), TAB_COLUMNS - used % TAB_COLUMNS
        else:
            char = printable(char)
            size = columns(char)
        if used + size > width:
            yield row
            row, used = [], 0
        row.append((char, style))
        used += size
    yield row


def rows_of(around: Around, stage: Stage, before: Stage | None, width: int, final: bool = False) -> list[list[Cell]]:
    """The picture of one stage: the code around and the hole, with line numbers, wrapped to `width` columns."""
    hole = [DECIDED] * len(stage.text) if final else styles(stage, before)
    cells = [(char, AROUND) for line in around.above for char in line + "\n"]
    cells += [(char, DECIDED) for char in around.left]
    cells += zip(stage.text, hole, strict=True)
    cells += [(char, DECIDED) for char in around.right]
    cells += [(char, AROUND) for line in around.below for char in "\n" + line]
    first = around.line - len(around.above)
    rows: list[list[Cell]] = []
    for number, line in enumerate(split_lines(cells), first):
        for index, row in enumerate(wrap(line, max(width - 7, 10))):
            rows.append([(f"{number:4} │ " if index == 0 else "     │ ", AROUND), *row])
    return rows


def render(row: Sequence[Cell], colours: bool) -> str:
    """One row as text, with or without escape sequences."""
    if not colours:
        return "".join(SHADE * len(text) if style == MASKED else text for text, style in row).rstrip()
    out, current = "", ""
    for text, style in row:
        if SGR[style] != current:
            current = SGR[style]
            out += f"\x1b[0;{current}m" if current else "\x1b[0m"
        out += text
    return out + "\x1b[0m" if current else out


class Screen:
    """Draws over what it drew before; without colours it draws below instead, with no escape sequence at all."""

    def __init__(self, out: TextIO, colours: bool) -> None:
        self.out, self.colours = out, colours
        self.n_rows = 0

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        return shutil.get_terminal_size().columns

    def draw(self, rows: Sequence[Sequence[Cell]], final: bool) -> None:
        """Show `rows`; the last picture is shown whole even where it is taller than the terminal."""
        height = max(shutil.get_terminal_size().lines - 1, 1)
        shown = list(rows) if final or len(rows) <= height else list(rows[-height:])
        over = (f"\x1b[{self.n_rows}A" if self.n_rows else "") + "\r\x1b[J" if self.colours else ""
        lines = "".join(render(row, self.colours) + "\n" for row in shown)
        self.out.write(over + lines + ("" if self.colours or final else "\n"))
        self.out.flush()
        self.n_rows = len(shown)
