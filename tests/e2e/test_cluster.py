"""`mezzotint serve --config` on a real Ray cluster of several processes: `make test-serve`."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from scripts import VALUE, Script, goes_on, sharpens  # noqa: E402
from service import Service, config, service  # noqa: E402

from diffusion.backends.fallback import Fallback  # noqa: E402
from diffusion.backends.link import Address, Link  # noqa: E402
from diffusion.backends.remote import RemoteEngine  # noqa: E402
from diffusion.request import InfillRequest  # noqa: E402
from diffusion.wire import request_body  # noqa: E402

pytestmark = pytest.mark.cluster
RULES = (
    sharpens("first = ", VALUE),
    sharpens("slow = ", VALUE, pass_ms=700),
    goes_on("long = "),
)
LIMITS = {"waiting": 6, "perUser": 50}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def cluster(folder: Path, **more: Any) -> Any:
    """Two replicas, whose engine says RULES."""
    script = Script(folder)
    script.says(*RULES)
    models = [{"name": "scripted", "replicas": 2, "cpus": 0.1}]
    settings = {"port": free_port(), "models": models, "limits": LIMITS, **more}
    return service("--config", config(folder, **settings), *script.options)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running
        running.end()


def asked(served: Service, document: str, prefix: str = "first = ") -> Any:
    headers = served.headers(**{"X-Session-Id": document})
    return served.ask("POST", "/v1/infill", request_body(InfillRequest(prefix, "")), headers)


def count(served: Service, document: str, name: str) -> float:
    """What the replica of a document counted."""
    text = served.ask("GET", "/metrics", headers=served.headers(**{"X-Session-Id": document})).body.decode()
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"mezzotint_{name} ")))


def until(what: Callable[[], Any]) -> None:
    end = time.monotonic() + 120
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_drafts_come_one_by_one_through_the_proxy(served: Service) -> None:
    assert [line["text"] for line in asked(served, "a").lines] == [VALUE] * 3
    connection, response = served.begin("long = ")
    assert json.loads(response.readline())["passes"] < 500
    connection.close()
    response.close()


def test_a_documents_requests_come_to_one_replica_and_documents_are_spread(served: Service) -> None:
    replicas = {
        name: {asked(served, name).headers["Mezzotint-Replica"] for _ in range(3)} for name in map(str, range(16))
    }
    assert all(len(found) == 1 for found in replicas.values())
    assert len(set.union(*replicas.values())) == 2


def test_closing_the_stream_stops_the_loop_on_its_replica_within_one_pass(served: Service) -> None:
    headers = served.headers(**{"X-Session-Id": "cancel"})
    before, passes = (count(served, "cancel", name) for name in ("cancelled_total", "forward_passes_total"))
    connection = served.connect()
    connection.request("POST", "/v1/infill", request_body(InfillRequest("long = ", "")), headers)
    response = connection.getresponse()
    response.readline()
    connection.close()
    response.close()
    until(lambda: count(served, "cancel", "cancelled_total") > before)
    assert count(served, "cancel", "most_passes_after_cancel") <= 1
    assert count(served, "cancel", "forward_passes_total") - passes < 500


def test_refusals_come_through_as_they_are(served: Service) -> None:
    answer = served.ask("POST", "/v1/infill", b"{}", headers={})
    assert (answer.status, answer.said) == (401, "a token is needed: Authorization: Bearer TOKEN")
    answer = served.ask("POST", "/v1/infill", b"{")
    assert (answer.status, answer.said) == (400, "the request is not JSON in UTF-8")
    answer = served.ask("POST", "/v1/infill", b"x" * 2_000_001)
    assert (answer.status, answer.said) == (413, "the request is larger than 2,000,000 bytes")


def test_too_many_are_refused_and_not_kept_waiting_for_ever(served: Service) -> None:
    streams = []
    for _ in range(40):
        connection = served.connect()
        connection.request("POST", "/v1/infill", request_body(InfillRequest("long = ", "")), served.headers())
        streams.append(connection)
    refused: list[int] = []

    def listen(connection: Any) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):  # it is cut off below
            refused.append(connection.getresponse().status)

    for connection in streams:
        threading.Thread(target=listen, args=(connection,), daemon=True).start()
    until(lambda: 503 in refused)
    for connection in streams:
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()
    until(lambda: asked(served, "after").status == 200)


def test_a_replica_killed_under_load_loses_no_request_that_was_not_shown(served: Service) -> None:
    answers: dict[int, list[str]] = {}

    def nobody() -> Any:
        raise AssertionError("the model of this machine was needed")

    def ask(n: int) -> None:
        link = Link(Address.of(served.url), served.token)
        engine = Fallback(RemoteEngine(link, patience_ms=120_000), nobody)
        engine.start()
        request = InfillRequest("slow = ", "", path=str(n), deadline_ms=10_000)
        answers[n] = [draft.text for draft in engine.infill(request, lambda: False)]

    victim = int(asked(served, "victim").headers["Mezzotint-Replica"].split(".")[1])
    askers = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for asker in askers:
        asker.start()
    until(lambda: any(count(served, str(n), "waiting") for n in range(8)))  # these come to both replicas
    os.kill(victim, signal.SIGKILL)
    for asker in askers:
        asker.join(120)
    assert {n: texts[-1:] for n, texts in answers.items()} == {n: [VALUE] for n in range(4)}
    until(lambda: len({asked(served, str(n)).headers["Mezzotint-Replica"] for n in range(16)}) == 2)


def test_a_stream_that_runs_is_finished_when_the_server_is_stopped(tmp_path: Path) -> None:
    with cluster(tmp_path) as served:
        _, response = served.begin("slow = ")
        response.readline()
        ending = threading.Thread(target=served.end)
        ending.start()
        assert json.loads(response.read().splitlines()[-1])["text"] == VALUE
        ending.join(120)
        assert served.process.returncode == 0


def test_a_replica_is_added_where_more_is_asked_than_one_should_have(tmp_path: Path) -> None:
    models = [{"name": "scripted", "replicas": [1, 2], "target": 1, "cpus": 0.1}]
    with cluster(tmp_path, models=models) as served:
        enough = threading.Event()

        def keep_asking() -> None:
            while not enough.is_set():
                served.infill("slow = ")

        def replicas() -> int:
            headers = [served.headers(**{"X-Session-Id": str(n)}) for n in range(16)]
            return len({served.ask("GET", "/v1/models", headers=one).headers["Mezzotint-Replica"] for one in headers})

        assert replicas() == 1
        askers = [threading.Thread(target=keep_asking) for _ in range(4)]
        for asker in askers:
            asker.start()
        try:
            until(lambda: replicas() == 2)
        finally:
            enough.set()
            for asker in askers:
                asker.join(120)
