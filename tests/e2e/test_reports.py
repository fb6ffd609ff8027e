"""What users reported of other completion tools, tried on the real server with an engine that says what theirs did.

docs/reports.md is the table of the reports; those about an editor are in the tests of that editor.
"""

from __future__ import annotations

import asyncio

import pytest
from conftest import Run
from editor import PATIENCE_S, Editor
from lsprotocol import types
from scripts import Rule, goes_on, rule

URI = "file:///report.py"
INVOKED = types.InlineCompletionTriggerKind.Invoked


def mark(code: str) -> tuple[str, int, int]:
    """A text and the line and column (UTF-16 units) of the cursor in it."""
    before = code[: code.index("¦")]
    line = before.rpartition("\n")[2]
    return code.replace("¦", ""), before.count("\n"), len(line.encode("utf-16-le")) // 2


def accepted(code: str, item: types.InlineCompletionItem) -> str:
    """The text after a user has accepted an item at the mark."""
    text, line, column = mark(code)
    assert item.range is not None and item.range.start == types.Position(line, column)
    assert item.range.end.line == line and isinstance(item.insert_text, str)
    lines = text.split("\n")
    units = lines[line].encode("utf-16-le")
    rest = units[2 * item.range.end.character :].decode("utf-16-le")
    lines[line] = units[: 2 * column].decode("utf-16-le") + item.insert_text + rest
    return "\n".join(lines)


def after_accepting(run: Run, code: str, *rules: Rule, language: str = "python", by_hand: bool = False) -> str | None:
    """The text after the first item was accepted; None if there is none."""
    found: list[str] = []

    async def test(client: Editor) -> None:
        text, line, column = mark(code)
        client.open(URI, text, language)
        kind = INVOKED if by_hand else types.InlineCompletionTriggerKind.Automatic
        answer = await asyncio.wait_for(client.ask(URI, line, column, kind=kind), PATIENCE_S)
        found.extend(accepted(code, item) for item in answer.items)

    run(test, *rules)
    return found[0] if found else None


@pytest.mark.parametrize(
    ("code", "said", "becomes"),
    [
        ('print(f"{¦}")\n', 'name}")', 'print(f"{name}")\n'),
        ('print(f"{¦}")\n', "name}", 'print(f"{name}")\n'),
        ("x = {'a': [¦]}\n", "1, 2]}", "x = {'a': [1, 2]}\n"),
    ],
)
def test_no_brace_is_added_that_stands_behind_the_cursor(run: Run, code: str, said: str, becomes: str) -> None:
    """codota/TabNine #102."""
    assert after_accepting(run, code, rule("", said)) == becomes


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("total = add(a, b)\n¦\n", "total = add(a, b)"),
        ("def f(a, b):\n    total = add(a, b)\n    ¦\n", "total = add(a, b)"),
    ],
)
def test_what_was_just_accepted_is_not_offered_once_more(run: Run, code: str, said: str) -> None:
    """sourcegraph/cody #944."""
    assert after_accepting(run, code, rule("", said)) is None


def test_the_beginning_of_the_line_is_not_put_in_again(run: Run) -> None:
    """Pierrad/obsidian-github-copilot #110."""
    assert after_accepting(run, "total = ¦\n", rule("", "total = add(a, b)")) == "total = add(a, b)\n"


def test_lines_that_follow_already_are_not_offered(run: Run) -> None:
    """microsoft/vscode-copilot-release #11402; and, with blanks behind a line, sourcegraph/cody PR 542."""
    code = "def total(self):\n    ¦\n    for item in self.items:\n        result += item.price\n    return result\n"
    said = "result = 0\n    for item in self.items:   \n        result += item.price\n    return result"
    assert after_accepting(run, code, rule("", said)) == code.replace("¦", "result = 0")
    assert after_accepting(run, code, rule("", said.partition("\n    ")[2])) is None


@pytest.mark.parametrize("said", ["'./copilot.js';\n", "'./copilot.js';\n\n", "'./copilot.js';  \n"])
def test_no_line_break_and_no_blanks_are_added_at_the_end(run: Run, said: str) -> None:
    """sublimelsp/LSP-copilot #217, sourcegraph/cody PR 542."""
    code = "import Foo from './foo.js';\nimport Complete from ¦\nimport Bar from './bar.js';\n"
    text = after_accepting(run, code, rule("", said), language="javascript")
    assert text == code.replace("¦", "'./copilot.js';")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("total = price¦ * (1 - rate)\n", " + shipping"),
        ("call(first, ¦, third)  # all of them\n", "second"),
        ("for item in ¦:\n    pass\n", "self.items"),
        ("value = settings['¦'] or 3\n", "port"),
    ],
)
def test_accepting_leaves_the_rest_of_the_line(run: Run, code: str, said: str) -> None:
    """zed-industries/zed #18615."""
    assert after_accepting(run, code, rule("", said), by_hand=True) == code.replace("¦", said)


@pytest.mark.parametrize(
    ("code", "said"), [("def Funf¦ction(self):\n", "other(self, name)"), ("clas¦s A:\n", "sify(a)")]
)
def test_nothing_is_offered_amid_a_word_that_would_not_end_as_it_does(run: Run, code: str, said: str) -> None:
    """hrsh7th/nvim-cmp #2035."""
    assert after_accepting(run, code, rule("", said)) is None


@pytest.mark.parametrize(
    ("code", "said", "becomes"),
    [
        ("# Multiply Bezout¦\n", "'s identity", "# Multiply Bezout's identity\n"),
        ('say("it¦")\n', "'s fine", 'say("it\'s fine")\n'),
        ("x = '¦\n", "a b'", "x = 'a b'\n"),
    ],
)
def test_a_quote_is_there_once(run: Run, code: str, said: str, becomes: str) -> None:
    """codota/tabnine-vscode #152, microsoft/pylance-release #8037."""
    assert after_accepting(run, code, rule("", said), by_hand=True) == becomes


def test_typing_all_that_a_suggestion_says_leaves_nothing_of_it(run: Run) -> None:
    """copilot-emacs/copilot.el #133: the last character came once more."""
    said = "fn(b);"

    async def test(client: Editor) -> None:
        client.open(URI, "const a = \n", "javascript")
        for number, char in enumerate(said):
            [item] = await client.items(URI, 0, 10 + number)
            assert item.insert_text == said[number:]
            client.change(URI, (0, 10 + number), (0, 10 + number), char)
        assert await client.items(URI, 0, 10 + len(said)) == []

    run(test, rule("const a = ", said))


@pytest.mark.parametrize("said", ["  range(0, 101):", " range(0, 101):"])
def test_behind_a_blank_no_blanks_come(run: Run, said: str) -> None:
    """Aincvy/vscode-fauxpilot PR 1, microsoft/vscode-copilot-release #13140."""
    code = "for i in ¦\n    pass\n"
    assert after_accepting(run, code, rule("", said)) == code.replace("¦", "range(0, 101):")


def test_after_many_cancelled_requests_the_next_one_is_answered(run: Run) -> None:
    """swiftlang/sourcekit-lsp #1890."""

    async def test(client: Editor) -> None:
        client.open(URI, "x = \n")
        for number in range(30):
            asked = client.ask(URI, 0, 4, id=f"cancelled-{number}")
            client.cancel_request(types.CancelParams(f"cancelled-{number}"))
            with pytest.raises(Exception, match="(?i)cancel"):
                await asyncio.wait_for(asked, PATIENCE_S)
        client.change(URI, (0, 0), (0, 1), "y")
        [item] = await client.items(URI, 0, 4)
        assert item.insert_text == "value"

    run(test, rule("y = ", "value"), goes_on("x = "))


def test_a_renamed_file_is_completed_and_its_old_name_is_quietly_nothing(run: Run) -> None:
    """apache/netbeans #7806."""

    async def test(client: Editor) -> None:
        client.open("file:///old.py", "x = \n")
        client.close("file:///old.py")
        client.open("file:///new.py", "x = \n")
        assert await client.items("file:///old.py", 0, 4) == []
        [item] = await client.items("file:///new.py", 0, 4)
        assert item.insert_text == "value"
        assert client.messages == []

    run(test, rule("x = ", "value"))


def test_a_byte_order_mark_is_a_character_like_another(run: Run) -> None:
    """rcjsuen/dockerfile-language-service #112."""
    code = "\ufeffimport os\nname = os.¦\n"
    assert after_accepting(run, code, rule("os.", "getcwd()")) == code.replace("¦", "getcwd()")
    code = "\ufeffname = ¦\n"
    assert after_accepting(run, code, rule("name = ", "'value'")) == code.replace("¦", "'value'")


def test_lines_moved_up_and_down_in_a_language_that_is_off_cost_no_pass(run: Run) -> None:
    """Exafunction/codeium #17."""

    async def test(client: Editor) -> None:
        client.open(URI, "a = 1\n" * 500, "not-a-language-that-is-known")
        before = await client.stats()
        for _ in range(50):
            client.change(URI, (10, 0), (12, 0), "")
            client.change(URI, (9, 0), (9, 0), "a = 1\na = 1\n")
        after = await client.stats()
        assert after.forwardPasses == before.forwardPasses
        assert client.drafts == []

    run(test, rule("", "value"))


def test_suggestions_do_not_change_what_is_on_screen_before_the_popup_has_its_word(run: Run) -> None:
    """microsoft/vscode #321733: with an entry selected, the text begins with it, or there is none."""

    async def test(client: Editor) -> None:
        client.open(URI, "this.va\n", "javascript")
        span = types.Range(types.Position(0, 5), types.Position(0, 7))
        ask = client.ask(URI, 0, 7, entry=types.SelectedCompletionInfo(span, "valueOf"))
        for item in (await asyncio.wait_for(ask, PATIENCE_S)).items:
            assert item.insert_text.startswith("valueOf")

    run(test, rule("this.va", "lidate(number)"), rule("valueOf", "()"))
