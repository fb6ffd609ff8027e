from __future__ import annotations

import pytest

from lsp_server.cleanup import Frame, clean


@pytest.mark.parametrize(
    ("before", "text", "replaced", "after", "expected"),
    [
        ("x = ", "1", "", "\ny = 2\n", "1"),
        # closers that follow the cursor
        ("print(", "x)", "", ")\n", "x"),
        ("print(", "foo(x)", "", ")\n", "foo(x)"),
        ("print(foo(", "x))", "", ")\n", "x)"),
        ("print(", "x", ")", "\n", "x)"),
        ("print(", "x))", ")", "\n", "x)"),
        ("foo(bar(", "1), 2", "))", "\n", "1), 2)"),
        ("foo(bar(", "1", "))", "\n", "1))"),
        ("foo(", "a, (b, c", ")", "\n", "a, (b, c"),  # not ours to close: it was cut short
        ("foo(\n    a,\n    ", "b)", "", "\n)\n", "b"),
        ("x = ", "y)", "", "\n", "y"),
        ("x = [", "1)", "", "\n", "1"),
        # what stands on the rest of the line
        ("if ", "a == b:", "", ":\n", "a == b"),
        ("x = ", "a + b", "", " + b\n", "a"),
        ("x = ", "foo(a) + tail", "", " + tail + more\n", "foo(a)"),
        ("if (", "foo(x)", "", "):\n", "foo(x)"),
        ("x = ", "abc", "", "c2\n", "abc"),  # one letter is no repetition
        # lines that follow
        ("", "total = 1\nreturn total", "", "\nreturn total\n", "total = 1"),
        ("    ", "a = 1\n    b = 2\n    c = 3", "", "\n    b = 2\n    c = 3\n", "a = 1"),
        ("", "return total", "", "\n    return total\n", None),
        ("x = ", "foo()", "", "\nfoo()\n", "foo()"),  # the same value, not the same line
        ("", "a = 1\n)\n", "", "\n)\n", "a = 1"),
        # spaces
        ("x = ", "1   ", "", "\n", "1"),
        ("x = ", "1 ", "", "+ 2\n", "1 "),
        ("    ", "pass\n\n    ", "", "\n", "pass"),
        # nothing left
        ("x = ", "   ", "", "\n", None),
        ("x", "", "", "\n", None),
        ("print(", ")", ")", "\n", None),
        ("fo", "o", "o", "\n", None),
    ],
)
def test_clean(before: str, text: str, replaced: str, after: str, expected: str | None) -> None:
    cleaned = clean(text, Frame(before, replaced, after))
    assert (cleaned.of(text) if cleaned else None) == expected
