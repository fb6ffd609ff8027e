"""The tree at the cursor: as deep or wide as code may be, a bounded number of its nodes is looked at."""

from __future__ import annotations

import ast
import gc
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import tree_sitter

from lsp_server.suggest.holes import place_at, plan_at
from lsp_server.text import syntax
from lsp_server.text.documents import snapshot
from lsp_server.text.syntax import MAX_DEPTH, parse, path_to, spot_at

SUM = "x=" + "a.b(c)+" * 60_000 + "1\n"  # 420 kB, and as deep as it has terms


class CountedTree:
    """A tree that counts how often a cursor goes down in it."""

    def __init__(self, tree: tree_sitter.Tree) -> None:
        self.tree = tree
        self.root_node = tree.root_node
        self.steps = 0

    def walk(self) -> CountedTree:
        self.cursor = self.tree.walk()
        return self

    @property
    def node(self) -> tree_sitter.Node | None:
        return self.cursor.node

    def goto_first_child_for_byte(self, byte: int) -> int | None:
        self.steps += 1
        return self.cursor.goto_first_child_for_byte(byte)


class CountedQuery:
    """A query cursor that counts the nodes it is given, and fails where it would look into them."""

    def __init__(self, query: tree_sitter.Query) -> None:
        self.cursor, self.depth, self.n_nodes = tree_sitter.QueryCursor(query), -1, 0

    def set_max_start_depth(self, depth: int) -> None:
        self.cursor.set_max_start_depth(depth)
        self.depth = depth

    def captures(self, node: tree_sitter.Node) -> dict[str, list[tree_sitter.Node]]:
        assert self.depth == 0
        self.n_nodes += 1
        return self.cursor.captures(node)


@pytest.mark.parametrize(
    ("language", "code", "offset", "most"),
    [
        pytest.param("python", SUM, 3, MAX_DEPTH + 1, id="at the deep end of a sum"),
        pytest.param("python", SUM, len(SUM) // 2, MAX_DEPTH + 1, id="in the middle of a sum"),
        pytest.param("python", SUM, len(SUM), 5, id="behind a sum"),
        pytest.param("python", SUM[:-2], len(SUM) - 2, 5, id="at the end of an unfinished sum"),
        pytest.param("json", "[" * 50_000, 50_000, 5, id="brackets of JSON"),
        pytest.param("json", "[" * 50_000, 25_000, 5, id="between brackets of JSON"),
        pytest.param("json", "[" * 50_000 + "]" * 50_000, 50_000, MAX_DEPTH + 1, id="closed brackets of JSON"),
        pytest.param("python", "(" * 20_000, 20_000, 5, id="brackets of Python"),
        pytest.param("python", "x = " + "(" * 1500 + "1 +" + ")" * 1500, 1507, 1520, id="an error in brackets"),
    ],
)
def test_a_plan_looks_at_a_bounded_number_of_nodes(
    language: str, code: str, offset: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = snapshot("file:///a", code, language)
    tree: Any = CountedTree(taken.tree)  # type: ignore[arg-type]
    query = CountedQuery(syntax.query_for(language))
    monkeypatch.setattr(tree_sitter, "QueryCursor", lambda _: query)
    vars(taken)["tree"] = tree  # where a cached property is
    assert plan_at(taken, offset) is not None
    assert 0 < tree.steps <= 3 * most  # before the cursor, behind it, where its line begins
    assert 0 < query.n_nodes <= 3 * most


def test_no_node_is_asked_for_its_parent_or_sibling() -> None:
    """Each is a walk from the root: in a loop that is quadratic, in depth or in width."""
    for path in Path(syntax.__file__).parent.glob("*.py"):
        code = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(code)) if "tree_sitter" in code or "syntax" in code else ():
            if isinstance(node, ast.Attribute) and node.attr in ("parent", "next_sibling", "prev_sibling"):
                assert ast.unparse(node).startswith("Path("), f"{path.name}:{node.lineno}"


def test_the_path_ends_at_the_smallest_node_that_holds_the_byte() -> None:
    code = "def f(a):\n    if a:\n        return g('é', a[1])\n"
    tree = syntax.parse("python", code.encode())
    assert tree is not None
    for byte in range(len(code.encode())):
        path = path_to(tree, byte)
        assert path[0] == tree.root_node
        assert path[-1] == tree.root_node.descendant_for_byte_range(byte, byte + 1)
        assert all(node.parent == outer for outer, node in zip(path, path[1:], strict=False))


def test_the_path_is_cut_where_no_code_is_so_deep() -> None:
    tree = syntax.parse("python", SUM.encode())
    assert tree is not None
    spot = spot_at(tree, "python", 3, 0)
    assert spot.is_cut
    assert len(spot.path) == MAX_DEPTH + 1
    assert [node.type for node in spot.captures["block"]] == ["module"]
    assert syntax.statement_start(spot) == 0


def test_below_the_cut_the_line_says_what_is_a_string() -> None:
    code = "x = " + '"some text" + ' * (2 * MAX_DEPTH) + "y\n"
    taken = snapshot("file:///a.py", code, "python")
    place = place_at(taken, code.index("text"))
    assert (place.inside, place.quote) == ("string", '"')
    assert place_at(taken, code.index("+") + 1).inside == ""


def test_within_the_depth_of_real_code_the_tree_says_what_is_a_string() -> None:
    code = "x = " + "(" * 1500 + "'some # text'" + ")" * 1500 + "\n"
    assert place_at(snapshot("file:///a.py", code, "python"), code.index(" text")).inside == "string"


def test_no_character_of_a_shell_script_ends_the_process() -> None:
    """Its grammar's scanner reads behind a table of 256: what is there differs from process to process."""
    code = (
        "from lsp_server.text.syntax import parse\n"
        "for n in range(0x80, 0x110000, 0x7ff): parse('shellscript', b'{' + chr(n).encode('utf-8', 'replace'))"
    )
    for _ in range(3):
        subprocess.run([sys.executable, "-c", code], check=True)


def test_a_shell_script_keeps_its_places_where_it_is_not_ascii() -> None:
    source = 'größe="ä"\necho "$größe"\n'.encode()
    tree = parse("shellscript", source)
    assert tree is not None and tree.root_node.end_byte == len(source) and not tree.root_node.has_error


def test_a_parse_leaves_nothing_of_its_source_behind() -> None:
    source = b"value = other(first, second)\n" * 2_000
    syntax.parse("python", source)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(20):
            syntax.parse("python", source)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < len(source)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("tail", ["", "a", "é", "漢", "😀", "é漢", "漢😀", "😀é漢a", "é" * 31, "漢" * 30, "😀" * 33])
def test_pieces_of_any_size_are_read_as_the_whole_is(tail: str) -> None:
    for n in (0, 1, 2, 3, 5, 4_090, 4_091, 4_092, 4_093, 4_094, 4_095, 4_096):
        source = ("#" * n + "\n'" + tail).encode()
        read, whole = syntax.parse("python", source), syntax.new_parser("python").parse(source)
        assert read is not None and str(read.root_node) == str(whole.root_node)
        assert read.root_node.end_byte == whole.root_node.end_byte
