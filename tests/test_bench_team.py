"""lsp_server/tools/bench_team.py: what its typists do and count, against a server that says what a test wants."""

from __future__ import annotations

import time

import pytest

from lsp_server.tools.bench_team import Plan, Typist, make_parser, plans
from lsp_server.tools.team_counts import Counts, percentile
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
    while one.running is None or not one.running.is_alive():
        before = one.counts.requests
        one.key(100, 105)
        if one.running is not None and one.counts.requests > before:
            return
        time.sleep(0)


def test_a_request_is_timed_and_what_it_cost_is_counted() -> None:
    with fake_server(says) as server:
        one = typist(server)
        pressed(one)
        until_answered(one)
    counts = one.counts
    assert (counts.requests, counts.passes, counts.errors, counts.here) == (1, 3, 0, 0)
    assert (counts.context_tokens, counts.encoded_tokens) == (40, 10)
    assert len(counts.first_ms) == len(counts.final_ms) == len(counts.pass_ms) == 1
    assert counts.figures(2)["cached_share"] == 0.75
    assert (counts.figures(2)["answered_per_s"], counts.figures(2)["passes_a_request"]) == (0.5, 3.0)


def test_the_next_key_cancels_what_runs() -> None:
    with fake_server(lambda asked: (asked.begin(), asked.gone())) as server:
        one = typist(server)
        pressed(one)
        one.key(101, 105)
        one.stop()
    assert (one.counts.requests, one.counts.cancelled, one.counts.here) == (2, 2, 0)


def test_what_the_server_does_not_answer_is_counted_as_answered_here() -> None:
    with fake_server(lambda asked: "break") as server:
        one = typist(server)
        pressed(one)
        until_answered(one)
    assert (one.counts.here, one.counts.errors) == (1, 0)


def test_new_tokens_and_the_way_take_what_passes_leave_of_the_time_to_a_first_draft() -> None:
    counts = Counts(pass_ms=[10.0, 12.0, 11.0])
    assert counts.rest_ms() == (None, None)
    for tokens in (0, 3, 3, 5, 90, 120, 150):
        counts.add(begun=(4 + 11 + 0.5 * tokens, 1, tokens))
    counts.add(begun=(900.0, 1, 3))  # one that the machine held up
    assert counts.rest_ms() == (0.5, 4.0)


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
