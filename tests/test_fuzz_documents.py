"""Edits, options and ignored names of any kind: a document is what a string is, its tree what a new parse gives."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lsp_server.options import Options, camel, from_client
from lsp_server.text import gitignore, syntax
from lsp_server.text.documents import MANY_EDITS, Documents, without_surrogates
from lsp_server.text.lines import Edit
from tests.fuzzing import fuzz

UNITS = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}
BYTES = {"utf-8": 1, "utf-16": 2, "utf-32": 4}
WORDS = [
    "def f(x):",
    "\n",
    "\r\n",
    "\r",
    "    ",
    '"',
    "'''",
    "{",
    "}",
    "(",
    ")",
    "é",
    "𝄞",
    "\ud834",
    "\0",
    "#",
    "`",
    "</",
    "x",
]
texts = st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=8).map("".join)
places = st.tuples(st.integers(0, 9), st.integers(0, 20))
edits = st.builds(Edit, places, places, texts) | texts


def lines_of(text: str) -> list[str]:
    """Lines with their ends, as LSP counts them; the last one has none."""
    lines, rest = [], text
    while rest:
        ends = [rest.find(end) for end in ("\r\n", "\n", "\r")]
        found = min((at for at in ends if at >= 0), default=-1)
        if found < 0:
            break
        size = found + (2 if rest[found : found + 2] == "\r\n" else 1)
        lines.append(rest[:size])
        rest = rest[size:]
    return [*lines, rest]


def offset(text: str, place: tuple[int, int], encoding: str) -> int:
    """Where a position is in a plain string: whole characters only, the end of the line or of the text at most."""
    lines = lines_of(text)
    if place[0] >= len(lines):
        return len(text)
    at, units = sum(map(len, lines[: place[0]])), 0
    for char in lines[place[0]].rstrip("\r\n"):
        units += len(char.encode(UNITS[encoding])) // BYTES[encoding]
        if units > place[1]:
            break
        at += 1
    return at


def edited(text: str, edit: Edit | str, encoding: str) -> str:
    """What an edit makes of a plain string."""
    if isinstance(edit, str):
        return without_surrogates(edit)
    start, end = sorted((offset(text, edit.start, encoding), offset(text, edit.end, encoding)))
    return text[:start] + without_surrogates(edit.text) + text[end:]


LANGUAGE_IDS = [
    "python",
    "javascript",
    "typescript",
    "c",
    "html",
    "json",
    "markdown",
    "shellscript",
]


@fuzz(150)
@given(
    text=texts,
    changes=st.lists(
        st.lists(edits, max_size=3) | st.lists(edits, min_size=MANY_EDITS + 1, max_size=MANY_EDITS + 3), max_size=6
    ),
    looks=st.sets(st.integers(0, 6)),
    language=st.sampled_from(LANGUAGE_IDS),
    encoding=st.sampled_from(sorted(UNITS)),
)
def test_a_document_is_what_a_plain_string_is_and_its_tree_what_a_new_parse_gives(
    text: str, changes: list[list[Edit | str]], looks: set[int], language: str, encoding: str
) -> None:
    documents = Documents(encoding)
    document = documents.open("file:///a", 0, language, text)
    assert document is not None
    plain = without_surrogates(text)
    for version, change in enumerate(changes, 1):
        documents.change("file:///a", version, change)
        for edit in change:
            plain = edited(plain, edit, encoding)
        snapshot = document.snapshot()
        assert snapshot.text == plain
        if version in looks or version == len(changes):
            fresh, tree = syntax.parse(snapshot.language, plain.encode(), None), snapshot.tree
            assert (fresh is None) == (tree is None)
            assert fresh is None or tree is None or str(tree.root_node) == str(fresh.root_node)


NAMES = [camel(name) for name in Options.__dataclass_fields__] + ["", "unknown"]
leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
value = st.recursive(
    leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner), max_leaves=6
)


@fuzz(100)
@given(st.dictionaries(st.sampled_from(NAMES), value, max_size=8) | value)
def test_options_of_any_kind_are_taken_or_complained_of(raw: Any) -> None:
    options, problems = from_client(raw)
    assert all(problem.endswith(".") for problem in problems)
    assert from_client(json.loads(json.dumps({})))[0] == Options()
    for name, field in Options.__dataclass_fields__.items():
        assert type(getattr(options, name)) is type(field.default)


@fuzz(100)
@given(
    lines=st.lists(st.text(st.sampled_from("!\\/[]*?^-az:# {}\t\r\0é\udc80"), max_size=8), max_size=5),
    parts=st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=4),
)
def test_a_gitignore_of_any_kind_says_yes_or_no_of_every_name(lines: list[str], parts: list[str]) -> None:
    rules = gitignore.parse("\n".join(lines))
    assert gitignore.verdict(rules, tuple(parts), is_folder=False) in (True, False, None)
