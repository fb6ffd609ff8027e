"""Cleanup, on a table of drafts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.suggest.cleanup import Frame, clean, cleaned, cut_for_good

# before, draft, kept, after (kept included), expected
CASES: list[tuple[str, str, str, str, str | None]] = [
    ("x = ", "1", "", "\ny = 2\n", "1"),
    # closers that follow the cursor
    ("print(", "x)", "", ")\n", "x"),
    ("print(", "foo(x)", "", ")\n", "foo(x)"),
    ("print(foo(", "x))", "", ")\n", "x)"),
    ("print(", "x)", ")", ")\n", "x)"),
    ("print(", "x))", ")", ")\n", "x)"),
    ("foo(bar(", "1), 2))", "))", "))\n", "1))"),
    ("foo(bar(", "1))", "))", "))\n", "1))"),
    ("foo(", "a, (b, c)", ")", ")\n", "a, (b, c)"),
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
    (
        "    ",
        "a = 1\n    b = 2\n    z = 3",
        "",
        "\n    b = 2\n    c = 3\n",
        "a = 1\n    b = 2\n    z = 3",
    ),  # not telling
    ("    ", "a = 1\n    total = 2\n    z = 3", "", "\n    total = 2\n    c = 3\n", "a = 1"),
    ("x = ", "foo()", "", "\nfoo()\n", "foo()"),  # the same value, not the same line
    ("", "a = 1\n)\n", "", "\n)\n", "a = 1"),
    # indentation
    ("    ", "a = 1\nb = 2", "", "\n", "a = 1"),
    ("    ", "a = 1\n    if b:\n        c()\n    d()", "", "\n", "a = 1\n    if b:\n        c()\n    d()"),
    ("\t", "a = 1\n    b = 2", "", "\n", "a = 1"),
    ("\t", "a = 1\n\tb = 2", "", "\n", "a = 1\n\tb = 2"),
    ("    ", "a = 1\n\n    b = 2", "", "\n", "a = 1\n\n    b = 2"),
    # what runs away
    ("x = ", "foo bar foo bar foo bar foo bar", "", "\n", "foo bar"),
    ("", "a = 1\na = 1\na = 1\na = 1", "", "\n", "a = 1"),
    ("", "a()\na()\nb()", "", "\n", "a()\na()\nb()"),  # twice may be meant
    ("x = [", "0, 0, 0, 0", "]", "]\n", "0, 0, 0, 0]"),
    ("    ", "a.update(items)\n    b = 1\n    a.update(items)\n    c = 2", "", "\n", "a.update(items)\n    b = 1"),
    (
        "",
        "if a:\n    return None, a\nelse:\n    return None, a",
        "",
        "\n",
        "if a:\n    return None, a\nelse:\n    return None, a",
    ),
    # a block without its lines
    ("    ", "a = 1\n    if b:", "", "\n    c()\n", "a = 1"),
    (
        "    ",
        "a = 1\n    if b:\n        d()\n    else:\n        for e in f:",
        "",
        "\n",
        "a = 1\n    if b:\n        d()",
    ),
    ("    ", "a = 1\n    if b:", "", "\n        c()\n", "a = 1\n    if b:"),
    ("    ", "if b:", "", "\n", "if b:"),  # a line alone may be the next thing that is typed
    # spaces
    ("x = ", "1   ", "", "\n", "1"),
    ("x = ", "1 ", "", "+ 2\n", "1 "),
    ("    ", "pass\n\n    ", "", "\n", "pass"),
    # characters cut in two
    ("x = ", "ab\ufffd", "", "\n", "ab"),
    # nothing left
    ("x = ", "   ", "", "\n", None),
    ("x", "", "", "\n", None),
    ("print(", ")", ")", ")\n", None),
    ("x = ", "\ufffd", "", "\n", None),
]


@pytest.mark.parametrize(("before", "text", "kept", "after", "expected"), CASES)
def test_clean(before: str, text: str, kept: str, after: str, expected: str | None) -> None:
    cleaned = clean(text, Frame(before, after, kept=kept))
    assert (cleaned.of(text) if cleaned else None) == expected


@pytest.mark.parametrize(
    ("text", "kept", "after", "expected"),
    [
        ("abc", "", "\n", "abc"),  # the model closes it, or nobody does
        ('abc")', "", "\n", 'abc")'),
        ('abc")', "", '")\n', "abc"),
        ('abc")")', '")', '")\n', 'abc")'),
        ('a \\" b")', '")', '")\n', 'a \\" b")'),
        ("it's (so", '"', '"\n', "it's (so\""),
        ("a\nb", "", "\n", "a"),
        ('"', '"', '"\n', None),
    ],
)
def test_clean_in_a_string(text: str, kept: str, after: str, expected: str | None) -> None:
    cleaned = clean(text, Frame('x = "', after, kept=kept, quote='"'))
    assert (cleaned.of(text) if cleaned else None) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a, b):\n    pass", "a, b):\n    pass"),
        ("):\n    pass", "):\n    pass"),
        ("a)):\n    pass", "a):"),
        ("a]):\n    return 1", "a):"),
        ("a\ufffd):\n    return 1", "a):"),
        ("abc abc abc abc):\n    pass", "abc):"),
        ("a):\nx = 1", "a):"),
        ("a):\n    b()\n    b()\n    b()", "a):\n    b()"),
        ("):", None),
        ("]):\n    pass", None),
        ("a, b", None),
    ],
)
def test_what_stands_between_two_holes_stays(text: str, expected: str | None) -> None:
    cleaned = clean(text, Frame("    def f(", "\n\nx = 1\n", between="):"))
    assert (cleaned.of(text) if cleaned else None) == expected


@pytest.mark.parametrize(
    ("before", "text", "after", "ends"),
    [
        ("print(", "x)", ")\n", True),
        ("print(", "x", ")\n", False),
        ("    ", "a = 1\nb", "\n", False),  # of its last line more may come
        ("    ", "a = 1\nb = 2\n", "\n", True),
        ("", "a.update(items)\na.update(items)", "\n", False),
        ("", "a.update(items)\na.update(items)\n", "\n", True),
        ("", "a = 1\n", "\nb = 2\n", False),
    ],
)
def test_a_text_is_over_where_cleanup_cuts_it_however_it_goes_on(
    before: str, text: str, after: str, ends: bool
) -> None:
    frame = Frame(before, after)
    assert cut_for_good(text, frame) == ends
    if ends:
        assert {cleaned(text + more, frame) for more in ("", " + c", "\nd = 3", ")]}")} == {cleaned(text, frame)}


def test_the_fixed_text_behind_a_hole_ends_nothing() -> None:
    frame = Frame("print(", ")\n", kept=")")
    assert not cut_for_good(")", frame) and not cut_for_good("x)", frame) and cut_for_good("x))", frame)


def test_the_identifier_that_is_replaced_by_itself_is_no_suggestion() -> None:
    assert clean("o", Frame("fo", "\n", replaced="o")) is None


@given(
    st.text("ab()[]{}'\"\n :,=", max_size=30),
    st.text("ab()[]{}'\"\n :,=", max_size=40),
    st.sampled_from(["", ")", "))", "]"]),
    st.text('ab)]}"\n ', max_size=20),
)
def test_a_cleaned_text_begins_the_draft_and_ends_in_what_is_kept(
    before: str, text: str, kept: str, after: str
) -> None:
    cleaned = clean(text, Frame(before, kept + after, kept=kept))
    if cleaned is not None:
        assert cleaned.of(text).endswith(kept)
        again = clean(cleaned.of(text), Frame(before, kept + after, kept=kept))
        assert again is not None and again.of(cleaned.of(text)) == cleaned.of(text)


@pytest.mark.parametrize("marker", ["<|fim_pad|>", "<|endoftext|>", "<｜fim▁end｜>"])
def test_a_models_own_tokens_and_what_follows_them_are_never_shown(marker: str) -> None:
    assert cleaned(f"call(a){marker}b", Frame("x = ", "\n")) == "call(a)"
    assert cleaned(marker, Frame("x = ", "\n")) == ""
    assert cleaned("a <|b", Frame("x = ", "\n")) == "a <|b"
