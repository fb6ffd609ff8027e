"""diffusion/serve/simulate.py: the small model of a team obeys what every queue obeys."""

from __future__ import annotations

import dataclasses
import json

import pytest

from diffusion.serve.simulate import SAMPLED, Costs, fewest, loads, main, replica, team

COSTS = Costs(pass_ms=10, encode_ms=0.1)


def test_one_typist_waits_for_nobody() -> None:
    first, final, busy = replica(1, dataclasses.replace(COSTS, passes=1, encode_ms=0), 600, seed=1)
    assert first == final and set(map(round, first)) == {15}  # a pass and the way
    assert busy < 0.1


def test_more_typists_wait_longer_and_more_replicas_less() -> None:
    few, many = team(10, 1, COSTS), team(40, 1, COSTS)
    assert few["first_p90_ms"] < many["first_p90_ms"] and few["busy_share"] < many["busy_share"]
    assert team(40, 4, COSTS)["first_p90_ms"] < many["first_p90_ms"]


def test_a_replica_never_works_more_than_all_the_time() -> None:
    assert replica(200, COSTS, 60, seed=0)[2] <= 1.01


def test_every_typist_has_a_replica_and_a_ring_deals_them_out_unevenly() -> None:
    counts = loads(1000, 20, seed=0)
    assert sum(counts) == 1000 and len(counts) == 20
    assert 50 < max(counts) < 100


def test_of_many_replicas_some_are_simulated_and_the_fullest() -> None:
    found = team(10_000, 500, COSTS, seconds=10)
    assert found["fullest_typists"] > 20 and SAMPLED < 500


def test_the_fewest_replicas_keep_to_the_limit_and_one_less_does_not() -> None:
    n = fewest(60, COSTS, most_ms=60)
    assert n > 1
    assert team(60, n, COSTS, 60)["first_p90_ms"] <= 60 < team(60, n - 1, COSTS, 60)["first_p90_ms"]


def test_a_run_is_the_same_for_a_seed(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--typists", "20", "--replicas", "2", "--pass-ms", "17", "--encode-ms", "0.75"]
    outputs = []
    for _ in range(2):
        assert main(options) == 0
        outputs.append(json.loads(capsys.readouterr().out))
    assert outputs[0] == outputs[1] and outputs[0]["typists"] == 20
