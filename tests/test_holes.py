from __future__ import annotations

import pytest

from diffusion.request import Hole
from lsp_server.documents import snapshot
from lsp_server.holes import Plan, plan_at

LINE, WITHIN, BLOCK = Hole(32), Hole(16), Hole(64, multiline=True)


def plan(marked: str, language: str = "python", **options: object) -> tuple[Plan | None, str]:
    """The plan at the mark, and the text that it replaces."""
    offset = marked.index("¦")
    taken = snapshot("file:///a", marked.replace("¦", ""), language)
    found = plan_at(taken, offset, **options)  # type: ignore[arg-type]
    assert found is None or found.start == offset
    return found, "" if found is None else taken.text[found.start : found.end]


@pytest.mark.parametrize(
    ("code", "hole", "replaced"),
    [
        ("x = ¦\n", LINE, ""),
        ("def f(a):\n    ¦\n", BLOCK, ""),
        ("def f(a):\n    x = 1\n    ¦\n    return x\n", BLOCK, ""),
        ("def f(a):\n    x = foo(\n        ¦\n    y = 1\n", LINE, ""),
        ("x = [\n    1,\n    ¦\n]\n", LINE, ""),
        ("print(¦)\n", LINE, ")"),
        ("foo(bar(¦))\n", LINE, "))"),
        ("foo(bar(¦), 2)\n", WITHIN, ""),
        ("def f(¦):\n    pass\n", WITHIN, ""),
        ("fo¦o(1)\n", WITHIN, "o"),
        ("print(na¦me)\n", LINE, "me)"),
        ("x = ¦name\n", WITHIN, ""),
        ("x = ¦  # why\n", WITHIN, ""),
        ("if x == 1:\n    ¦", BLOCK, ""),
        ("class A:\n    def f(self):\n        self.¦\n\n    def g(self): pass\n", LINE, ""),
        ("for i in ran¦\n", LINE, ""),
        ("f'{a.¦}'\n", WITHIN, ""),
        ("x = 'abc'¦\n", LINE, ""),
        ("é = '🜂'\nna¦me = 1\n", WITHIN, "me"),
    ],
)
def test_holes_in_python(code: str, hole: Hole, replaced: str) -> None:
    found, text = plan(code)
    assert found is not None
    assert (found.hole, text) == (hole, replaced)


@pytest.mark.parametrize(
    "code",
    [
        "¦",
        "  \n¦\n",
        "x = 1  # a comm¦ent\n",
        "x = 1  # a comment¦\n",
        "x = 'ab¦c'\n",
        "x = 'ab¦\ny = 1\n",
        'def f():\n    """Do ¦\n    things."""\n',
        "f'{a} ¦'\n",
        'if x == "ab¦',
    ],
)
def test_nothing_is_offered_in_strings_comments_and_empty_files(code: str) -> None:
    assert plan(code) == (None, "")


def test_line_rules_for_languages_without_a_grammar() -> None:
    found, replaced = plan("let x = foo(ba¦r)\n", "xyz")
    assert found is not None
    assert (found.hole, replaced) == (LINE, "r)")
    found, _ = plan("fn main() {\n    ¦\n}\n", "xyz")
    assert found is not None
    assert found.hole == LINE


def test_options_limit_the_hole() -> None:
    found, _ = plan("def f(a):\n    ¦\n", multiline=False, max_tokens=16)
    assert found is not None
    assert found.hole == Hole(16)
