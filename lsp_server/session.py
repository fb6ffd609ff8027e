"""One client's session: its options, documents and model thread, and the way from a position to a suggestion.

Rule: everything here runs on the event loop; the model thread only reaches it through `call_soon_threadsafe`.

    session = Session(load, notify, tell); session.configure({}, "utf-16")
    suggestions = await session.complete(session.look("file:///a.py"), line=3, column=7, token=None)
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from diffusion.confidence import cut, settled
from diffusion.request import UNSURE, Draft, Hole, InfillRequest
from lsp_server.options import Options, from_client
from lsp_server.suggest import cleanup, context, feedback, holes, prose, refusals
from lsp_server.suggest.candidates import ALTERNATIVE, Verdict, propose
from lsp_server.suggest.drafts import DRAFT, STATUS, Suggestion, draft_params
from lsp_server.suggest.holes import Plan
from lsp_server.suggest.live import Memory
from lsp_server.suggest.related import Related
from lsp_server.text.documents import Documents, Snapshot
from lsp_server.text.lines import Edit
from lsp_server.worker import EngineFailedError, Infiller, Worker

logger = logging.getLogger(__name__)

STATES = {"loading": "loading", "ready": "idle", "failed": "error"}  # the worker's word -> the client's


class Session:
    """State of one connection."""

    def __init__(
        self,
        load: Callable[[Options], Infiller],
        notify: Callable[[str, dict[str, Any]], None],
        tell: Callable[[str], None],
        on_state: Callable[[str, str], None] = lambda state, detail: None,
    ) -> None:
        """Take the engine's loader, and ways to notify the client, to tell the user, and to show load progress."""
        self._load = load
        self._notify = notify
        self._tell = tell
        self._on_state = on_state
        self._told: set[str] = set()
        self._memory = Memory()
        self._related = Related()
        self.options = Options()
        self.documents = Documents()
        self.worker = Worker(lambda: load(self.options), self._state_changed)
        self.counts: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self._denoising = 0
        self._said = ("", "")
        self._loop: asyncio.AbstractEventLoop | None = None

    def configure(self, raw_options: object, encoding: str) -> None:
        """Take the client's options and position encoding."""
        self.options, problems = from_client(raw_options)
        self.documents = Documents(encoding, self.options.max_file_bytes)
        if problems:
            logger.warning("initializationOptions: %s", " ".join(problems))
            self._tell("Mezzotint: " + " ".join(problems))

    def start(self) -> None:
        """Begin to load the model."""
        self._loop = asyncio.get_running_loop()
        self.worker.start()

    def tell_once(self, message: str) -> None:
        """Show a message to the user, the first time only."""
        if message not in self._told:
            self._told.add(message)
            self._tell(message)

    def _state_changed(self, state: str, detail: str) -> None:
        """Pass a state of the model on to the event loop (called in the model thread)."""
        self._soon(partial(self._on_state, state, detail))
        self._soon(partial(self._say_loaded, state, detail))

    def _say_loaded(self, state: str, detail: str) -> None:
        """Tell a client how far the loading of the model is."""
        waiting = state == "ready" and self._denoising
        self._say("denoising" if waiting else STATES[state], detail if state == "failed" else "")

    def _say(self, state: str, message: str = "") -> None:
        """Tell a client that asked for it what the server is doing now."""
        if self.options.status and (state, message) != self._said:
            self._said = (state, message)
            self._notify(STATUS, {"state": state, "message": message})

    def _count_denoising(self, change: int) -> None:
        """Count the requests that the model works on, and say when there are some, or none left."""
        self._denoising += change
        if self._said[0] in ("idle", "denoising"):
            self._say("denoising" if self._denoising else "idle")

    def _soon(self, call: Callable[[], None]) -> None:
        """Run `call` on the event loop (called in the model thread)."""
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop has closed: the client is gone
            pass

    def opened(self, uri: str, version: int, language_id: str, text: str) -> None:
        """Take a document, and encode its beginning ahead, where editors put the cursor."""
        self.documents.open(uri, version, language_id, text)
        if not self.options.encode_ahead or self._refusal(uri):
            return
        document = self.documents.get(uri)
        assert document is not None
        snapshot = document.unparsed()
        if snapshot.text.strip():
            self._prepare(snapshot.uri, context.infill_request(snapshot, Plan(0, 0, (Hole(),), 0), self.options))

    def _prepare(self, uri: str, request: InfillRequest) -> None:
        """Queue the encoding of a context, with the model if it is there or on its way."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self.worker.submit(uri, request, None)

    def changed(self, uri: str, version: int, edits: Sequence[Edit | str]) -> None:
        """Take a change of a document; each is a keystroke, or as good as one."""
        self.counts["keystrokes"] += 1
        self.documents.change(uri, version, edits)

    def closed(self, uri: str) -> None:
        """Forget a document and what runs for it."""
        self.worker.supersede(uri)
        self.documents.close(uri)
        self._memory.forget(uri)
        self._related.forget(uri)

    def _refusal(self, uri: str) -> str:
        """Return why a document gets no completions, or ""."""
        document = self.documents.get(uri)
        if document is None:
            return "the document is not open"
        if document.too_large:
            return "it is larger than maxFileBytes"
        return refusals.name_refusal(document.uri, document.language, self.options)

    def look(self, uri: str) -> Snapshot | None:
        """Return the document that a new request is made for, as it is now; None where there are no completions."""
        self.counts["requests"] += 1
        self.worker.supersede(uri)
        if refusal := self._refusal(uri):
            logger.info("no completion: %s", refusal)
            return None
        document = self.documents.get(uri)
        assert document is not None
        return document.snapshot()

    async def complete(
        self, snapshot: Snapshot | None, line: int, column: int, token: int | str | None, invoked: bool = False
    ) -> list[Suggestion] | None:
        """Return suggestions for a position, best first, or None if a newer request has taken its place."""
        if snapshot is None:
            return []
        offset = snapshot.offset_at(line, column)
        if offset is None:
            logger.warning("no completion: line %d is outside the document (%d lines)", line, len(snapshot.lines))
            return []
        multiline = self.options.multiline == "auto"
        plan = holes.plan_at(snapshot, offset, multiline=multiline, max_tokens=self.options.max_tokens)
        if plan is None:
            return []
        refusal = prose.refusal(snapshot, offset, self.options, invoked)
        if refusal and not self._memory.rest(snapshot, plan):  # what is on screen may run through a comment
            logger.info("no completion: %s", refusal)
            return []
        known = self._known(snapshot, plan) if self.options.live_canvas else None
        if known is not None and not invoked:
            return self._from_memory(snapshot, plan, known, token)
        request = self._request(snapshot, plan)
        self._count_denoising(1)
        try:
            texts = await self._denoise(snapshot, plan, request, token, invoked)
        finally:
            self._count_denoising(-1)
        if texts is not None and known and invoked:  # what is on screen stays the first
            texts = [known, *(text for text in texts if text != known)][: self.options.candidates]
        return None if texts is None else [Suggestion(snapshot, plan, text) for text in texts]

    def _known(self, snapshot: Snapshot, plan: Plan) -> str | None:
        """What of earlier suggestions is to be shown here, "" for nothing; None if the model has to be asked.

        Besides what was shown, it is what was not sure enough then and is now that the user typed its beginning.
        """
        if shown := self._memory.rest(snapshot, plan):
            return shown
        thought, least = self._memory.thought(snapshot, plan), self.options.min_confidence_percent / 100
        if thought is None:
            return None
        draft = dataclasses.replace(cut(thought, least, undecided=0), done=True, reason=UNSURE)
        if not draft.text and not settled(thought, least):
            return None
        text = self._judge(snapshot, plan, context.frame(snapshot, plan), draft).shown
        if text.strip():
            self._memory.remember(snapshot, plan, draft, text)
        return text

    def _from_memory(self, snapshot: Snapshot, plan: Plan, text: str, token: int | str | None) -> list[Suggestion]:
        """Answer with what is left of an earlier suggestion: no forward pass."""
        self.counts["fromMemory"] += 1
        self._send_draft(token, snapshot, plan, Draft(0, text, (), 1.0, 0, done=True), cleanup.Cleaned(len(text)))
        return [Suggestion(snapshot, plan, text)] if text.strip() else []

    def _request(self, snapshot: Snapshot, plan: Plan) -> InfillRequest:
        """What the engine is asked: from masks, or from what is still good of the last draft."""
        request = context.infill_request(snapshot, plan, self.options)
        if self.options.other_files:
            found = self.documents.others(snapshot.uri, snapshot.language)
            others = [other for other in found if refusals.may_be_context(other, self.options)]
            chunks = self._related.choose(snapshot, plan.start, others)
            texts = tuple(other.text for other in others)
            request = dataclasses.replace(request, other_files=chunks, recall_from=texts)
        start = self._memory.start(snapshot, plan) if self.options.live_canvas else None
        self.counts["warmStarts"] += start is not None
        return dataclasses.replace(request, start=start)

    async def _denoise(
        self, snapshot: Snapshot, plan: Plan, request: InfillRequest, token: int | str | None, invoked: bool
    ) -> list[str] | None:
        """Run the engine on a hole: texts, best first, [] for nothing, None when superseded.

        Who asks by hand gets several, and all of each; who types gets what is sure enough.
        """
        n, least = (self.options.candidates, 0.0) if invoked else (1, self.options.min_confidence_percent / 100)
        self._loop = asyncio.get_running_loop()
        frame = context.frame(snapshot, plan)
        judge = partial(self._judge, snapshot, plan, frame)

        def show(draft: Draft) -> None:
            """Send a draft (on the event loop), unless the job has been stopped meanwhile."""
            if job.stop.is_set() or draft.reason == ALTERNATIVE:
                return
            whole = cleanup.Cleaned(len(draft.text))
            cleaned = whole if draft.done else cleanup.clean(draft.text, frame)
            if cleaned is not None:
                self._memory.remember(snapshot, plan, draft, cleaned.of(draft.text))
                self._send_draft(token, snapshot, plan, draft, cleaned)

        def on_draft(draft: Draft) -> None:
            """Pass a draft to the event loop (called in the model thread)."""
            self._soon(partial(show, draft))
            if self.options.drafts and self.options.draft_delay_ms and not draft.done:
                job.stop.wait(self.options.draft_delay_ms / 1000)

        def work(engine: Infiller, request: InfillRequest, cancelled: Callable[[], bool]) -> Iterator[Draft]:
            """Denoise, judge and repair (called in the model thread)."""
            if refusal := refusals.refusal(snapshot, self.options):
                logger.info("no completion: %s", refusal)
                return
            exact = engine.info.get("policy") == "verdict"
            yield from propose(engine, request, judge, cancelled, n, self.options.syntax_feedback, least, exact)

        job = self.worker.submit(snapshot.uri, request, on_draft, work)
        try:
            done = await asyncio.wrap_future(job.future)
        except asyncio.CancelledError:
            self.worker.cancel(job)
            raise
        except EngineFailedError as error:
            self.tell_once(f"Mezzotint: {error}")
            return []
        if done is None:
            return None if job.stop.is_set() else []
        return [draft.text for draft in done if draft.text.strip()]

    def _judge(self, snapshot: Snapshot, plan: Plan, frame: cleanup.Frame, draft: Draft) -> Verdict:
        """What of a finished draft would be shown, and what of it breaks the file (called in the model thread)."""
        text = cleanup.cleaned(draft.text, frame)
        broken = feedback.broken_spans(snapshot, plan, text) if self.options.syntax_feedback else ()
        if not broken:
            return Verdict(text)
        self.counts["broken"] += 1
        unsure = draft.reason == UNSURE  # what was cut there is not finished, which is not wrong
        fit = partial(cleanup.cleaned, frame=frame)
        sound = feedback.sound_part(snapshot, plan, draft.text, fit, words=unsure)
        return Verdict(sound) if unsure else Verdict(text, broken, sound)

    def _send_draft(
        self, token: int | str | None, snapshot: Snapshot, plan: Plan, draft: Draft, cleaned: cleanup.Cleaned
    ) -> None:
        """Send one draft to a client that asked for drafts."""
        if self.options.drafts:
            self.counts["drafts"] += 1
            self._notify(DRAFT, draft_params(token, snapshot, plan, draft, cleaned))

    def stats(self) -> dict[str, Any]:
        """Return the counters of this session; they leave the machine on no way."""
        stopped = self.worker.last_stopped
        return {
            "requests": self.counts["requests"],
            "drafts": self.counts["drafts"],
            "keystrokes": self.counts["keystrokes"],
            "passesPerKeystroke": self.worker.forward_passes / max(1, self.counts["keystrokes"]),
            "fromMemory": self.counts["fromMemory"],
            "warmStarts": self.counts["warmStarts"],
            "broken": self.counts["broken"],
            "cancelled": self.worker.counts["cancelled"],
            "superseded": self.worker.counts["superseded"],
            "shown": self.counts["shown"],
            "accepted": {kind: self.accepted[kind] for kind in ("full", "line", "word")},
            "forwardPasses": self.worker.forward_passes,
            "lastForwardPasses": self.worker.last_passes,
            "lastStop": None if stopped is None else {"told": stopped.passes_at_stop, "ended": stopped.passes_at_end},
            "engine": self.worker.info,
        }
