"""lsp_server/tools/bench_team.py: what its typists do and count, against a server that says what a test wants."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from diffusion.request import InfillRequest
from diffusion.wire import read_request
from lsp_server.tools import team_typist
from lsp_server.tools.bench_team import Plan, make_parser, new_tokens, plans
from lsp_server.tools.team_counts import ELSEWHERE, KEY, LINE, SLICES, Counts, around, percentile, slices, work
from lsp_server.tools.team_typist import OPTIONS, Typist, places
from tests.models import SMALL
from tests.remote_server import Asked, FakeServer, fake_server

TEXT = "x = value\n" * 50


def says(asked: Asked) -> None:
    asked.begin()
    asked.draft("value", ((0, 5),), passes=1)
    line = b'{"step":2,"text":"value","masked":[],"confidence":0.9,"passes":3,"done":true,"reason":"complete",'
    asked.line(line + b'"tokens":[],"cost":{"contextTokens":40,"encodedTokens":10,"waitedMs":0}}\n')
    asked.end()


def typist(server: FakeServer) -> Typist:
    return Typist(0, server.url, "token", TEXT, Counts())


def until_answered(one: Typist) -> None:
    assert one.running is not None
    one.running.join(30)


def pressed(one: Typist) -> None:
    """A key behind which the model is asked."""
    while not one.asked:
        one.key(100, 105)


def test_a_request_is_timed_and_is_what_the_language_server_would_ask() -> None:
    with fake_server(says) as server:
        one = typist(server)
        pressed(one)
        until_answered(one)
    counts = one.counts
    assert (one.remote.sent, counts.cancelled, counts.errors, counts.here) == (1, 0, 0, 0)
    assert len(counts.first_ms) == len(counts.final_ms) == 1
    asked = read_request(server.asked[0].body).request
    assert (asked.prefix, asked.suffix) == (TEXT[:100], TEXT[105:])
    assert asked.stop_below == OPTIONS.min_confidence_percent / 100 > 0


def test_the_next_key_cancels_what_runs() -> None:
    with fake_server(lambda asked: (asked.begin(), asked.gone())) as server:
        one = typist(server)
        pressed(one)
        one.key(101, 105)
        one.stop()
    assert (len(one.asked), one.counts.cancelled, one.counts.here) == (2, 2, 0)


def test_what_the_server_does_not_answer_is_counted_as_answered_here() -> None:
    with fake_server(lambda asked: "break") as server:
        one = typist(server)
        pressed(one)
        until_answered(one)
    assert (one.counts.here, one.counts.errors) == (1, 0)


def test_a_deadline_that_comes_first_is_no_draft() -> None:
    def late(asked: Asked) -> None:
        asked.begin()
        asked.line(
            b'{"step":0,"text":"","masked":[],"confidence":0,"passes":0,"done":true,"reason":"deadline","tokens":[]}\n'
        )
        asked.end()

    with fake_server(late) as server:
        one = typist(server)
        pressed(one)
        until_answered(one)
    assert (one.counts.late, one.counts.first_ms, one.counts.final_ms) == (1, [], [])


def test_a_block_is_written_as_if_what_follows_it_followed_the_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team_typist, "THOUGHT_S", 1e-9)
    monkeypatch.setattr(team_typist, "KEY_S", (-1.0, 0.0))
    with fake_server(says) as server:
        one = typist(server)
        keys: list[tuple[int, int]] = []
        one.key = lambda column, behind: keys.append((column, behind))  # type: ignore[method-assign]
        monkeypatch.setattr(team_typist.time, "sleep", lambda seconds: None)
        one.block(places(TEXT)[:2], time.monotonic() + 100)
    assert keys == [(column, 19) for column in (*range(9), *range(10, 19))]
    assert one.counts.line_keys == [9, 9]


def test_lines_are_typed_from_where_their_text_begins() -> None:
    assert places("a = 1\n\n    b\n") == [(0, 5), (11, 12)]


def test_what_is_new_in_requests_is_counted_by_their_kind() -> None:
    with fake_server(says) as server:
        one = typist(server)
    before = InfillRequest(TEXT[:100], TEXT[109:])
    one.asked = [(ELSEWHERE, before), (KEY, replace(before, prefix=TEXT[:103])), (KEY, before), (LINE, before)]
    found = new_tokens([one], str(SMALL))
    assert found[ELSEWHERE][0] > 20 > max(found[KEY])
    assert found[LINE] == [0]


TOLD = {
    "begun": 10, "requests": 20, "forward_passes": 30, "context_tokens": 1000, "encoded_tokens": 200,
    "encode_cpu_seconds": 0.4, "work_cpu_seconds": 0.5, "work_seconds": 2, "waited_seconds": 1, "refused": 0,
    "superseded": 1,
}  # fmt: skip


def test_what_the_model_costs_is_made_of_what_replicas_counted() -> None:
    found = work(TOLD, finals=15)
    assert (found["encode_ms"], found["job_ms"], found["passes_a_request"]) == (2, 10, 2)
    assert (found["cached_share"], found["waited_ms"]) == (0.8, 100)


def test_what_runs_anyway_is_not_counted_to_requests() -> None:
    cpu = {"replicas": 1.5, "runs": 0.6, "proxy": 2.0, "rest": 1.0, "typists": 0.5, "others": 9.0}
    idle = {"replicas": 0.01, "runs": 0.0, "proxy": 0.02, "rest": 0.1, "typists": 0.3, "others": 1.0}
    found = around(cpu, idle, TOLD, requests=100, seconds=10)
    assert found == {"http_ms": 9, "proxy_ms": 18, "typist_ms": 5, "pass_ms": 20, "rest_share": 0.13}


def test_slices_have_the_mean_of_all_values() -> None:
    values = [0] * 990 + [1000] * 10
    assert len(slices(values)) == SLICES and sum(slices(values)) / SLICES == 10
    assert slices([3, 1]) == [1, 3] and slices([]) == [0]


def test_percentiles_are_of_what_was_measured() -> None:
    assert percentile([float(n) for n in range(1, 100)], 90) == 90.0
    assert percentile([1.0], 50) is None


def test_the_command_line_has_defaults() -> None:
    args = make_parser().parse_args([])
    assert (args.users, args.replicas, args.kill) == ("20", 2, False)
    with pytest.raises(SystemExit):
        make_parser().parse_args(["--replicas", "two"])


def test_what_is_compared_is_compared_at_the_largest_number_of_typists() -> None:
    args = make_parser().parse_args(["--users", "5,20", "--batch", "4", "--anywhere", "--kill"])
    more = [Plan(20, batch=4), Plan(20, by_document=False), Plan(20, killed=True)]
    assert plans(args) == [Plan(5), Plan(20), *more]
