import io
import os
import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.tools.drawing import (
    AROUND,
    DECIDED,
    FRESH,
    MASKED,
    Around,
    Cell,
    Screen,
    Stage,
    columns,
    render,
    rows_of,
    styles,
    wrap,
)

AROUND_HOLE = Around(["def f(x):"], "    return ", "  # end", ["", "def g():"], 12)
ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def text_of(rows: Iterable[list[Cell]]) -> list[str]:
    return ["".join(text for text, _ in row) for row in rows]


def test_undecided_is_masked_new_is_fresh_and_old_is_decided() -> None:
    before = Stage("x + y", [(2, 5)])
    now = Stage("x * yz", [(5, 6)])
    assert styles(now, before) == [DECIDED, DECIDED, FRESH, FRESH, FRESH, MASKED]


def test_without_a_stage_before_all_that_is_decided_is_fresh() -> None:
    assert styles(Stage("ab", [(1, 2)]), None) == [FRESH, MASKED]


def test_the_final_picture_is_the_file_with_its_completion() -> None:
    rows = rows_of(AROUND_HOLE, Stage("x +\n  1", []), None, 80, final=True)
    assert text_of(rows) == [
        "  11 │ def f(x):",
        "  12 │     return x +",
        "  13 │   1  # end",
        "  14 │ ",
        "  15 │ def g():",
    ]
    assert {style for row in rows for _, style in row} == {AROUND, DECIDED}


@given(st.text(), st.integers(10, 40))
def test_no_row_is_wider_than_the_terminal_and_no_character_is_lost(text: str, width: int) -> None:
    rows = list(wrap([(char, DECIDED) for char in text], width))
    assert all(sum(columns(char) for cell, _ in row for char in cell) <= width for row in rows)
    assert sum(len(row) for row in rows) == len(text)


@given(st.text(alphabet=st.characters(), max_size=30))
def test_no_character_of_a_file_reaches_the_terminal_as_a_control(text: str) -> None:
    shown = "".join(char for row in rows_of(AROUND_HOLE, Stage(text, []), None, 60) for char, _ in row)
    assert shown.isprintable() or not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)


def test_wide_characters_count_two_columns_and_combining_ones_none() -> None:
    assert [columns(char) for char in ("a", "漢", "\u0301")] == [1, 2, 0]


def test_tabs_become_spaces_up_to_the_next_stop() -> None:
    assert text_of(wrap([("a", DECIDED), ("\t", DECIDED), ("b", DECIDED)], 20)) == ["a   b"]


def test_an_undecided_line_break_is_shaded() -> None:
    rows = rows_of(AROUND_HOLE, Stage("a\nb", [(0, 3)]), None, 80)
    assert rows[1][-1] == (" ", MASKED)


def test_without_colours_masks_are_shades_and_there_are_no_escapes() -> None:
    assert render([("a", DECIDED), ("b", MASKED), ("漢", FRESH)], colours=False) == "a░漢"


def test_with_colours_every_row_ends_plain() -> None:
    row = render([("a", DECIDED), ("b", MASKED)], colours=True)
    assert row.endswith("\x1b[0m")
    assert ESCAPE.sub("", row) == "ab"


@pytest.mark.parametrize("n_lines", [2, 5])
def test_each_picture_goes_over_the_rows_of_the_one_before(n_lines: int) -> None:
    out = io.StringIO()
    screen = Screen(out, colours=True)
    screen.draw([[("a", DECIDED)]] * n_lines, final=False)
    screen.draw([[("b", DECIDED)]], final=True)
    assert f"\x1b[{n_lines}A\r\x1b[J" in out.getvalue()


def test_a_picture_taller_than_the_terminal_is_cut_until_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((80, 10)))
    out = io.StringIO()
    screen = Screen(out, colours=False)
    screen.draw([[(str(i), DECIDED)] for i in range(30)], final=False)
    assert screen.n_rows == 9
    screen.draw([[(str(i), DECIDED)] for i in range(30)], final=True)
    assert out.getvalue().endswith("".join(f"{i}\n" for i in range(30)))
