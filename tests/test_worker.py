from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import wait

import pytest

from cuda_ext import native
from diffusion.engine import Engine
from diffusion.request import Draft, Hole, InfillRequest
from lsp_server import freed
from lsp_server.worker import MAX_DEATHS, EngineFailedError, Infiller, Job, Worker, logger
from tests.models import SMALL


class PanicError(BaseException):
    """What pyo3 raises for a panic, which is no Exception either."""


class Stepwise:
    """An engine whose every forward pass waits until the test lets it happen."""

    def __init__(self) -> None:
        self.forward_passes = 0
        self.info: dict[str, object] = {"model": "stepwise"}
        self.go = threading.Semaphore(0)
        self.stepped = threading.Semaphore(0)
        self.order: list[str] = []

    def step(self) -> None:
        """Let one pass happen and wait until it has."""
        self.go.release()
        assert self.stepped.acquire(timeout=60)

    def infill(self, request: InfillRequest, cancelled: Callable[[], bool]) -> Iterator[Draft]:
        self.order.append(request.prefix)
        if request.prefix == "bad":
            raise RuntimeError("boom")
        if request.prefix == "panic":
            self.go.acquire()
            raise PanicError("a Rust library")
        for step in range(1, 4):
            if cancelled():
                return
            self.go.acquire()
            self.forward_passes += 1
            self.stepped.release()
            yield Draft(step, "xyz"[:step], (), 1.0, step, done=step == 3)

    def prepare(self, request: InfillRequest, cancelled: Callable[[], bool]) -> None:
        self.order.append("prepare")
        while not cancelled():
            pass


def infill(uri: str, asked: InfillRequest, on_draft: Callable[[Draft], None] = lambda draft: None) -> Job:
    """A job that asks the engine, and comes to its last draft."""

    def work(engine: Infiller, cancelled: Callable[[], bool]) -> Draft | None:
        last = None
        for last in engine.infill(asked, cancelled):
            on_draft(last)
        return last if last is not None and last.done else None

    return Job(uri, work)


def request(uri: str, prefix: str = "a = ", on_draft: Callable[[Draft], None] = lambda draft: None) -> Job:
    """The same behind a prefix."""
    return infill(uri, InfillRequest(prefix, "\n"), on_draft)


def ahead(uri: str) -> Job:
    """A job that nobody waits for."""
    return Job(uri, lambda engine, cancelled: engine.prepare(InfillRequest("a = ", "\n"), cancelled), ahead=True)


def started(engine: Stepwise) -> Worker:
    worker = Worker(lambda: engine, lambda state, detail: None)
    worker.start()
    return worker


def test_drafts_come_in_order_and_the_last_is_the_result() -> None:
    engine = Stepwise()
    drafts: list[Draft] = []
    worker = started(engine)
    job = worker.submit(request("a", on_draft=drafts.append))
    for _ in range(3):
        engine.step()
    assert job.future.result(60) == drafts[-1]
    assert [draft.step for draft in drafts] == [1, 2, 3]
    assert worker.forward_passes == 3
    assert worker.end()


def test_a_newer_request_of_the_same_document_answers_the_older_at_once() -> None:
    engine = Stepwise()
    worker = started(engine)
    old = worker.submit(request("a"))
    engine.step()
    new = worker.submit(request("a"))
    assert old.future.result(60) is None
    engine.go.release(4)  # at most one for the older loop, three for the newer
    assert new.future.result(60) is not None
    assert old.passes_at_end is not None and old.passes_at_stop is not None
    assert old.passes_at_end - old.passes_at_stop <= 1
    assert worker.counts["superseded"] == 1
    engine.go.release()
    assert worker.end()


def test_requests_of_other_documents_wait_and_the_newest_goes_first() -> None:
    engine = Stepwise()
    worker = started(engine)
    first = worker.submit(request("a", "first"))
    engine.step()
    second = worker.submit(request("b", "second"))
    third = worker.submit(request("c", "third"))
    engine.go.release(8)
    assert all(job.future.result(60) is not None for job in (first, second, third))
    assert engine.order == ["first", "third", "second"]
    assert worker.end()


def test_cancel_stops_before_the_next_pass() -> None:
    engine = Stepwise()
    worker = started(engine)
    job = worker.submit(request("a"))
    engine.step()
    worker.cancel(job)
    worker.cancel(job)
    engine.go.release()
    assert worker.end()
    assert engine.forward_passes <= 2
    assert worker.counts["cancelled"] == 1


@pytest.mark.skipif(bool(native.why_not("cpu")), reason=f"native backend: {native.why_not('cpu')}")
def test_a_native_loop_that_is_cancelled_runs_at_most_the_pass_that_has_begun() -> None:
    """It runs ahead of its reader: what is counted is passes that ran, not drafts that were read."""
    engine = Engine.load(SMALL, backend="native", threads=1)
    worker = Worker(lambda: engine, lambda state, detail: None)
    asked = InfillRequest("import os\n\ndef area(width, height):\n    return ", "\n", (Hole(64, multiline=True),))
    worker.submit(infill("a", asked)).future.result(60)
    n_passes = engine.forward_passes
    for _ in range(20):  # the loop may be over before its first draft is read
        before = engine.forward_passes
        job = cancelled_at_its_first_draft(worker, asked)
        assert job.passes_at_stop is not None and job.passes_at_end is not None
        assert job.passes_at_end - job.passes_at_stop <= 1
        if job.passes_at_end - before < n_passes:
            break
    else:
        pytest.fail("every loop was over before it was cancelled")
    assert worker.end()
    assert engine.forward_passes == job.passes_at_end  # nothing ran afterwards


def cancelled_at_its_first_draft(worker: Worker, asked: InfillRequest) -> Job:
    """A job that has ended so."""
    job = infill("a", asked, lambda draft: worker.cancel(job))
    worker.submit(job)
    assert job.future.result(60) is None
    while job.passes_at_end is None:
        pass
    return job


def test_encoding_ahead_gives_way_to_a_request() -> None:
    engine = Stepwise()
    worker = started(engine)
    worker.submit(ahead("a"))
    while "prepare" not in engine.order:
        pass
    job = worker.submit(request("b"))
    engine.go.release(3)
    assert job.future.result(60) is not None
    assert worker.end()


def test_an_error_of_the_engine_fails_one_request_only() -> None:
    engine = Stepwise()
    worker = started(engine)
    with pytest.raises(EngineFailedError, match="RuntimeError"):
        worker.submit(request("a", "bad")).future.result(60)
    engine.go.release(3)
    assert worker.submit(request("a")).future.result(60) is not None
    assert worker.end()


def test_an_engine_that_cannot_be_loaded_fails_every_request() -> None:
    states = []

    def load() -> Stepwise:
        raise ValueError("weights are truncated")

    worker = Worker(load, lambda state, detail: states.append((state, detail)))
    for _ in range(2):
        with pytest.raises(EngineFailedError, match="truncated"):
            worker.submit(request("a")).future.result(60)
    assert states == [("loading", ""), ("failed", "The model cannot be loaded: weights are truncated")]
    assert worker.end()


def test_a_panic_fails_all_that_waits_and_the_next_request_starts_again() -> None:
    engine, states = Stepwise(), []
    worker = Worker(lambda: engine, lambda state, detail: states.append(state))
    panic = worker.submit(request("a", "panic"))
    while not engine.order:
        pass
    waiting = worker.submit(request("b"))
    engine.go.release()
    for job in (panic, waiting):
        with pytest.raises(EngineFailedError, match="PanicError"):
            job.future.result(60)
    engine.go.release(3)
    assert worker.submit(request("a")).future.result(60) is not None
    assert states == ["loading", "ready", "failed", "loading", "ready"]
    assert worker.end()


def test_a_thread_that_keeps_dying_is_left_and_requests_fail_at_once() -> None:
    loaded = []

    def load() -> Stepwise:
        loaded.append(Stepwise())
        loaded[-1].go.release()
        return loaded[-1]

    worker = Worker(load, lambda state, detail: None)
    for _ in range(MAX_DEATHS + 2):
        with pytest.raises(EngineFailedError, match="ended"):
            worker.submit(request("a", "panic")).future.result(60)
    assert len(loaded) == MAX_DEATHS
    assert worker.end()


def test_a_panic_while_the_engine_is_loaded_fails_every_request() -> None:
    def load() -> Stepwise:
        raise PanicError("a Rust library")

    worker = Worker(load, lambda state, detail: None)
    for _ in range(2):
        with pytest.raises(EngineFailedError, match="cannot be loaded"):
            worker.submit(request("a")).future.result(60)
    assert worker.end()


def test_a_request_after_the_end_fails_at_once() -> None:
    worker = started(Stepwise())
    assert worker.end()
    with pytest.raises(EngineFailedError):
        worker.submit(request("a")).future.result(60)


def test_a_model_that_cannot_be_loaded_leaves_the_one_before_at_work() -> None:
    engine, states = Stepwise(), list[tuple[str, str]]()
    loads: Iterator[Infiller | Exception] = iter([engine, ValueError("no such folder")])

    def load() -> Infiller:
        found = next(loads)
        if isinstance(found, Exception):
            raise found
        return found

    worker = Worker(load, lambda state, detail: states.append((state, detail)))
    for _ in range(3):
        engine.go.release()
    assert worker.submit(infill("file:///a.py", InfillRequest("a", "", (Hole(4),)))).future.result(60) is not None
    worker.reload()
    for _ in range(3):
        engine.go.release()
    assert worker.submit(infill("file:///a.py", InfillRequest("b", "", (Hole(4),)))).future.result(60) is not None
    worker.end()
    assert [state for state, _ in states] == ["loading", "ready", "loading", "kept"]
    assert states[-1][1] == "The model cannot be loaded: no such folder; the one before stays."


@pytest.mark.parametrize("how", ["done", "failed", "superseded", "without an engine", "after the end"])
def test_what_a_job_held_is_gone_when_it_has_ended_without_the_garbage_collector(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logger, "disabled", True)  # pytest keeps what is logged, an error's frames with it
    engine = Stepwise()
    worker = started(engine) if how != "without an engine" else Worker(no_engine, lambda state, detail: None)
    blocker = worker.submit(request("blocker"))
    if how == "after the end":
        engine.go.release(3)
        assert worker.end()
    gc.collect()
    gc.disable()
    try:
        job, held = in_a_circle("bad" if how == "failed" else "a = ")
        worker.submit(job)
        if how == "superseded":
            worker.supersede("a")
        engine.go.release(6)
        wait([job.future, blocker.future], 60)
        assert worker.end()  # a failed job is let go of behind its answer
        del job
        assert held() is None
    finally:
        gc.enable()


def in_a_circle(prefix: str) -> tuple[Job, weakref.ref[InfillRequest]]:
    """A job whose work knows it, as a session's does, and what it holds."""
    asked = InfillRequest(prefix, "\n")
    job = infill("a", asked, lambda draft: None if job.stop.is_set() else None)
    return job, weakref.ref(asked)


def no_engine() -> Infiller:
    """What a loader does that finds no model."""
    raise ValueError("no such model")


def test_when_an_engine_is_loaded_the_one_before_is_gone_and_its_memory_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[weakref.ref[Stepwise]] = []
    alive: list[list[bool]] = []

    def load() -> Infiller:
        engine = Stepwise()
        loaded.append(weakref.ref(engine))
        return engine

    monkeypatch.setattr(freed, "give_back", lambda: alive.append([one() is not None for one in loaded]))
    worker = Worker(load, lambda state, detail: None)
    worker.submit(answered("a")).future.result(60)
    worker.reload()
    while len(alive) < 2:
        pass
    assert worker.end()
    assert alive == [[True], [False, True]]


def answered(uri: str) -> Job:
    """A job that needs no pass."""
    return Job(uri, lambda engine, cancelled: True)
