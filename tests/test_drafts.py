from __future__ import annotations

from diffusion.request import Draft, Hole
from lsp_server.suggest.drafts import Suggestion, completion_list, draft_params, inline_list, utf16_spans
from lsp_server.suggest.holes import Plan
from lsp_server.text.documents import snapshot


def test_spans_are_utf16() -> None:
    assert utf16_spans("a🜂b😀c", ((0, 1), (2, 4))) == [[0, 1], [3, 6]]


def test_a_draft_is_cut_with_its_spans() -> None:
    taken = snapshot("file:///a.py", "🜂 = print()\n", "python", version=3)
    draft = Draft(2, "a, b))", ((1, 2), (3, 6)), 0.5, 2)
    params = draft_params("t", Suggestion(taken, Plan(10, 11, (Hole(),), 0), "a, b)"), draft, keep=4)
    assert params == {
        "token": "t", "uri": "file:///a.py", "version": 3, "position": {"line": 0, "character": 11}, "step": 2,
        "range": {"start": {"line": 0, "character": 11}, "end": {"line": 0, "character": 12}},
        "text": "a, b)", "masked": [[1, 2], [3, 4]], "confidence": 0.5, "done": False,
    }  # fmt: skip


def test_the_item_covers_what_it_replaces_on_one_line() -> None:
    taken = snapshot("file:///a.py", "print(na)\n", "python", encoding="utf-16")
    [item] = inline_list([Suggestion(taken, Plan(7, 9, (Hole(),), 0), "ame,\n  2)")]).items
    assert item.insert_text == "ame,\n  2)"
    assert (item.range.start.line, item.range.start.character) == (0, 7)
    assert (item.range.end.line, item.range.end.character) == (0, 9)
    assert inline_list([]).items == []


def test_a_plain_item_begins_with_the_word_before_the_cursor() -> None:
    taken = snapshot("file:///a.py", "print(na)\n", "python")
    [item] = completion_list([Suggestion(taken, Plan(8, 8, (Hole(),), 0), "me,\nx")]).items
    assert item.label == "name,"
    assert item.filter_text == "name,\nx"
    assert item.text_edit.new_text == "name,\nx"
    assert item.text_edit.range.start.character == 6
