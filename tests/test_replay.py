"""The replay's user, and a small real run."""

from __future__ import annotations

import random
from dataclasses import asdict

from hypothesis import given
from hypothesis import strategies as st

from diffusion.evaluate.cases import SourceFile
from lsp_server.tools.replay import functions, n_errors, run
from lsp_server.tools.typist import Typist
from tests.models import SMALL

FILE = """import os


def names(folder):
    found = os.listdir(folder)
    return sorted(found)


def other(folder):
    return folder
"""

SCRIPT = """const a = 1

function names(folder) {
  return folder.files
}
"""


@given(st.text("ab(){}[]'\"\n :=", max_size=60), st.text("ab)\n ", max_size=10), st.integers(0, 99), st.booleans())
def test_the_keys_write_the_text(truth: str, after: str, seed: int, auto_close: bool) -> None:
    typist = Typist("x = 1\n", truth, after, random.Random(seed), auto_close)
    whole = typist.text
    for key in typist.keys():
        whole = whole[: key.start] + key.new + whole[key.stop :]
        typist.splice(*key[:4])
        assert typist.text == whole
    assert typist.before == "x = 1\n" + truth
    assert typist.after == after


def test_an_editor_that_closes_brackets_lets_them_be_typed_over() -> None:
    typist = Typist("", "f(a)", "\n", random.Random(1), auto_close=True)
    texts = []
    for key in typist.keys():
        typist.splice(*key[:4])
        texts.append(typist.text)
    assert texts == ["f\n", "f()\n", "f(a)\n", "f(a)\n"]


def test_enter_between_braces_gives_the_closing_one_a_line_of_its_own() -> None:
    typist = Typist("", "f {\n  a\n}", "\n", random.Random(1), auto_close=True)
    texts = []
    for key in typist.keys():
        typist.splice(*key[:4])
        texts.append(typist.text)
    assert texts == ["f\n", "f \n", "f {}\n", "f {\n  \n}\n", *["f {\n  a\n}\n"] * 3]


def test_an_editor_closes_no_quote_that_ends_a_string() -> None:
    typist = Typist("", 'f(g"{a}")', "\n", random.Random(1), auto_close=True)
    for key in typist.keys():
        typist.splice(*key[:4])
    assert (typist.before, typist.pending) == ('f(g"{a}")', "")


def test_a_suggestion_may_replace_the_closers_behind_the_cursor() -> None:
    typist = Typist("", "f(abc)", "\n", random.Random(1), auto_close=True)
    for key in [key for key, _ in zip(typist.keys(), range(0), strict=False)]:
        typist.splice(*key[:4])
    typist.splice(0, 0, "f", "f")
    typist.splice(1, 1, "()", "(")
    assert typist.agrees("abc)")
    assert not typist.agrees("abd)")
    assert not typist.agrees("ab")
    assert typist.right_chars("abd)") == 2
    typist.splice(2, 3, "abc)", "abc)")
    assert (typist.before, typist.pending, typist.text) == ("f(abc)", "", "f(abc)\n")


def test_functions_are_cut_whole_out_of_files_that_parse() -> None:
    [task] = functions(SourceFile("a.py", FILE))
    assert task.truth.startswith("def names(folder):")
    assert task.before + task.truth + task.after == FILE
    assert functions(SourceFile("a.py", FILE + ")")) == []
    assert n_errors(FILE, "python") == 0 < n_errors(FILE + ")", "python")


def test_functions_and_methods_of_javascript_and_typescript_are_cut_out() -> None:
    [found] = functions(SourceFile("a.js", SCRIPT))
    assert found.truth == "function names(folder) {\n  return folder.files\n}"
    method = "names(folder: string): string[] {\n    return read(folder)\n  }"
    assert [task.truth for task in functions(SourceFile("a.ts", f"class A {{\n  {method}\n}}\n"))] == [method]


def test_a_real_server_is_played_and_counted() -> None:
    counts = run(
        functions(SourceFile("a.py", FILE)), {"logLevel": "error", "threads": 1, "model": str(SMALL)}, 0, "test"
    )
    figures = counts.figures()
    assert counts.requests == counts.keystrokes > 0
    assert counts.forward_passes > 0
    assert counts.doubled == 0
    assert counts.accepted_chars + counts.keystrokes >= 60
    assert all(value >= 0 for value in figures.values())
    assert asdict(counts)["truth_chars"] == len(
        "def names(folder):\n    found = os.listdir(folder)\n    return sorted(found)"
    )
