"""One model and those who wait for it: threads that answer requests one by one, for an event loop that streams drafts.

Rule: `submit` refuses at once what is too much (`Refused`) instead of letting it wait for ever. Who stops listening is
seen before the next forward pass, and the passes that ran after that are counted. The newest request comes first. No
request ends a thread. Each of `batch` threads has an engine beside the others' and one request: their passes run
together where they meet.

    replica = Replica(engine, Limits(), Metrics(), batch=4); replica.start()
    async for draft in replica.submit(request, "ada").drafts(): ...
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from diffusion.request import Draft, InfillRequest
from diffusion.serve.limits import Limits, Refused
from diffusion.serve.metrics import Metrics

logger = logging.getLogger(__name__)

FAILED = "the engine failed on this request; the server's log says how"
NO_TIME = Draft(0, "", (), 0.0, 0, True, "deadline")


class Engine(Protocol):
    """What is needed of an engine: `diffusion.engine.Engine`, or one that a test scripts."""

    encoded_tokens: int
    context_tokens: int
    encode_cpu_s: float
    info: dict[str, object]

    @property
    def forward_passes(self) -> int: ...  # noqa: D102

    def beside(self) -> Engine: ...  # noqa: D102

    def infill(  # noqa: D102
        self, request: InfillRequest, cancelled: Callable[[], bool], owner: str = ""
    ) -> Iterator[Draft]: ...

    def prepare(  # noqa: D102
        self, request: InfillRequest, cancelled: Callable[[], bool], owner: str = ""
    ) -> None: ...


class EngineFailedError(Exception):
    """The engine failed on a request."""


@dataclass(eq=False)
class Job:
    """A request on its way, made on the event loop that reads its drafts.

    `document`: what the client calls the document; "" is no document's.
    `context_tokens`, `encoded_tokens`, `waited_s`: what it cost, once its last draft is there. `engine`: what runs it.
    `passes_at_stop`: forward passes that were counted there when its client went.
    """

    request: InfillRequest
    user: str
    leave: Callable[[Job], None]
    ahead: bool = False
    document: str = ""
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    said: asyncio.Queue[Draft | Exception | None] = field(default_factory=asyncio.Queue)
    stop: threading.Event = field(default_factory=threading.Event)
    arrived_s: float = field(default_factory=time.perf_counter)
    waited_s: float = 0.0
    context_tokens: int = 0
    encoded_tokens: int = 0
    engine: Engine | None = None
    passes_at_stop: int | None = None

    async def drafts(self) -> AsyncIterator[Draft]:
        """Drafts as they come; EngineFailedError if there was one. Who stops reading before the end cancels the job."""
        ended = False
        try:
            while not ended and (said := await self.said.get()) is not None:
                ended = isinstance(said, Exception) or said.done
                if isinstance(said, Exception):
                    raise said
                yield said
            ended = True
        finally:
            if not ended:
                self.leave(self)

    def say(self, said: Draft | Exception | None) -> None:
        """Pass something on to the event loop (called in the engine's thread)."""
        try:
            self.loop.call_soon_threadsafe(self.said.put_nowait, said)
        except RuntimeError:  # the loop has closed: nobody listens
            self.stop.set()


class Replica:
    """One model, the threads that run it, and the jobs that wait for them."""

    def __init__(self, engine: Engine, limits: Limits, metrics: Metrics, batch: int = 1) -> None:
        self.engine, self.limits, self.metrics = engine, limits, metrics
        self._waiting: list[Job] = []
        self._running: list[Job] = []
        self._ending = False
        self._changed = threading.Condition()
        engines = [engine, *(engine.beside() for _ in range(batch - 1))]
        self._threads = [threading.Thread(target=self._work, args=(one,), daemon=True) for one in engines]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    @property
    def is_well(self) -> bool:
        """Whether requests are answered."""
        return all(thread.is_alive() for thread in self._threads) and not self._ending

    def submit(self, request: InfillRequest, user: str, ahead: bool = False, document: str = "") -> Job:
        """Queue a request; `Refused` says why not. What is asked ahead gives way to all that somebody waits for.

        An older request of the same user and document ends: nobody waits for it, though its client's leaving may
        be on its way still.
        """
        request = dataclasses.replace(request, deadline_ms=self._deadline(request))
        job = Job(request, user, self._left, ahead, document)
        with self._changed:
            self._supersede(job)
            if why := self._refusal(job):
                self.metrics.add("refused")
                raise why
            self._waiting.append(job)
            self.metrics.set("waiting", len(self._waiting))
            for running in self._running:
                if running.ahead:
                    running.stop.set()
            self._changed.notify()
        self.metrics.add("requests")
        return job

    def _deadline(self, request: InfillRequest) -> float:
        """What is asked for, but no more than the limit."""
        most = self.limits.deadline_ms
        return most if request.deadline_ms is None else min(request.deadline_ms, most)

    def _refusal(self, job: Job) -> Refused | None:
        """Why a job is not taken on now."""
        busy = [other for other in (*self._waiting, *self._running) if not other.stop.is_set()]
        waiting = len(self._waiting)
        if self._ending:
            return Refused(503, "this server is being stopped; ask again, another one will answer")
        if job.ahead and busy:
            return Refused(503, "the server has other things to do than to encode ahead")
        if waiting >= self.limits.waiting:
            return Refused(503, f"{waiting} requests wait here already, which is the limit; try again")
        if sum(other.user == job.user for other in busy) >= self.limits.per_user:
            return Refused(429, f"{self.limits.per_user} of your requests are not answered yet, which is the limit")
        return None

    def _supersede(self, job: Job) -> None:
        """End older requests of a job's document."""
        for other in (*self._waiting, *self._running):
            same = (other.user, other.document) == (job.user, job.document)
            if same and job.document and not (job.ahead or other.stop.is_set()):
                self.metrics.add("superseded")
                waits = other in self._waiting
                self._left(other)
                if waits:
                    other.say(None)

    def _left(self, job: Job) -> None:
        """Note that nobody listens to a job any more. At most one pass follows, as the stop is set before the count."""
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                self.metrics.set("waiting", len(self._waiting))
                self.metrics.add("cancelled")
            elif job.engine is not None and job in self._running and not job.stop.is_set():
                job.stop.set()
                job.passes_at_stop = job.engine.forward_passes

    def end(self, timeout_s: float = 5.0) -> None:
        """Take nothing on any more, stop what runs and wait for the threads."""
        with self._changed:
            self._ending = True
            for job in (*self._waiting, *self._running):
                job.stop.set()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout_s)

    def _work(self, engine: Engine) -> None:
        """Answer one job after the other; those that nobody waits for come last."""
        while (job := self._next(engine)) is not None:
            before = spent(engine)
            try:
                self._answer(job, engine, before)
            except BaseException as error:  # also what is no Exception, as a panic of a Rust library
                logger.exception("the engine failed on a request", exc_info=error)
                self.metrics.add("failed")
                job.say(EngineFailedError(FAILED))
            self._count(job, engine, before)
            job.say(None)

    def _next(self, engine: Engine) -> Job | None:
        """Wait for a job for an engine; None at the end.

        The newest comes first: whoever has waited longer is the likelier to press a key before there is a draft.
        """
        with self._changed:
            while not self._waiting and not self._ending:
                self._changed.wait()
            if self._ending:
                for job in self._waiting:
                    job.say(None)
                return None
            job = next((job for job in reversed(self._waiting) if not job.ahead), self._waiting[0])
            self._waiting.remove(job)
            self._running.append(job)
            job.engine = engine
            self.metrics.set("waiting", len(self._waiting))
            return job

    def _answer(self, job: Job, engine: Engine, before: dict[str, float]) -> None:
        """Run a job to its end, its deadline or its client's."""
        job.waited_s = time.perf_counter() - job.arrived_s
        self.metrics.add("begun")
        self.metrics.add("waited_seconds", job.waited_s)
        left_ms = (job.request.deadline_ms or 0.0) - job.waited_s * 1000
        request = dataclasses.replace(job.request, deadline_ms=left_ms)
        if job.ahead:
            engine.prepare(request, job.stop.is_set, job.user)
        for n, draft in enumerate(self._drafts(request, job, engine)):
            job.context_tokens = engine.context_tokens - int(before["context_tokens"])
            job.encoded_tokens = engine.encoded_tokens - int(before["encoded_tokens"])
            self._time(job, n == 0, draft.done)
            job.say(draft)

    def _drafts(self, request: InfillRequest, job: Job, engine: Engine) -> Iterator[Draft]:
        """The engine's drafts, or that there is no time left."""
        if job.ahead:
            return iter(())
        if (request.deadline_ms or 0) <= 0:
            return iter((NO_TIME,))
        return engine.infill(request, job.stop.is_set, job.user)

    def _time(self, job: Job, first: bool, last: bool) -> None:
        """Count a draft and how long it took."""
        self.metrics.add("drafts")
        for name, wanted in (("first_draft_seconds", first), ("final_seconds", last)):
            if wanted:
                self.metrics.observe(name, time.perf_counter() - job.arrived_s)

    def _count(self, job: Job, engine: Engine, before: dict[str, float]) -> None:
        """Count what a job cost, and what ran after its client had gone."""
        for name, now in spent(engine).items():
            self.metrics.add(name, now - before[name])
        contexts: Any = getattr(engine, "contexts", None)
        self.metrics.set("contexts", len(contexts.kept) if contexts else 0)
        with self._changed:
            self._running.remove(job)
        if job.passes_at_stop is not None:
            self.metrics.add("cancelled")
            self.metrics.raise_to("most_passes_after_cancel", engine.forward_passes - job.passes_at_stop)


def spent(engine: Engine) -> dict[str, float]:
    """What an engine's work has cost so far, under the names of the metrics."""
    return {
        "forward_passes": engine.forward_passes,
        "context_tokens": engine.context_tokens,
        "encoded_tokens": engine.encoded_tokens,
        "work_seconds": time.perf_counter(),
        "work_cpu_seconds": time.thread_time(),
        "encode_cpu_seconds": engine.encode_cpu_s,
    }
