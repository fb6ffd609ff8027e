"""One client's session: its options, documents, counters and what it is told; the work is done in the model thread.

Rule: everything here runs on the event loop, which changes documents and nothing else: it takes snapshots and hands
them to `completion.py`. The model thread reaches it through `call_soon_threadsafe` alone.

    session = Session(load, notify, tell); session.configure({}, "utf-16")
    suggestions = await session.complete(session.look("file:///a.py", line=3, column=7))
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from lsp_server import status
from lsp_server.options import OF_THE_MODEL, Options, from_client
from lsp_server.snooze import Snooze
from lsp_server.status import Status
from lsp_server.suggest import completion, refusals, selected
from lsp_server.suggest.drafts import DRAFT, STATUS, Suggestion
from lsp_server.suggest.live import Memory
from lsp_server.suggest.place import ASKED, News, Question
from lsp_server.suggest.reasons import ALLOWED, Refusal
from lsp_server.suggest.related import Related
from lsp_server.text.documents import MAX_OPEN, Document, Documents
from lsp_server.text.lines import Edit
from lsp_server.worker import EngineFailedError, Infiller, Job, Worker

logger = logging.getLogger(__name__)


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
        self._related = Related()  # the model thread's
        self.options = self.defaults = Options()  # defaults: what the user's own configuration says
        self.complaints: list[str] = []  # about that
        self.documents = Documents()
        self.worker = Worker(lambda: load(self.options), self._state_changed)
        self.counts: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self._denoising: set[Job] = set()
        self._initial = Options()
        self._status = Status()
        self.snooze = Snooze(lambda refusal: self._say(replace(self._status, paused=refusal)))
        self._loop: asyncio.AbstractEventLoop | None = None

    def configure(self, raw_options: object, encoding: str) -> None:
        """Take the client's options and position encoding."""
        self.options, problems = from_client(raw_options, self.defaults)
        self._initial = self.options
        self.documents = Documents(encoding, self.options.max_file_bytes)
        self._report([*self.complaints, *problems])

    def reconfigure(self, raw_options: object) -> None:
        """Take changed settings; a model that is chosen otherwise is loaded in place of this one."""
        before = self.options
        self.options, problems = from_client(raw_options, self._initial, before)
        self.documents.limit(self.options.max_file_bytes)
        self._report(problems)
        if any(getattr(before, name) != getattr(self.options, name) for name in OF_THE_MODEL):
            self._memory = Memory()
            self.worker.reload()

    def _report(self, problems: list[str]) -> None:
        """Tell the user what is wrong with options."""
        if problems:
            logger.warning("options: %s", " ".join(problems))
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
        self._soon(partial(self._say_loaded, state, status.trouble(state, detail, self.options.model)))

    def _say_loaded(self, state: str, why: Refusal) -> None:
        """Tell a client how far the loading of the model is."""
        now = status.answered(self._status, self.worker.info)
        self._say(status.loaded(now, state, why, bool(self._denoising)))

    def _say(self, now: Status) -> None:
        """Tell a client that asked for it what the server is doing now, or why nothing, if that has changed."""
        before, self._status = self._status, now
        if self.options.status and now.params != before.params:
            self._notify(STATUS, now.params)

    def _say_refused(self, uri: str, refusal: Refusal) -> None:
        """Tell whether completions of the document asked for are refused, and why."""
        self._say(replace(self._status, uri=uri, refusal=refusal))

    def _now_denoising(self, jobs: set[Job]) -> None:
        """Note the requests that the model works on, and say when there are some, or none left."""
        self._denoising = jobs
        self._say(status.working(status.answered(self._status, self.worker.info), bool(jobs)))

    def _soon(self, call: Callable[[], None]) -> None:
        """Run `call` on the event loop (called in the model thread)."""
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop has closed: the client is gone
            pass

    def opened(self, uri: str, version: int, language_id: str, text: str) -> None:
        """Take a document, and have its beginning encoded."""
        if self.take(uri, version, language_id, text):
            self.encode_ahead(uri)

    def take(self, uri: str, version: int, language_id: str, text: str, *, is_cell: bool = False) -> bool:
        """Take a document; False, and not taken, where too many are open."""
        taken = self.documents.open(uri, version, language_id, text, is_cell=is_cell)
        if taken is None:
            self.tell_once(f"Mezzotint: {MAX_OPEN:,} documents are open; no more are taken until some are closed.")
        return taken is not None

    def encode_ahead(self, uri: str, line: int = 0, column: int = 0) -> None:
        """Have what a request at a place of an open document shows the model encoded, unless it gets no completions."""
        if not self.options.encode_ahead or self._refusal(uri):
            return
        question = replace(self._question(uri, line, column), invoked=True)
        if question.snapshot.text.strip():
            work = partial(completion.prepare, question, self._related)
            self._submit(Job(question.snapshot.uri, work, ahead=True))

    def _submit(self, job: Job) -> None:
        """Queue a job, with the model if it is there or on its way."""
        self._loop = asyncio.get_running_loop()
        self.worker.submit(job)

    def changed(self, uri: str, version: int, edits: Sequence[Edit | str]) -> None:
        """Take a change of a document; each is a keystroke, or as good as one."""
        self.counts["keystrokes"] += 1
        self.documents.change(uri, version, edits)

    def closed(self, uri: str) -> None:
        """Forget a document and what runs for it."""
        self.worker.supersede(uri)
        document = self.documents.get(uri)
        if document is not None and document.client_uri == self._status.uri:
            self._say_refused("", ALLOWED)
        self.documents.close(uri)
        self._memory.forget(uri)

    def _refusal(self, uri: str) -> Refusal:
        """Return why a document gets no completions, or ALLOWED."""
        document = self.documents.get(uri)
        if document is None:
            return Refusal("notOpen")
        if document.too_large:
            return Refusal("tooLarge")
        return refusals.name_refusal(document.uri, document.language, self.options)

    def look(
        self,
        uri: str,
        line: int,
        column: int,
        token: int | str | None = None,
        *,
        invoked: bool = False,
        entry: Edit | None = None,
    ) -> Question | None:
        """Return what a new request asks, of the documents as they are now; None where there are no completions."""
        self.counts["requests"] += 1
        self.worker.supersede(uri)
        document = self.documents.get(uri)
        if refusal := self._refusal(uri) or (ALLOWED if invoked else self.snooze.refusal):
            logger.info("no completion: %s", refusal.message)
            if refusal is not self.snooze.refusal:  # which is known
                self._say_refused(uri if document is None else document.client_uri, refusal)
            return None
        return replace(self._question(uri, line, column), token=token, invoked=invoked, entry=entry)

    def _question(self, uri: str, line: int, column: int) -> Question:
        """Return what is asked at a place of an open document, of all documents as they are now."""
        document = self.documents.get(uri)
        assert document is not None
        snapshot = document.snapshot()
        others = self.documents.others(uri, snapshot.language) if self.options.other_files else ()
        known, cells = self._memory.of(uri), self.documents.cells(uri)
        return Question(snapshot, others, known, self.options, line, column, cells=cells)

    async def complete(self, question: Question | None) -> list[Suggestion] | None:
        """Return suggestions, best first, or None if a newer request has taken its place, or the document is closed."""
        document = None if question is None else self.documents.get(question.snapshot.uri)
        if question is None:
            return []
        if document is None:
            return None

        def tell(news: News) -> None:
            """Pass on what is to be known meanwhile (called in the model thread)."""
            self._soon(partial(self._heard, job, document, news))
            if news.draft is not None and not news.draft["done"] and self.options.draft_delay_ms:
                job.stop.wait(self.options.draft_delay_ms / 1000)

        complete = completion.complete if question.entry is None else selected.complete
        job = Job(question.snapshot.uri, partial(complete, question, self._related, tell))
        self._submit(job)
        if self._status.state == "loading":  # what waits for the model will be denoised
            self._denoising |= {job}
        try:
            answer: list[Suggestion] | None = await asyncio.wrap_future(job.future)
            return answer
        except asyncio.CancelledError:
            self.worker.cancel(job)
            raise
        except EngineFailedError as error:
            error.__traceback__ = None  # it holds this call, which holds the job, which holds the error
            self.tell_once(f"Mezzotint: {error}")
            self._say_refused(document.client_uri, Refusal("completionFailed", str(error)))
            return []
        finally:
            self._now_denoising(self._denoising - {job})

    def _heard(self, job: Job, document: Document, news: News) -> None:
        """Take what the model thread says of a job; nothing but counts where it was stopped or its document closed."""
        if news.counted:
            self.counts[news.counted] += 1
        if job.stop.is_set() or self.documents.get(document.uri) is not document:
            return
        if news.refused is not None:
            self._say_refused(document.client_uri, news.refused)
        if news.counted == ASKED:
            self._now_denoising(self._denoising | {job})
        if news.remembered is not None:
            self._memory.remember(document.uri, news.remembered)
        if news.draft is not None:
            self.counts["drafts"] += 1
            self._notify(DRAFT, news.draft)

    def digests(self) -> list[dict[str, Any]]:
        """Return versions and hashes of the open documents, for a client to compare; "" where a text is not kept."""

        def digest(one: Document) -> str:
            return "" if one.too_large else hashlib.sha256(one.snapshot().text.encode()).hexdigest()

        opened = self.documents.all()
        return [{"uri": one.client_uri, "version": one.version, "sha256": digest(one)} for one in opened]

    def stats(self) -> dict[str, Any]:
        """Return the counters of this session; they are never sent anywhere but to its client."""
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
