"""A model server, and the model on this machine while the server is away, slow or busy.

Rule: for one thread at a time. Whoever asks gets drafts and never an error of the network. A try is repeated once, and
only where nothing was shown; what was decided before an answer broke off is the answer. A server that did not answer is
asked again only after somebody else has seen that it is back: a user never waits twice for what is not there.

    engine = Fallback(remote, load_local=lambda: Engine.load()); engine.info["answered_by"]    # "remote" or "local"
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from diffusion.backends.link import RemoteError
from diffusion.backends.remote import RemoteEngine
from diffusion.request import Draft, InfillRequest

logger = logging.getLogger(__name__)

REMOTE, LOCAL = "remote", "local"
PAUSE_S = {
    429: 1.0,
    503: 1.0,
    401: 60.0,
    403: 60.0,
    400: 60.0,
    404: 60.0,
}  # by status, before the server is asked again
AWAY_S = 5.0  # where there was no status


class Fallback:
    """An engine whose drafts come from one of two."""

    def __init__(self, remote: RemoteEngine, load_local: Callable[[], Any]) -> None:
        self.remote, self._load_local = remote, load_local
        self.answered_by, self.trouble = "", ""
        self._local: Any = None
        self._until_s = 0.0  # when the server may be looked for again
        self._looking: threading.Thread | None = None

    def start(self) -> None:
        """Greet the server; load the model of this machine where there is no answer."""
        try:
            self.remote.hello()
        except RemoteError as error:
            self._lost(error)
            self.local.info  # noqa: B018  # loaded now, not when the first request waits

    @property
    def local(self) -> Any:
        """The model on this machine, loaded when it is first needed."""
        if self._local is None:
            self._local = self._load_local()
        return self._local

    @property
    def forward_passes(self) -> int:
        """Passes that ran for us, here or there."""
        passes: int = self.remote.forward_passes + (self._local.forward_passes if self._local else 0)
        return passes

    @property
    def info(self) -> dict[str, object]:
        """What answers now."""
        engine = self.remote if not self.trouble or self._local is None else self._local
        about = {"remote": self.remote.where, "answered_by": self.answered_by, "trouble": self.trouble}
        return {**engine.info, **about}

    def infill(self, request: InfillRequest, cancelled: Callable[[], bool], owner: str = "") -> Iterator[Draft]:
        """Drafts from the server; from this machine where it gives none."""
        began_s = time.perf_counter()
        drafts = self._tries(request, cancelled) if self._is_there() else iter(())
        last: Draft | None = None
        for last in drafts:
            yield last
        if cancelled() or (last is not None and last.done):
            return
        if last is not None and (decided := cut_off(last)).text.strip():
            yield decided
            return
        if request.deadline_ms is not None:
            passed_ms = (time.perf_counter() - began_s) * 1000
            request = dataclasses.replace(request, deadline_ms=max(0.0, request.deadline_ms - passed_ms))
        self.answered_by = LOCAL
        yield from self.local.infill(request, cancelled)

    def _tries(self, request: InfillRequest, cancelled: Callable[[], bool]) -> Iterator[Draft]:
        """Drafts of the server, asked once more if the first answer broke off before there was one."""
        for again in (True, False):
            shown = False
            try:
                for draft in self.remote.infill(request, cancelled):
                    self.answered_by, shown = REMOTE, True
                    yield draft
                return
            except RemoteError as error:
                logger.info("the remote gave no answer: %s", error.why)
                if shown or not (again and error.again):
                    self._lost(error)
                    return

    def prepare(self, request: InfillRequest, cancelled: Callable[[], bool], owner: str = "") -> None:
        """Encode ahead of time where the answer will come from."""
        if not self._is_there():
            self.local.prepare(request, cancelled)
            return
        try:
            self.remote.prepare(request, cancelled)
        except RemoteError as error:
            if error.status not in (429, 503):
                self._lost(error)

    def _is_there(self) -> bool:
        """Whether the server is to be asked; where it was lost, somebody looks for it meanwhile."""
        if not self.trouble:
            return True
        looking = self._looking is not None and self._looking.is_alive()
        if not looking and time.monotonic() >= self._until_s:
            self._looking = threading.Thread(target=self._look, name="remote-again", daemon=True)
            self._looking.start()
        return False

    def _look(self) -> None:
        """Greet the server again (in a thread of its own)."""
        try:
            self.remote.hello()
        except RemoteError as error:
            self._lost(error)
        else:
            self.trouble = ""

    def _lost(self, error: RemoteError) -> None:
        """Do without the server for a while."""
        self.trouble = error.why
        self._until_s = time.monotonic() + PAUSE_S.get(error.status, AWAY_S)


def cut_off(draft: Draft) -> Draft:
    """What was decided of a draft whose successor did not come, as the last one."""
    end = draft.masked[0][0] if draft.masked else len(draft.text)
    tokens = tuple(token for token in draft.tokens if token[1] <= end)
    return dataclasses.replace(draft, text=draft.text[:end], masked=(), tokens=tokens, done=True, reason="deadline")
