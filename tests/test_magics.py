from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.text.documents import Documents
from lsp_server.text.magics import is_foreign, masked

MAGICS = [
    "%matplotlib inline", "%pip install 'x", "!ls *.py > \"a", "!rm -r (", "?os", "??os.path", "os?", "os.path??",
    "%ls?", "files = !ls", "t = %timeit -o f()", "%%capture out", "%time f(x)", "%timeit -n 10 -r 3 f(x)", "%time",
    "%alias é echo (", "a, b = !echo", "%%time", "!", "%cd /tmp\r", "%automagic\t",
]  # fmt: skip
PYTHON = ["x = a % b", "x = 'a?'", "assert a != b", "'%s' % x", "# what?", "f(a,\n  %b)", "", "x = '''\n!=\n'''"]


def tree_of(text: str, uri: str = "vscode-notebook-cell:/n.ipynb#W0") -> object:
    documents = Documents()
    documents.open(uri, 1, "python", text)
    document = documents.get(uri)
    assert document is not None
    return document.snapshot().tree


@pytest.mark.parametrize("magic", MAGICS)
def test_a_cell_with_a_magic_parses_and_the_code_around_it_is_there(magic: str) -> None:
    text = f"if a:\n    pass\n{magic}\ndef f(x):\n    return x\n"
    root = tree_of(text).root_node  # type: ignore[attr-defined]
    assert not root.has_error
    assert [node.type for node in root.children if node.type.endswith("definition")] == ["function_definition"]
    assert tree_of(text, "file:///a.py").root_node.has_error  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", PYTHON)
def test_python_is_parsed_as_it_is(text: str) -> None:
    assert tree_of(text).root_node.has_error == tree_of(text, "file:///a.py").root_node.has_error  # type: ignore[attr-defined]


def test_a_block_whose_only_statement_is_a_magic_is_sound() -> None:
    assert not tree_of("if a:\n    %run x.py\nelse:\n    !ls\n").root_node.has_error  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "foreign"),
    [("%%bash\nls", True), ("\n%%html\n<b>", True), ("%%time\nx", False), ("%bash", False), ("x\n%%bash", False)],
)
def test_some_cell_magics_make_another_language_of_a_cell(text: str, foreign: bool) -> None:
    assert is_foreign(text) == foreign


def test_a_cell_of_another_language_is_all_comments() -> None:
    root = tree_of("%%bash\nfor i in é; do\n  echo 'a\ndone\n").root_node  # type: ignore[attr-defined]
    assert not root.has_error


@given(st.text(st.sampled_from("%!?=(a \té\n\r'\"-1")))
def test_as_many_bytes_come_out_as_go_in_line_for_line_and_once_is_enough(text: str) -> None:
    source = text.encode()
    found = masked(source)
    assert len(found) == len(source)
    assert [i for i, byte in enumerate(found) if byte in b"\r\n"] == [
        i for i, byte in enumerate(source) if byte in b"\r\n"
    ]
    assert masked(found) == found
