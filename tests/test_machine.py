"""diffusion/serve/machine.py: a simulated machine does what the service does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from diffusion.serve import machine
from diffusion.serve.machine import PIECE, Context, Costs, Machine, Replica, Request, Seen, Typing

COSTS = Costs(10, 0.1, job_ms=2, http_ms=4, proxy_ms=6, typist_ms=8, rest_share=0, way_ms=3)
TYPING = Typing(passes_a_request=1, key_tokens=(0,), line_tokens=(0,), elsewhere_tokens=(0,))


def run(typists: int, costs: Costs = COSTS, cores: float = 2, seconds: float = 60, **typing: Any) -> Seen:
    return Machine([typists], cores, costs, replace(TYPING, **typing), seed=1).run(seconds)


def idle(costs: Costs = COSTS) -> tuple[Machine, Replica]:
    """A machine on which only what a test asks happens."""
    made = Machine([1], 2, costs, TYPING, seed=1)
    return made, made.typists[0].replica


def ask(made: Machine, tokens: float = 0, passes: int = 1) -> Request:
    """A request that goes out now."""
    request = Request(made.typists[0], made.clock.now_s, Context(tokens), passes, sent=True)
    made.go(made.typists[0].replica, request)
    return request


def test_without_load_a_draft_takes_the_way_the_context_and_a_pass() -> None:
    seen = run(1, seconds=600)
    alone = [ms for ms in seen.first_ms if ms == pytest.approx(3 + 4 + 6 + 8 + 2 + 10)]
    assert len(alone) > 100 and len(alone) > 0.95 * len(seen.first_ms)  # the others came behind one that was cancelled
    assert seen.first_ms == seen.final_ms
    made, _ = idle()
    ask(made, tokens=300, passes=2)
    made.clock.run(10)
    assert made.seen.first_ms == pytest.approx([33 + 30])
    assert made.seen.final_ms == pytest.approx([33 + 30 + 10 - 9])  # the way back is paid with the first draft


def test_on_half_the_cores_what_is_busy_together_takes_twice_as_long() -> None:
    only_passes = Costs(1000, 0, 0, 0, 0, 0, 0, 0)
    for cores, ms in ((2, 1000), (1, 2000)):
        made = Machine([1, 1], cores, only_passes, TYPING, seed=1)
        for typist in made.typists:
            made.go(typist.replica, Request(typist, 0, Context(), 1, sent=True))
        made.clock.run(10)
        assert made.seen.first_ms == [ms, ms]


def test_a_replica_answers_one_after_the_other_the_newest_of_those_that_wait_first() -> None:
    made, replica = idle(Costs(10, 0, 0, 0, 0, 0, 0, 0))
    order = []
    made.answer = lambda replica, request, number: order.append(request)  # type: ignore[method-assign]
    requests = [ask(made) for _ in range(3)]
    made.clock.run(1)
    assert order == [requests[0], requests[2], requests[1]]
    assert made.clock.now_s == pytest.approx(0.03) and replica.running is None


def test_who_goes_while_waiting_costs_nothing_and_who_goes_in_a_pass_that_pass() -> None:
    made, replica = idle(Costs(10, 0, 0, 0, 0, 0, 0, 0))
    runs, waits = ask(made, passes=5), ask(made)
    made.clock.at(0.001, lambda: made.leave(replica, waits))
    made.clock.at(0.012, lambda: made.leave(replica, runs))
    made.clock.run(1)
    assert (made.seen.passes, made.seen.busy_s) == (2, pytest.approx(0.02))


def test_what_was_encoded_of_a_context_is_not_encoded_again() -> None:
    made, replica = idle(Costs(10, 1, 0, 0, 0, 0, 0, 0))
    gone = ask(made, tokens=300)
    made.clock.at(0.130, lambda: made.leave(replica, gone))
    made.clock.run(1)
    assert gone.context.tokens == 300 - 2 * PIECE
    made.go(replica, Request(made.typists[0], 1, gone.context, 1, sent=True))
    made.clock.run(2)
    assert made.seen.encoded_tokens == 300


def test_more_than_may_wait_are_refused_and_who_waits_too_long_is_late() -> None:
    made, _ = idle(Costs(4000, 0, 0, 0, 0, 0, 0, 0))
    for _ in range(1 + machine.WAITING + 2):
        ask(made)
    made.clock.run(100)
    assert (made.seen.refused, made.seen.late, made.seen.passes) == (2, machine.WAITING, 1)


def test_more_typists_wait_longer_and_a_machine_never_works_more_than_all_the_time() -> None:
    few, many = run(5), run(60)
    assert sum(few.first_ms) / len(few.first_ms) < sum(many.first_ms) / len(many.first_ms)
    assert few.busy_s < many.busy_s <= 60


def test_clients_that_wait_for_a_pause_keep_an_overloaded_machine_from_working_for_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    costs, typing = Costs(17.5, 0.75, 6, 5, 8.5, 2.3, 0.1, 0), vars(Typing())
    patient = run(20, costs, seconds=30, **typing)
    monkeypatch.setattr(machine, "UNSEEN", 10**9)
    eager = run(20, costs, seconds=30, **typing)
    assert eager.requests > 1.5 * patient.requests and len(patient.first_ms) > 2 * len(eager.first_ms)
