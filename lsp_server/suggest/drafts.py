"""What clients get: a Draft as a `mezzotint/draft` notification, finished ones as a list of items.

Rule: code points in, UTF-16 spans of the text out (`masked`), whatever position encoding was negotiated.

    protocol.notify(DRAFT, draft_params(token, suggestion, draft, keep))
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lsprotocol import types

from diffusion.request import Draft
from lsp_server.suggest.holes import Plan
from lsp_server.text.documents import Snapshot
from lsp_server.text.lines import count_units

DRAFT = "mezzotint/draft"
STATUS = "mezzotint/status"


class Suggestion(NamedTuple):
    """A finished text for the hole `plan` of `snapshot`."""

    snapshot: Snapshot
    plan: Plan
    text: str


def utf16_spans(text: str, spans: tuple[tuple[int, int], ...]) -> list[list[int]]:
    """Return code-point spans of `text` as UTF-16 spans."""
    return [[count_units(text[:start], "utf-16"), count_units(text[:end], "utf-16")] for start, end in spans]


def clipped(spans: tuple[tuple[int, int], ...], end: int) -> tuple[tuple[int, int], ...]:
    """Return the parts of the spans before `end`."""
    return tuple((start, min(stop, end)) for start, stop in spans if start < end)


def draft_params(token: int | str | None, shown: Suggestion, draft: Draft, keep: int) -> dict[str, Any]:
    """Return the parameters of one `mezzotint/draft` notification; `keep`: how much of the draft's text is shown."""
    snapshot, plan, text = shown
    line, character = snapshot.point_at(plan.start)
    end = snapshot.point_at(plan.end)[1]
    return {
        "token": token,
        "uri": snapshot.client_uri or snapshot.uri,
        "version": snapshot.version,
        "position": {"line": line, "character": character},
        "range": {"start": {"line": line, "character": character}, "end": {"line": line, "character": end}},
        "step": draft.step,
        "text": text,
        "masked": utf16_spans(text, clipped(draft.masked, min(keep, len(text)))),
        "confidence": draft.confidence,
        "done": draft.done,
    }


def _range(snapshot: Snapshot, start: int, end: int) -> types.Range:
    """Return the range of two offsets in the client's units."""
    return types.Range(
        start=types.Position(*snapshot.point_at(start)),
        end=types.Position(*snapshot.point_at(end)),
    )


def inline_list(suggestions: list[Suggestion]) -> types.InlineCompletionList:
    """Return the answer to `textDocument/inlineCompletion`."""
    return types.InlineCompletionList(
        items=[
            types.InlineCompletionItem(insert_text=one.text, range=_range(one.snapshot, one.plan.start, one.plan.end))
            for one in suggestions
        ]
    )


def completion_list(suggestions: list[Suggestion]) -> types.CompletionList:
    """Return the answer to `textDocument/completion`: at most one item, which begins with the word at the cursor."""
    return types.CompletionList(is_incomplete=True, items=[_completion_item(one) for one in suggestions])


def _completion_item(one: Suggestion) -> types.CompletionItem:
    """Return one completion item; its range starts at the word, because clients filter by that word."""
    text, start = one.snapshot.text, one.plan.start
    while start and (text[start - 1].isalnum() or text[start - 1] == "_"):
        start -= 1
    whole = text[start : one.plan.start] + one.text
    label = whole.strip().split("\n", 1)[0]
    return types.CompletionItem(
        label=label,
        kind=types.CompletionItemKind.Text,
        detail="mezzotint",
        documentation=whole if "\n" in whole.strip() else None,
        filter_text=whole if start < one.plan.start else label,
        sort_text="\uffff",
        insert_text_format=types.InsertTextFormat.PlainText,
        text_edit=types.TextEdit(range=_range(one.snapshot, start, one.plan.end), new_text=whole),
    )
