"""`mezzotint serve --local` over HTTP: what it answers, whom it refuses and why, and when it stops."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from scripts import VALUE, Script, goes_on, rule, sharpens  # noqa: E402
from service import Service, config, local, service  # noqa: E402

from diffusion.engine import Engine  # noqa: E402
from diffusion.request import InfillRequest  # noqa: E402
from diffusion.serve.users import add_user  # noqa: E402
from diffusion.wire import MAX_BODY_BYTES, request_body  # noqa: E402
from tests.fuzzing import count, fuzz  # noqa: E402
from tests.models import SMALL  # noqa: E402
from tests.test_adapter import adapter  # noqa: E402

RULES = (
    sharpens("first = ", VALUE),
    goes_on("long = "),
    rule("bad = ", "x", error="a reason with the user's text"),
    rule("two = ", "a\nb\nc"),
)
GOOD = request_body(InfillRequest("first = ", ""))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    script = Script(tmp_path_factory.mktemp("script"))
    script.says(*RULES)
    with local(script.options) as running:
        yield running


def until(served: Service, name: str, least: float) -> None:
    """Wait until the server has counted so much."""
    while served.count(name) < least:
        time.sleep(0.02)


def test_drafts_come_as_lines_and_the_last_is_done(served: Service) -> None:
    answer = served.infill("first = ")
    assert (answer.status, answer.headers["Mezzotint-Protocol"]) == (200, "1")
    assert [line["text"] for line in answer.lines] == [VALUE] * 3
    assert [line["done"] for line in answer.lines] == [False, False, True]
    assert [line["masked"] for line in answer.lines] == [[[0, 11]], [[5, 11]], []]


def test_a_draft_is_sent_before_the_next_one_is_there(served: Service) -> None:
    connection, response = served.begin("long = ")
    first = json.loads(response.readline())
    assert not first["done"] and first["passes"] < 500
    connection.close()


def test_closing_the_stream_stops_the_loop_within_one_pass(served: Service) -> None:
    before, passes = served.count("cancelled_total"), served.count("forward_passes_total")
    connection, response = served.begin("long = ")
    response.readline()
    connection.close()
    response.close()
    until(served, "cancelled_total", before + 1)
    assert served.count("most_passes_after_cancel") <= 1
    assert served.count("forward_passes_total") - passes < 500
    assert served.infill("first = ").lines[-1]["text"] == VALUE


def test_a_client_that_goes_while_it_waits_is_never_run(served: Service) -> None:
    cancelled = served.count("cancelled_total")
    connection, response = served.begin("long = ")
    response.readline()
    waiting = served.connect()
    waiting.request("POST", "/v1/infill", request_body(InfillRequest("long = ", "")), served.headers())
    until(served, "waiting", 1)
    waiting.close()
    until(served, "cancelled_total", cancelled + 1)
    assert served.count("waiting") == 0
    assert json.loads(response.readline())["done"] is False  # the one that runs goes on
    connection.close()
    response.close()
    until(served, "cancelled_total", cancelled + 2)


def test_a_newer_request_of_a_document_ends_the_older_ones_of_that_user_and_document_alone(served: Service) -> None:
    """Nobody has closed a stream here: its client's leaving may come late, and the model has better to do."""
    superseded, cancelled = served.count("superseded_total"), served.count("cancelled_total")

    def asks(document: str, prefix: str) -> http.client.HTTPResponse:
        connection = served.connect()
        body, headers = request_body(InfillRequest(prefix, "")), served.headers(**{"X-Session-Id": document})
        connection.request("POST", "/v1/infill", body, headers)
        return connection.getresponse()

    runs = asks("a", "long = ")
    runs.readline()
    waits, other = asks("b", "first = "), asks("c", "first = ")
    until(served, "waiting", 2)
    newest = asks("b", "first = ")
    assert waits.read() == b""  # without having been run
    assert asks("a", "first = ").read().count(b"\n") == 3
    assert newest.read().count(b"\n") == other.read().count(b"\n") == 3
    assert b'"done":true' not in runs.read()
    assert served.count("superseded_total") - superseded == served.count("cancelled_total") - cancelled == 2
    assert served.count("most_passes_after_cancel") <= 1


def test_of_those_that_wait_the_newest_is_answered_first(tmp_path: Path) -> None:
    script, noted = Script(tmp_path), tmp_path / "asked"
    script.says(*RULES, rule("other = ", "x"), asked=str(noted))
    with local(script.options) as served:
        runs, response = served.begin("long = ")
        response.readline()
        waiting = []
        for n, prefix in enumerate(("first = ", "other = "), 1):
            waiting.append(served.connect())
            body = request_body(InfillRequest(prefix, ""))
            waiting[-1].request("POST", "/v1/infill", body, served.headers())
            until(served, "waiting", n)
        runs.close()
        response.close()
        for connection in waiting:
            assert connection.getresponse().read().endswith(b"\n")
    asked = [json.loads(line)["prefix"] for line in noted.read_text().splitlines()]
    assert asked == ["long = ", "other = ", "first = "]


def test_an_engine_that_fails_is_a_line_without_its_reason_and_the_next_request_is_answered(served: Service) -> None:
    lines = served.infill("bad = ").lines
    assert lines[-1] == {"error": "the engine failed on this request; the server's log says how"}
    assert served.infill("first = ").lines[-1]["done"]


def test_the_deadline_counts_from_when_the_request_came(served: Service) -> None:
    assert served.infill("long = ", deadline_ms=30).lines[-1]["reason"] == "deadline"
    [none] = served.infill("long = ", deadline_ms=0).lines
    assert (none["text"], none["reason"], none["passes"]) == ("", "deadline", 0)


def test_other_clients_get_the_final_text_by_openais_completions(served: Service) -> None:
    asked = {"model": "embedded", "prompt": "first = ", "suffix": "\n", "max_tokens": 500, "top_p": 1, "user": "x"}
    answer = json.loads(served.ask("POST", "/v1/completions", json.dumps(asked)).body)
    assert answer["object"] == "text_completion"
    assert answer["choices"] == [{"text": VALUE, "index": 0, "logprobs": None, "finish_reason": "stop"}]
    stopped = {"prompt": "two = ", "stop": "\nc"}
    assert json.loads(served.ask("POST", "/v1/completions", json.dumps(stopped)).body)["choices"][0]["text"] == "a\nb"


def test_a_client_of_openais_completions_that_goes_stops_the_loop_within_one_pass(served: Service) -> None:
    before, passes = served.count("cancelled_total"), served.count("forward_passes_total")
    connection = served.connect()
    body = json.dumps({"prompt": "long = "})
    connection.request("POST", "/v1/completions", body, served.headers())
    asked_of = served.connect()
    while True:  # until it runs: who asks ahead is refused then
        asked_of.request("POST", "/v1/prepare", GOOD, served.headers())
        answer = asked_of.getresponse()
        answer.read()
        if answer.status == 503:
            break
    connection.close()
    until(served, "cancelled_total", before + 1)
    assert served.count("most_passes_after_cancel") <= 1
    assert served.count("forward_passes_total") - passes < 500
    assert served.infill("first = ").lines[-1]["text"] == VALUE


def test_what_a_client_must_know_of_the_model_is_said_and_no_path(served: Service) -> None:
    answer = json.loads(served.ask("GET", "/v1/models").body)
    assert [model["id"] for model in answer["data"]] == ["embedded"]
    assert answer["data"][0]["info"] == {"backend": "script", "device": "cpu"}


@pytest.mark.parametrize(
    ("headers", "status", "sentence"),
    [
        ({}, 401, "a token is needed: Authorization: Bearer TOKEN"),
        ({"Authorization": "Bearer x"}, 401, "this token is nobody's; who runs the server gives you another"),
        ({"Authorization": "Basic x"}, 401, "this token is nobody's; who runs the server gives you another"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/infill"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/prepare"),
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
    ],
)
def test_who_shows_no_token_of_ours_is_told_so(
    served: Service, method: str, path: str, headers: dict[str, str], status: int, sentence: str
) -> None:
    answer = served.ask(method, path, GOOD if method == "POST" else None, headers)
    assert (answer.status, answer.said) == (status, sentence)


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"{", 400, "the request is not JSON in UTF-8"),
        (b'{"version": 2}', 400, "this server speaks version 1 of the protocol, not 2"),
        (b'{"version": 1}', 400, "prefix is missing"),
        (b"x" * (MAX_BODY_BYTES + 1), 413, f"the request is larger than {MAX_BODY_BYTES:,} bytes"),
        (
            request_body(InfillRequest("", ""), "gpt"),
            404,
            "the model here is 'embedded', not 'gpt'; /v1/models lists it",
        ),
    ],
    ids=["malformed", "version", "missing", "oversized", "model"],
)
def test_what_is_wrong_with_a_request_is_one_sentence(served: Service, body: bytes, status: int, sentence: str) -> None:
    answer = served.ask("POST", "/v1/infill", body)
    assert (answer.status, answer.said) == (status, sentence)


def test_another_version_of_the_protocol_is_told_so_before_the_body_is_read(served: Service) -> None:
    answer = served.ask("POST", "/v1/infill", b"{", served.headers(**{"Mezzotint-Protocol": "2"}))
    assert (answer.status, answer.said) == (400, "this server speaks version 1 of the protocol, not '2'")


def test_a_body_without_a_length_is_bounded_as_well(served: Service) -> None:
    pieces = (b"x" * 100_000 for _ in range(MAX_BODY_BYTES // 100_000 + 1))
    answer = served.ask("POST", "/v1/infill", pieces)
    assert (answer.status, answer.said) == (413, f"the request is larger than {MAX_BODY_BYTES:,} bytes")


def test_a_client_that_sends_half_a_body_and_goes_does_no_harm(served: Service) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as raw:
        head = f"POST /v1/infill HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.token}\r\n"
        raw.sendall(head.encode() + b"Content-Length: 100\r\n\r\n{")
    assert served.infill("first = ").lines[-1]["done"]


def test_what_is_not_there_is_said_and_health_needs_no_token(served: Service) -> None:
    assert served.ask("GET", "/v2").said == "there is nothing here"
    assert served.ask("GET", "/v1/infill").said == "not with this method"
    assert json.loads(served.ask("GET", "/healthz", headers={}).body) == {"ok": True}


WIRE: dict[str, Any] = {"version": 1, "prefix": "first = ", "suffix": "", "middle": [{}]}
GOOD_BODIES = {"/v1/infill": WIRE, "/v1/prepare": WIRE, "/v1/completions": {"prompt": "first = ", "suffix": ""}}
MORE = ("start", "otherFiles", "deadlineMs", "seed", "temperature", "stopBelow", "language", "model")
OPENAIS = ("stop", "max_tokens", "n", "stream", "seed", "temperature", "model", "user")
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """A path and a body for it: bytes, or what would be right with some fields that hold anything."""
    path, good = draw(st.sampled_from(sorted(GOOD_BODIES.items())))
    names = st.sampled_from([*good, *(OPENAIS if "prompt" in good else MORE)])
    made = st.dictionaries(names, values, max_size=2).map(lambda more: json.dumps({**good, **more}).encode())
    cut = st.tuples(made, st.integers(0, 100)).map(lambda pair: pair[0][: pair[1]])
    return path, draw(st.one_of(st.binary(max_size=200), made, made, cut))


@fuzz(80, by=20)
@given(bodies())
def test_whatever_body_comes_it_is_answered_and_so_is_the_next(served: Service, asked: tuple[str, bytes]) -> None:
    path, body = asked
    count("bodies")
    answer = served.ask("POST", path, body)
    assert answer.status in (200, 204, 400, 404, 503), answer
    assert answer.status in (200, 204) or answer.said
    assert served.process.poll() is None
    assert served.infill("first = ").lines[-1]["text"] == VALUE


def test_more_than_may_wait_is_refused_at_once(tmp_path: Path) -> None:
    script = Script(tmp_path)
    script.says(*RULES)
    users = tmp_path / "users"
    tokens = [add_user(users, name) for name in ("ada", "bob")]
    limits = {"waiting": 2, "perUser": 2}
    with local(script.options, "--config", config(tmp_path, limits=limits, users=str(users))) as served:
        open_streams = []
        for n in range(3):
            served.token = tokens[n % 2]
            open_streams.append(served.connect())
            open_streams[-1].request("POST", "/v1/infill", request_body(InfillRequest("long = ", "")), served.headers())
            until(served, "requests_total", n + 1)
        third = served.ask("POST", "/v1/infill", GOOD)
        assert (third.status, third.headers["Retry-After"]) == (503, "1")
        assert third.said == "2 requests wait here already, which is the limit; try again"
        served.token = tokens[0]
        open_streams[1].close()
        until(served, "cancelled_total", 1)
        mine = served.ask("POST", "/v1/infill", GOOD)
        assert (mine.status, mine.said) == (429, "2 of your requests are not answered yet, which is the limit")
        assert served.count("refused_total") == 2


def test_a_replica_runs_as_many_requests_at_once_as_its_batch_says(tmp_path: Path) -> None:
    script = Script(tmp_path)
    script.says(*RULES)
    with local(script.options, "--config", config(tmp_path, models=[{"batch": 2}])) as served:
        streams = [served.begin("long = ") for _ in range(2)]
        assert not any(json.loads(response.readline())["done"] for _, response in streams)
        third = served.connect()
        third.request("POST", "/v1/infill", request_body(InfillRequest("first = ", "")), served.headers())
        until(served, "waiting", 1)
        connection, response = streams[0]
        connection.close()
        response.close()
        assert third.getresponse().read().count(b"\n") == 3
        assert served.count("most_passes_after_cancel") <= 1
        assert json.loads(streams[1][1].readline())["done"] is False  # the one beside it goes on
        streams[1][0].close()


def test_requests_that_run_at_once_have_the_texts_and_costs_that_each_has_alone(tmp_path: Path) -> None:
    prefixes = [
        f"import {name}\n\n\ndef listed(folder):\n    names = {name}." * 4 for name in ("os", "re", "io", "ast")
    ]

    def answers(batch: int) -> list[tuple[str, int]]:
        model = {"model": str(SMALL), "threads": 1, "batch": batch}
        with service("--local", "--port", "0", "--config", config(tmp_path, models=[model])) as served:
            with ThreadPoolExecutor(len(prefixes)) as pool:
                last = [answer.lines[-1] for answer in pool.map(served.infill, prefixes)]
        return [(line["text"], line["cost"]["encodedTokens"]) for line in last]

    assert answers(4) == answers(1)


def test_a_user_is_added_and_removed_without_a_restart(tmp_path: Path) -> None:
    script, users = Script(tmp_path), tmp_path / "users"
    ada = add_user(users, "ada")
    with local(script.options, "--users", str(users)) as served:
        served.token = add_user(users, "bob")
        while served.ask("GET", "/v1/models").status != 200:
            time.sleep(0.1)
        users.write_text("")
        while served.ask("GET", "/v1/models").status != 401:
            time.sleep(0.1)
        assert served.ask("GET", "/v1/models", headers={"Authorization": f"Bearer {ada}"}).status == 401


def test_a_stream_that_runs_is_finished_before_the_server_ends(tmp_path: Path) -> None:
    script = Script(tmp_path)
    script.says(sharpens("x = ", VALUE, pass_ms=300))
    with local(script.options) as served:
        _, response = served.begin("x = ")
        response.readline()
        assert served.end() == 0
        assert json.loads(response.read().splitlines()[-1])["text"] == VALUE


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"host": "0.0.0.0"}, "host must be a loopback address"),
        ({"host": "0.0.0.0", "allowRemote": True}, "a server that others reach needs a file of users"),
        ({"models": [{"replicas": [3, 1]}]}, "replicas must be the least and the most, in this order"),
        ({"modles": []}, "'modles' is no field of the configuration"),
    ],
)
def test_what_is_wrong_with_the_configuration_is_one_sentence(
    tmp_path: Path, fields: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(AssertionError, match=sentence):
        service("--local", "--config", config(tmp_path, **fields)).__enter__()


def test_a_real_model_goes_on_from_the_users_own_context_and_from_nobody_elses(tmp_path: Path) -> None:
    users = tmp_path / "users"
    ada, bob = add_user(users, "ada"), add_user(users, "bob")
    prefix = "import os\n\n\ndef listed(folder):\n    names = os." * 4
    with service("--local", "--port", "0", "--model", str(SMALL), "--users", str(users)) as served:

        def encoded(token: str) -> int:
            served.token = token
            return int(served.infill(prefix).lines[-1]["cost"]["encodedTokens"])

        cold = encoded(ada)
        assert encoded(ada) < cold and encoded(bob) == cold
        until(served, "contexts", 2)


def test_an_adapter_is_served_under_its_own_name_and_what_it_adds_is_said(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "mine")
    model = {"name": "ours", "model": str(SMALL), "adapter": str(folder)}
    with service("--local", "--port", "0", "--config", config(tmp_path, models=[model])) as served:
        [said] = json.loads(served.ask("GET", "/v1/models").body)["data"]
        assert said["id"] == "ours"
        expected = Engine.load(SMALL, adapter=folder)
        assert said["info"]["adapter"] == expected.info["adapter"] != Engine.load(SMALL).info.get("adapter")
        request = InfillRequest("def area(width, height):\n    return ", "\n")
        text = list(expected.infill(request, lambda: False))[-1].text
        assert served.infill(request.prefix, request.suffix).lines[-1]["text"] == text


def test_an_adapter_of_another_model_is_one_sentence(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "foreign", base="0" * 12)
    with pytest.raises(AssertionError, match="mezzotint serve: the adapter .* belongs to other weights"):
        model = {"model": str(SMALL), "adapter": str(folder)}
        service("--local", "--config", config(tmp_path, models=[model])).__enter__()


def test_a_context_is_encoded_ahead(tmp_path: Path) -> None:
    prefix = "import os\n\n\ndef listed(folder):\n    names = os." * 4
    with service("--local", "--port", "0", "--model", str(SMALL)) as served:
        assert served.ask("POST", "/v1/prepare", request_body(InfillRequest(prefix, ""))).status == 204
        passes, encoded = served.count("forward_passes_total"), served.count("encoded_tokens_total")
        assert passes == 0 and encoded > 0
        assert served.infill(prefix).lines[-1]["cost"]["encodedTokens"] < encoded
