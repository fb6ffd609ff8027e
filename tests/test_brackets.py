from __future__ import annotations

import pytest

from lsp_server.brackets import in_string, still_open, surplus_closers


@pytest.mark.parametrize(
    ("code", "left_open"),
    [
        ("", ""), ("f(a", "("), ("f(a[1]", "("), ("f(a[1", "(["), ("f(')')", ""), ("f('(", "("), ("# (\n[", "["),
        ('x = """(\n[""" + (', "("), ("{'a': [1, (2, 3)]", "{"), ("f(a]", "("), (r"'\'(' + [", "["),
    ],
)  # fmt: skip
def test_still_open(code: str, left_open: str) -> None:
    assert still_open(code) == left_open


def test_surplus_closers() -> None:
    assert surplus_closers("a), b]\n") == ")]"
    assert surplus_closers("(a), '}'\n") == ""


@pytest.mark.parametrize(
    ("code", "inside"),
    [
        ("x = 'ab", True), ("x = '", True), ("x = ''", False), ("x = 'ab'", False), ("x = 'ab' + y", False),
        ("x = '''a'b", True), ("# it's", False), ("x = \"it's", True), ("x = 'a\n", False), ("", False),
    ],
)  # fmt: skip
def test_in_string(code: str, inside: bool) -> None:
    assert in_string(code) == inside
