"""Why nothing is offered: every reason there is, its kind for a status item, and the sentence that says it.

Rule: one table. The kinds are those that GitHub Copilot's language server has in its status.

    Refusal("scheme", "git").message    # "documents of the scheme 'git' are not completed"
    refusal = Refusal("secret", "it holds a private key") or ALLOWED; bool(ALLOWED)    # False
"""

from __future__ import annotations

from typing import NamedTuple

NORMAL, WARNING, ERROR, INACTIVE = "Normal", "Warning", "Error", "Inactive"


class Reason(NamedTuple):
    """What a status item shows of a reason; the sentence has a gap for the details."""

    kind: str
    sentence: str


REASONS = {
    "": Reason(NORMAL, ""),
    "loading": Reason(NORMAL, "the model is being loaded; requests wait for it"),
    "missing": Reason(ERROR, "{}"),
    "failed": Reason(ERROR, "{}"),
    "completionFailed": Reason(WARNING, "{}"),
    "remote": Reason(WARNING, "{}; the model on this machine answers"),
    "paused": Reason(INACTIVE, "paused until {}"),
    "notOpen": Reason(INACTIVE, "the document is not open"),
    "tooLarge": Reason(INACTIVE, "it is larger than maxFileBytes"),
    "scheme": Reason(INACTIVE, "documents of the scheme {!r} are not completed"),
    "language": Reason(INACTIVE, "{!r} is no language of files that are completed"),
    "languageOff": Reason(INACTIVE, "language {!r} is disabled"),
    "secret": Reason(INACTIVE, "{}"),
    "ignored": Reason(INACTIVE, "git ignores it"),
    "comment": Reason(INACTIVE, "comments are {}"),
    "string": Reason(INACTIVE, "strings are {}"),
}


class Refusal(NamedTuple):
    """A reason of the table with its details; that of ALLOWED is "", and it is false."""

    reason: str = ""
    detail: str = ""

    def __bool__(self) -> bool:
        return bool(self.reason)

    @property
    def kind(self) -> str:
        """How grave it is."""
        return REASONS[self.reason].kind

    @property
    def message(self) -> str:
        """The sentence for the user."""
        return REASONS[self.reason].sentence.format(self.detail)


ALLOWED = Refusal()
