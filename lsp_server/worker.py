"""The model thread: it loads the engine, then does one job at a time; the newest job of a document wins.

Rule: this is the only thread that imports torch or touches the engine. A job that is superseded or cancelled is
answered at once; its loop sees the event before its next forward pass. Whatever ends the thread, every job is answered.

    worker = Worker(load, on_state); worker.start()
    job = worker.submit(Job("file:///a.py", lambda engine, cancelled: ...)); job.future.result()
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any, Protocol

from lsp_server import freed
from lsp_server.suggest.completion import Engine

logger = logging.getLogger(__name__)

MAX_DEATHS = 3  # of the thread: then it is not started again


class Infiller(Engine, Protocol):
    """What the worker needs of an engine: what its jobs need, and a count."""

    @property
    def forward_passes(self) -> int: ...  # noqa: D102


Work = Callable[[Infiller, Callable[[], bool]], Any]  # what is to be done; it asks now and then whether to stop


def nothing(engine: Infiller, cancelled: Callable[[], bool]) -> None:
    """Do nothing: what is left of a job's work when it has ended."""


class EngineFailedError(Exception):
    """The engine could not be loaded, or failed on a request. The message is for the user."""


@dataclass(eq=False)
class Job:
    """Something to do for one document. The future gets what comes of it, or None when it was superseded."""

    uri: str
    work: Work
    ahead: bool = False  # nobody waits for it
    stop: threading.Event = field(default_factory=threading.Event)
    future: Future[Any] = field(default_factory=Future)
    passes_at_stop: int | None = None  # forward passes counted when it was told to stop
    passes_at_end: int | None = None  # and when its loop had ended

    def end(self, passes: int | None) -> None:
        """Note the forward passes counted when its loop has ended, and let go of the work.

        The work holds a question with all its texts and trees, and, through whom it tells, this job: a circle, which
        would stay until the garbage collector comes by.
        """
        self.passes_at_end, self.work = passes, nothing

    def resolve(self, result: Any, error: Exception | None = None) -> None:
        """Answer, unless that has happened already."""
        try:
            if error is None:
                self.future.set_result(result)
            else:
                self.future.set_exception(error)
        except InvalidStateError:
            pass


RELOAD = Job("", nothing, ahead=True)  # stands for it in the thread's loop


class Worker:
    """One thread, one engine, and the jobs that wait for it."""

    def __init__(self, load: Callable[[], Infiller], on_state: Callable[[str, str], None]) -> None:
        """Take a loader, called in the thread, and a listener for ("loading" | "ready" | "kept" | "failed", detail)."""
        self._load = load
        self._on_state = on_state
        self._engine: Infiller | None = None
        self._waiting: list[Job] = []
        self._running: Job | None = None
        self._changed = threading.Condition()
        self._ending = self._stale = False
        self._deaths = 0
        self._thread: threading.Thread | None = None
        self.counts: Counter[str] = Counter()
        self.last_stopped: Job | None = None
        self.last_passes = 0

    @property
    def forward_passes(self) -> int:
        """Return the forward passes since the engine was loaded."""
        return self._engine.forward_passes if self._engine is not None else 0

    @property
    def info(self) -> dict[str, object]:
        """Return what the engine says about itself, {} before it is loaded."""
        return dict(self._engine.info) if self._engine is not None else {}

    def start(self) -> None:
        """Start the thread, which loads the engine; does nothing if it runs, or has died too often."""
        with self._changed:
            if self._thread is None and not self._ending and self._deaths < MAX_DEATHS:
                thread = threading.Thread(target=self._run, name="model", daemon=True)
                thread.start()
                self._thread = thread

    def reload(self) -> None:
        """Load the engine anew, when what runs has ended; what waits is done by the new one."""
        with self._changed:
            self._stale = self._thread is not None
            self._changed.notify()

    def submit(self, job: Job) -> Job:
        """Queue a job; older ones of the same document are answered None, and work done ahead gives way.

        Where no thread is left to do it, it fails at once.
        """
        if self._ending or self._deaths >= MAX_DEATHS:
            job.end(job.passes_at_stop)
            job.resolve(None, EngineFailedError("The model thread has ended; see the server's log."))
            return job
        if not job.ahead:
            self.supersede(job.uri)
        with self._changed:
            for other in [other for other in (*self._waiting, self._running) if other is not None]:
                if other.ahead and (not job.ahead or other is not self._running):
                    self._stop(other)  # only the file opened last is worth working ahead for
            self._waiting.append(job)
            self._changed.notify()
        self.start()
        return job

    def supersede(self, uri: str) -> None:
        """Answer every request of a document with None and stop its loop."""
        with self._changed:
            for job in [job for job in (*self._waiting, self._running) if job is not None and job.uri == uri]:
                if not job.ahead and not job.stop.is_set():
                    self.counts["superseded"] += 1
                self._stop(job)

    def cancel(self, job: Job) -> None:
        """Stop a job because its client said so."""
        with self._changed:
            if not job.stop.is_set():
                self.counts["cancelled"] += 1
                self._stop(job)

    def _stop(self, job: Job) -> None:
        """Tell a job to stop and answer it. The count is read after the event is set: at most one pass follows."""
        if job.stop.is_set():
            return
        job.stop.set()
        job.passes_at_stop = self.forward_passes
        if job in self._waiting:
            self._waiting.remove(job)
            job.end(job.passes_at_stop)
        elif not job.ahead:
            self.last_stopped = job
        job.resolve(None)

    def end(self, timeout_s: float = 1.0) -> bool:
        """Stop everything; return whether the thread has ended in time."""
        with self._changed:
            self._ending = True
            for job in [job for job in (*self._waiting, self._running) if job is not None]:
                self._stop(job)
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)
            return not self._thread.is_alive()
        return True

    def _run(self) -> None:
        """Work until the end; what is no `Exception`, as a panic of a Rust library, ends the thread only."""
        try:
            self._work()
        except BaseException as error:
            self._died(error)

    def _died(self, error: BaseException) -> None:
        """Fail whatever waits; the next request starts another thread, with a fresh engine."""
        logger.critical("the model thread has ended", exc_info=error)
        failure = EngineFailedError(f"The model thread has ended: {type(error).__name__}; see the server's log.")
        with self._changed:
            jobs = [job for job in (self._running, *self._waiting) if job is not None]
            self._waiting.clear()
            self._thread = self._engine = self._running = None
            self._deaths += 1
        for job in jobs:
            job.end(job.passes_at_stop)
            job.resolve(None, failure)
        self._on_state("failed", str(failure))

    def _work(self) -> None:
        """Load, then work until the end."""
        failure = self._load_engine()
        while (job := self._next()) is not None:
            if job is RELOAD:
                failure = self._load_engine()
            elif failure is not None or self._engine is None:
                job.end(job.passes_at_stop)
                job.resolve(None, failure)
            else:
                self._do(self._engine, job)
            with self._changed:
                self._running = None

    def _load_engine(self) -> EngineFailedError | None:
        """Load the engine; return the failure every request gets if that does not work and there was none before."""
        self._stale = False
        self._on_state("loading", "")
        try:
            self._engine = self._load()
        except BaseException as error:  # whatever is wrong with weights, device or torch: the server goes on
            logger.error("the model cannot be loaded: %s", error, exc_info=not isinstance(error, (ValueError, OSError)))
            failure = EngineFailedError(f"The model cannot be loaded: {error}")
            if self._engine is not None:
                self._on_state("kept", f"{failure}; the one before stays.")
                return None
            self._on_state("failed", str(failure))
            return failure
        freed.give_back()  # the engine before, and what loading needed: more than half of an engine
        self._on_state("ready", str(self._engine.info.get("model", "")))
        return None

    def _next(self) -> Job | None:
        """Wait for the newest request, or else for something to do ahead; None at the end."""
        with self._changed:
            while not (self._waiting or self._ending or self._stale):
                self._changed.wait()
            if self._ending:
                return None
            if self._stale:
                return RELOAD
            requests = [job for job in self._waiting if not job.ahead]
            self._running = requests[-1] if requests else self._waiting[-1]
            self._waiting.remove(self._running)
            return self._running

    def _do(self, engine: Infiller, job: Job) -> None:
        """Run one job to its end."""
        before, result = engine.forward_passes, None
        try:
            result = job.work(engine, job.stop.is_set)
        except Exception as error:  # one bad request must not end the thread
            logger.exception("a completion failed")
            job.resolve(None, EngineFailedError(f"Completion failed: {type(error).__name__}; see the server's log."))
        finally:
            job.end(engine.forward_passes)
            if not job.ahead:
                self.last_passes = engine.forward_passes - before
        job.resolve(result)
