"""Context: what of a file the model may see, cut from a snapshot into an InfillRequest.

Rule: windows are cut at line breaks, and at places that stay the same while the user types, so that the engine's
cached context stays valid.

    request = infill_request(snapshot, plan, options)
"""

from __future__ import annotations

import re

from diffusion.request import InfillRequest
from lsp_server.options import Options
from lsp_server.suggest.cleanup import Frame
from lsp_server.suggest.holes import Plan
from lsp_server.text.documents import Snapshot
from lsp_server.text.uris import parts_of


def normal_newlines(text: str) -> str:
    """Return the text with LF line ends, the only ones the model writes."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def windows(text: str, start: int, end: int, max_prefix: int, max_suffix: int) -> tuple[str, str]:
    """Return the text before `start` and after `end`, both cut at a line break to a length under the limits.

    The cut moves only every quarter of a window: a prefix starts at a multiple of it from the file's beginning, a
    suffix ends at a multiple of it from the file's end, and typing changes neither.
    """
    head = _line_after(text, _step_up(start - max_prefix, max_prefix // 4), start)
    n_left = len(text) - end
    cut = len(text) - _step_up(n_left - max_suffix, max(max_suffix // 4, 1))
    tail = text.rfind("\n", end, cut) + 1 if cut < len(text) else len(text)
    return normal_newlines(text[head:start]), normal_newlines(text[end : tail or cut])


def _step_up(count: int, step: int) -> int:
    """Return the next multiple of `step` from `count` on, never below 0."""
    return max(-(-count // step) * step, 0)


def _line_after(text: str, offset: int, limit: int) -> int:
    """Return the beginning of the first line at or after `offset`, or `offset` if that is past `limit`."""
    if offset == 0:
        return 0
    found = text.find("\n", offset - 1, limit)
    return found + 1 if found >= 0 else offset


def infill_request(snapshot: Snapshot, plan: Plan, options: Options) -> InfillRequest:
    """Return the request for the engine."""
    prefix, suffix = windows(snapshot.text, plan.start, plan.end, options.max_prefix_chars, options.max_suffix_chars)
    return InfillRequest(
        prefix=prefix,
        suffix=suffix,
        middle=plan.middle,
        deadline_ms=options.deadline_ms or None,
        language=snapshot.language,
        path=file_name(snapshot.uri),
    )


def file_name(uri: str) -> str:
    """Return the name of a document's file, or "" if it has none; folders may say more than a model should be told."""
    return re.split(r"[/\\]", parts_of(uri).path.decode("utf-8", "replace"))[-1]


def frame(snapshot: Snapshot, plan: Plan) -> Frame:
    """Return the code around the hole that `cleanup.clean` compares a draft with."""
    text = snapshot.text
    kept = plan.middle[-1] if isinstance(plan.middle[-1], str) else ""
    return Frame(
        statement=text[plan.statement : plan.start],
        after=normal_newlines(text[plan.end - len(kept) : plan.end + 4000]),
        replaced="" if plan.kept and not kept else text[plan.start : plan.end - len(kept)],
        kept=kept,
        between="" if kept else plan.kept,
        quote=plan.quote,
        language=snapshot.language,
    )
