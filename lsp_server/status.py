"""What a client's status item shows: what the server does, and why a document gets nothing.

Rule: pure; of several reasons one is said: the model's trouble, the pause, then the document's own.

    after = replace(Status(), state="idle", uri="file:///a.py", refusal=Refusal("comment", "not completed"))
    if after.params != before.params: notify(STATUS, after.params)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lsp_server.suggest.reasons import ALLOWED, Refusal

STATES = {"loading": "loading", "ready": "idle", "kept": "idle", "failed": "error"}  # the worker's word -> the client's


@dataclass(frozen=True)
class Status:
    """The state of the model, and every reason for offering nothing; `uri`: the document that `refusal` is about.

    `answered`: "remote" or "local" where a model server is asked, `server` its name, and `away` why it was not.
    """

    state: str = ""
    trouble: Refusal = ALLOWED
    answered: str = ""
    server: str = ""
    away: Refusal = ALLOWED
    paused: Refusal = ALLOWED
    uri: str = ""
    refusal: Refusal = ALLOWED

    @property
    def params(self) -> dict[str, Any]:
        """Return the parameters of `mezzotint/status`; `uri` is "" where the reason holds for all documents."""
        said = self.trouble or self.paused or self.refusal or self.away
        of_document = said is self.refusal and bool(said)
        if not said and self.state == "loading":
            said = Refusal("loading")
        return {
            "state": self.state,
            "message": said.message or self.answer,
            "uri": self.uri if of_document else "",
            "kind": said.kind,
            "reason": said.reason,
            "answeredBy": self.answered,
        }

    @property
    def answer(self) -> str:
        """Who answered last, for people; "" where no model server is asked."""
        whom = {"remote": self.server, "local": "the model on this machine"}.get(self.answered, "")
        return f"answered by {whom}" if whom else ""


def trouble(state: str, detail: str, model: str) -> Refusal:
    """Return what keeps the worker from completing; asks the disk whether the model is there (in the model thread)."""
    if state != "failed":
        return ALLOWED
    there = not model or Path(model).expanduser().exists()
    return Refusal("failed" if there else "missing", detail)


def loaded(status: Status, state: str, why: Refusal, waiting: bool) -> Status:
    """Return the status after the worker said `state`; `waiting`: there are requests that wait for the model."""
    return replace(status, state="denoising" if waiting and state in ("ready", "kept") else STATES[state], trouble=why)


def answered(status: Status, info: dict[str, object]) -> Status:
    """Return the status after an engine, which says this about itself, has answered."""
    by, server, trouble = (str(info.get(name, "")) for name in ("answered_by", "remote", "trouble"))
    return replace(status, answered=by, server=server, away=Refusal("remote", trouble) if trouble else ALLOWED)


def working(status: Status, busy: bool) -> Status:
    """Return the status after the model got something to do, or has nothing left; while it is not there, the same."""
    if status.state not in ("idle", "denoising"):
        return status
    return replace(status, state="denoising" if busy else "idle")
