"""Completions while an entry of the editor's popup is selected: they begin with its text and replace its range.

Rule: the entry is taken as typed already, in a snapshot that no editor has, and what follows it is completed. There are
no drafts: an editor draws none beside its popup. Accepting the entry finds the rest remembered.

    selected.complete(question, related, tell, engine, cancelled)    # a question whose `entry` is set
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from lsp_server.suggest import completion
from lsp_server.suggest.completion import Engine
from lsp_server.suggest.drafts import Suggestion
from lsp_server.suggest.place import News, Question, Tell
from lsp_server.suggest.related import Related
from lsp_server.text.documents import Snapshot, snapshot
from lsp_server.text.lines import Edit


def complete(
    question: Question, related: Related, tell: Tell, engine: Engine, cancelled: Callable[[], bool]
) -> list[Suggestion] | None:
    """Return suggestions that begin with the entry, best first, or None when cancelled."""
    entry = question.entry
    forced = None if entry is None else typed(question, entry)
    if entry is None or forced is None:
        return []

    def without_draft(news: News) -> None:
        tell(news._replace(draft=None))

    found = completion.complete(forced, related, without_draft, engine, cancelled)
    return None if found is None else [whole(one, question.snapshot, entry) for one in found]


def typed(question: Question, entry: Edit) -> Question | None:
    """Return the question as it would be with the entry typed; None where its range is not around the cursor."""
    then = question.snapshot
    start, end = then.offset_at(*entry.start), then.offset_at(*entry.end)
    cursor = then.offset_at(question.line, question.column)
    if start is None or end is None or cursor is None or not start <= cursor <= end:
        return None
    text = then.text[:start] + entry.text + then.text[end:]
    now = snapshot(then.uri, text, then.language, then.version, then.encoding)
    line, column = now.point_at(start + len(entry.text))
    now = dataclasses.replace(now, client_uri=then.client_uri)
    return dataclasses.replace(question, snapshot=now, line=line, column=column)


def whole(one: Suggestion, then: Snapshot, entry: Edit) -> Suggestion:
    """Return a suggestion for behind the entry as one for its range, in the document that there is."""
    start, end = then.offset_at(*entry.start), then.offset_at(*entry.end)
    assert start is not None and end is not None  # as in `typed`
    n_behind = one.plan.end - start - len(entry.text)
    return Suggestion(then, one.plan._replace(start=start, end=end + n_behind), entry.text + one.text)
