from __future__ import annotations

import pytest

from diffusion.request import Hole
from lsp_server.options import Options
from lsp_server.suggest.context import frame, infill_request, windows
from lsp_server.suggest.holes import plan_at
from lsp_server.text.documents import snapshot

LINES = "".join(f"line {number}\n" for number in range(1000))


def test_a_short_file_is_seen_whole_and_with_lf_line_ends() -> None:
    assert windows("a\r\nb|c\r\nd", 4, 5, 8000, 4000) == ("a\nb", "c\nd")


def test_windows_are_cut_at_line_breaks_and_within_limits() -> None:
    for cursor in range(3000, 3400, 7):
        prefix, suffix = windows(LINES, cursor, cursor, 1000, 400)
        assert LINES[:cursor].endswith(prefix)
        assert LINES[cursor:].startswith(suffix)
        assert 700 <= len(prefix) <= 1000
        assert 250 <= len(suffix) <= 400
        assert prefix.startswith("line ")
        assert suffix.endswith("\n")


def test_typing_keeps_the_beginning_of_the_prefix_and_the_suffix() -> None:
    cursor = LINES.index("line 400") + 8
    starts, suffixes = set(), set()
    for n_typed in range(50):
        text = LINES[:cursor] + "x" * n_typed + LINES[cursor:]
        prefix, suffix = windows(text, cursor + n_typed, cursor + n_typed, 1000, 400)
        starts.add(prefix[:20])
        suffixes.add(suffix)
    assert len(starts) <= 2
    assert len(suffixes) == 1


def test_a_file_of_one_long_line_is_cut_all_the_same() -> None:
    prefix, suffix = windows("x" * 100_000, 50_000, 50_000, 1000, 400)
    assert 700 <= len(prefix) <= 1000
    assert len(suffix) <= 400


def test_the_request_and_its_frame() -> None:
    taken = snapshot("file:///a.py", "import os\nprint(os.pa)\nx = 1\n", "python")
    plan = plan_at(taken, taken.text.index("a)"))
    assert plan is not None
    request = infill_request(taken, plan, Options(deadline_ms=0))
    assert (request.prefix, request.suffix) == ("import os\nprint(os.p", "\nx = 1\n")
    assert request.middle == (Hole(16), ")")
    assert request.deadline_ms is None
    around = frame(taken, plan)
    assert (around.statement, around.replaced, around.kept) == ("print(os.p", "a", ")")
    assert around.after == ")\nx = 1\n"


@pytest.mark.parametrize(
    ("uri", "name"),
    [("file:///p/a%20b.py", "a b.py"), ("untitled:Untitled-1", "Untitled-1"), ("C:\\p\\a.py", "a.py"), ("", "")],
)
def test_the_request_says_what_language_it_is_in_and_the_files_name_alone(uri: str, name: str) -> None:
    taken = snapshot(uri, "x = 1\n", "python")
    plan = plan_at(taken, 4)
    assert plan is not None
    request = infill_request(taken, plan, Options())
    assert (request.language, request.path) == ("python", name)
