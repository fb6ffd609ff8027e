"""Whether the user wants completions in the comment or string that the cursor is in.

Rule: pure. In code there always are some; elsewhere the options `comments` and `strings` say so.

    refusal(snapshot, offset, options, invoked=False)   # Refusal("comment", ...), or ALLOWED
"""

from __future__ import annotations

from lsp_server.options import Options
from lsp_server.suggest.reasons import ALLOWED, Refusal
from lsp_server.text.documents import Snapshot
from lsp_server.text.inside import where_is


def refusal(snapshot: Snapshot, offset: int, options: Options, invoked: bool) -> Refusal:
    """Return why nothing is offered at the cursor, or ALLOWED; `invoked`: the user asked by hand."""
    wanted = {"comment": options.comments, "string": options.strings}
    if all(_is_allowed(setting, invoked) for setting in wanted.values()):
        return ALLOWED
    what = where_is(snapshot, offset)
    if what == "code" or _is_allowed(wanted[what], invoked):
        return ALLOWED
    return Refusal(what, "not completed" if wanted[what] == "off" else "completed when asked by hand only")


def _is_allowed(setting: str, invoked: bool) -> bool:
    """Tell whether a setting allows a completion."""
    return setting == "on" or (setting == "manual" and invoked)
