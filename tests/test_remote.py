"""diffusion/backends/remote.py, link.py and fallback.py against a server that does right and wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from diffusion.backends.fallback import Fallback
from diffusion.backends.link import Address, Link, RemoteError, is_open
from diffusion.backends.remote import UNSEEN, RemoteEngine, within
from diffusion.request import Draft, InfillRequest, Start
from diffusion.wire import MAX_LINE_BYTES, MAX_TEXT_CHARS, read_request
from lsp_server.scripted import Rule, Script, ScriptedEngine
from tests.remote_server import Asked, FakeServer, fake_server

REQUEST = InfillRequest("x = ", "\n", path="src/a.py", recall_from=("whole",))
HERE = Rule("", ((("from here", 1.0),),))


def never() -> bool:
    return False


def remote(server: FakeServer, patience_ms: float = 60_000) -> RemoteEngine:
    return RemoteEngine(Link(Address.of(server.url), "secret-token"), patience_ms)


def either(server: FakeServer, patience_ms: float = 60_000) -> Fallback:
    engine = Fallback(remote(server, patience_ms), lambda: ScriptedEngine(lambda: Script((HERE,))))
    engine.start()
    return engine


def texts(drafts: Iterator[Draft]) -> list[str]:
    return [draft.text for draft in drafts]


def sharpens(asked: Asked) -> None:
    asked.begin()
    asked.draft("from there", ((0, 10),), passes=1)
    asked.draft("from there", done=True, passes=3)
    asked.end()


def busy(asked: Asked) -> None:
    asked.json({"error": {"message": "too many wait"}}, 503)


def test_drafts_and_passes_come_from_the_server() -> None:
    with fake_server(sharpens) as server:
        engine = remote(server)
        drafts = list(engine.infill(REQUEST, never))
    assert [(draft.text, draft.done) for draft in drafts] == [("from there", False), ("from there", True)]
    assert engine.forward_passes == 3


def unseen(engine: RemoteEngine, server: FakeServer) -> None:
    """Ask as often as a typist does before it is clear that keys are faster than drafts."""
    for n in range(1, UNSEEN + 1):
        assert list(engine.infill(REQUEST, lambda n=n: len(server.asked) >= n)) == []  # type: ignore[misc]


def says_after(server_says: list[Callable[[Asked], object]]) -> Callable[[Asked], object]:
    return lambda asked: server_says[-1](asked)


def waits(asked: Asked) -> None:
    asked.begin()
    asked.gone()


def test_keys_that_are_faster_than_drafts_ask_no_more_and_a_pause_does() -> None:
    answers: list[Callable[[Asked], object]] = [waits]
    with fake_server(says_after(answers)) as server:
        engine = remote(server)
        unseen(engine, server)
        for _ in range(5):
            looks = iter((False, True))
            assert list(engine.infill(REQUEST, lambda: next(looks, True))) == []  # noqa: B023
        assert len(server.asked) == engine.sent == UNSEEN
        answers.append(sharpens)
        assert texts(engine.infill(REQUEST, never)) == ["from there", "from there"]


def test_a_draft_that_was_seen_lets_keys_ask_at_once_again() -> None:
    answers: list[Callable[[Asked], object]] = [waits]
    with fake_server(says_after(answers)) as server:
        engine = remote(server)
        unseen(engine, server)
        answers.append(sharpens)
        list(engine.infill(REQUEST, never))
        answers.append(waits)
        n = len(server.asked) + 1
        assert list(engine.infill(REQUEST, lambda: len(server.asked) >= n)) == []
        assert len(server.asked) == n


def test_what_is_sent_is_the_request_the_token_and_a_key_that_names_nothing() -> None:
    with fake_server(sharpens) as server:
        engine = remote(server)
        for path in ("src/a.py", "src/a.py", "src/b.py"):
            list(engine.infill(InfillRequest("x = ", "\n", path=path, recall_from=("whole",)), never))
        first, again, other = server.asked
    assert read_request(first.body).request == InfillRequest("x = ", "\n")
    assert first.headers["authorization"] == "Bearer secret-token"
    assert first.headers["x-session-id"] == again.headers["x-session-id"] != other.headers["x-session-id"]
    sent = str(first.headers).encode() + first.body
    assert b"a.py" not in sent and b"whole" not in sent
    known = {"host", "accept-encoding", "content-length", "content-type", "authorization", "mezzotint-protocol"}
    assert set(first.headers) == {*known, "x-session-id"}


def test_one_connection_is_enough_for_one_request_after_another() -> None:
    with fake_server(sharpens) as server:
        engine = remote(server)
        for _ in range(5):
            list(engine.infill(REQUEST, never))
            wait_for(lambda: engine.link._idle)
        assert (len(server.asked), server.connections) == (5, 1)


def test_a_kept_connection_that_the_server_has_closed_is_no_error() -> None:
    def then_closes(asked: Asked) -> str:
        sharpens(asked)
        return "break"

    with fake_server(then_closes) as server:
        engine = remote(server)
        for _ in range(3):
            assert texts(engine.infill(REQUEST, never))[-1] == "from there"
            wait_for(lambda: engine.link._idle and not is_open(engine.link._idle[0]))
        assert server.connections == 3


def test_cancelling_closes_the_connection_and_opens_the_next_one_ahead() -> None:
    went = threading.Event()

    def goes_on(asked: Asked) -> None:
        asked.begin()
        asked.draft("a", ((0, 1),))
        if asked.gone():
            went.set()

    with fake_server(goes_on) as server:
        engine = remote(server)
        stop = threading.Event()
        for _ in engine.infill(REQUEST, stop.is_set):
            stop.set()
        assert went.wait(30)
        wait_for(lambda: engine.link._idle)
        assert server.connections == 2 and len(server.asked) == 1


def test_who_stops_reading_cancels() -> None:
    went = threading.Event()

    def goes_on(asked: Asked) -> None:
        asked.begin()
        asked.draft("a", ((0, 1),))
        if asked.gone():
            went.set()

    with fake_server(goes_on) as server:
        drafts = remote(server).infill(REQUEST, never)
        next(drafts)
        drafts.close()  # type: ignore[attr-defined]
        assert went.wait(30)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"not json\n", "the draft is not JSON in UTF-8"),
        (b'{"text": 1}\n', "text must be a text"),
        (b"x" * (MAX_LINE_BYTES + 9) + b"\n", "the draft is larger than"),
        (b'{"error": "the engine failed"}\n', "the server says: the engine failed"),
    ],
)
def test_an_answer_that_is_none_is_one_sentence(line: bytes, why: str) -> None:
    def answers(asked: Asked) -> None:
        asked.begin()
        asked.line(line)
        asked.end()

    with fake_server(answers) as server, pytest.raises(RemoteError, match=why):
        list(remote(server).infill(REQUEST, never))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://models.example", "is not encrypted: use https"),
        ("ftp://localhost", "must be a URL like https://models.example"),
        ("https://", "must be a URL like"),
        ("https://me:secret@models.example", "must be a URL like"),
        ("https://models.example/?x=1", "must be a URL like"),
        ("https://models.example:port", "is no URL"),
    ],
)
def test_only_tls_or_this_machine_is_asked(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Address.of(url)


def test_addresses_may_have_a_port_and_a_path() -> None:
    assert Address.of("https://models.example/team/") == (True, "models.example", 443, "/team")
    assert Address.of("http://[::1]:8000") == (False, "::1", 8000, "")


def test_more_than_a_server_takes_is_cut_and_the_least_relevant_goes_first() -> None:
    chunk = "y" * (MAX_TEXT_CHARS // 2)
    start = Start((("z" * (MAX_TEXT_CHARS + 1), 0.5),))
    long = "x" * MAX_TEXT_CHARS
    cut = within(InfillRequest("a" + long, long + "b", other_files=("1", chunk, chunk), start=start))
    assert len(cut.prefix) == len(cut.suffix) == MAX_TEXT_CHARS and "a" not in cut.prefix and "b" not in cut.suffix
    assert cut.other_files == (chunk, chunk) and cut.start is None


def test_the_servers_model_is_what_completions_are_planned_for() -> None:
    with fake_server(sharpens) as server:
        info = either(server).info
    assert (info["policy"], info["other_tokens"], info["device"], info["trouble"]) == ("verdict", 9, "127.0.0.1", "")


def test_the_model_of_this_machine_answers_where_there_is_no_server() -> None:
    with fake_server(sharpens) as server:
        url = server.url
    engine = Fallback(RemoteEngine(Link(Address.of(url), "t"), 1000), lambda: ScriptedEngine(lambda: Script((HERE,))))
    engine.start()
    assert texts(engine.infill(REQUEST, never)) == ["from here"]
    assert engine.info["answered_by"] == "local" and engine.info["backend"] == "script"
    assert engine.info["trouble"] == "127.0.0.1: Connection refused"


def test_a_busy_server_is_not_asked_again_at_once_and_then_it_is() -> None:
    with fake_server(busy) as server:
        engine = either(server)
        assert texts(engine.infill(REQUEST, never)) == ["from here"]
        assert engine.info["trouble"] == "too many wait"
        assert texts(engine.infill(REQUEST, never)) == ["from here"]
        assert len(server.asked) == 1
        server.answer = sharpens
        engine._until_s = 0.0  # the pause is over
        wait_for(lambda: texts(engine.infill(REQUEST, never))[-1] == "from there")
        assert (engine.info["answered_by"], engine.info["trouble"]) == ("remote", "")


def test_a_token_that_is_refused_is_said_in_the_servers_words() -> None:
    def refuses(asked: Asked) -> None:
        asked.json({"error": {"message": "this token is nobody's"}}, 401)

    with fake_server(refuses) as server:
        server.greets = False
        engine = either(server)
        assert engine.info["trouble"] == "this token is nobody's"
        assert texts(engine.infill(REQUEST, never)) == ["from here"]


def test_an_answer_that_breaks_off_before_anything_was_shown_is_asked_for_again() -> None:
    def breaks_once(asked: Asked) -> object:
        if len(asked.server.asked) == 1:
            asked.begin()
            return "break"
        return sharpens(asked)

    with fake_server(breaks_once) as server:
        engine = either(server)
        assert texts(engine.infill(REQUEST, never))[-1] == "from there"
        assert len(server.asked) == 2 and engine.info["trouble"] == ""


def test_it_is_asked_again_once_and_no_more() -> None:
    with fake_server(lambda asked: "break") as server:
        engine = either(server)
        assert texts(engine.infill(REQUEST, never)) == ["from here"]
        assert len(server.asked) == 2


def test_what_was_decided_before_an_answer_broke_off_is_the_answer() -> None:
    def breaks_late(asked: Asked) -> str:
        asked.begin()
        asked.draft("from there", ((4, 10),))
        return "break"

    with fake_server(breaks_late) as server:
        drafts = list(either(server).infill(REQUEST, never))
        assert len(server.asked) == 1
    assert [(draft.text, draft.masked, draft.done) for draft in drafts] == [
        ("from there", ((4, 10),), False),
        ("from", (), True),
    ]


def test_where_only_guesses_were_shown_this_machine_goes_on() -> None:
    def breaks_early(asked: Asked) -> str:
        asked.begin()
        asked.draft("from there", ((0, 10),))
        return "break"

    with fake_server(breaks_early) as server:
        assert texts(either(server).infill(REQUEST, never)) == ["from there", "from here"]


def test_a_slow_server_gives_way_and_sees_the_client_go() -> None:
    went = threading.Event()

    def is_slow(asked: Asked) -> None:
        if asked.gone():
            went.set()

    with fake_server(is_slow) as server:
        engine = either(server, patience_ms=50)
        assert texts(engine.infill(REQUEST, never)) == ["from here"]
        assert "is slow: no answer in" in str(engine.info["trouble"])
        assert went.wait(30)


def test_at_the_deadline_what_was_decided_is_the_answer() -> None:
    def hangs(asked: Asked) -> None:
        asked.begin()
        asked.draft("from there", ((4, 10),))
        asked.gone()

    with fake_server(hangs) as server:
        request = InfillRequest("x = ", "", deadline_ms=1)
        assert texts(either(server).infill(request, never))[-1] == "from"


def test_a_cancelled_request_is_asked_of_nobody_else() -> None:
    with fake_server(lambda asked: asked.gone()) as server:
        engine = either(server)
        stop = threading.Event()
        threading.Timer(0.05, stop.set).start()
        assert texts(engine.infill(REQUEST, stop.is_set)) == []
        assert engine.forward_passes == 0 and engine.info["trouble"] == ""


def test_contexts_are_encoded_ahead_there_and_a_busy_server_is_no_trouble() -> None:
    with fake_server(busy) as server:
        engine = either(server)
        engine.prepare(REQUEST, never)
        assert server.asked[0].path == "/v1/prepare" and engine.info["trouble"] == ""


def test_no_redirect_is_followed() -> None:
    def elsewhere(asked: Asked) -> None:
        head = b"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"
        asked.connection.sendall(head)

    with fake_server(elsewhere) as server, pytest.raises(RemoteError, match="status 307"):
        list(remote(server).infill(REQUEST, never))


def wait_for(what: Callable[[], Any]) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)
