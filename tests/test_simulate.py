"""diffusion/serve/simulate.py: the small model of a team obeys what every queue obeys."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from diffusion.serve.simulate import FIGURES, SAMPLED, SEEDS, Costs, compared, fewest, loads, main, replica, team

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


def printed(**run: object) -> str:
    """What `mezzotint bench team` prints of one run."""
    times = {"pass_ms": 10.0, "encode_ms": 0.1, "way_ms": 4.0, "passes_a_request": 2.3}
    figures = dict.fromkeys(FIGURES, 77.7)
    one = {"users": 20, "by_document": True, "killed": False, "batch": 1, **times, **figures, **run}
    return f"a table\n{json.dumps({'replicas': 2, 'seconds': 10.0, 'runs': [one]})}\n"


def test_what_was_measured_stands_beside_what_is_simulated_of_the_same_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "team.txt").write_text(printed())
    assert main(["--measured", str(tmp_path / "team.txt")]) == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("20 typists, 2 replicas; pass_ms 10.0, encode_ms 0.1")
    assert [row.split()[:2] for row in rows] == [[name, "77.7"] for name in FIGURES]
    expected = sorted(team(20, 2, Costs(10, 0.1, 4, 2.3), 10, seed)["first_p50_ms"] for seed in range(SEEDS))
    assert float(rows[0].split()[2]) == expected[SEEDS // 2]


def test_a_run_of_another_kind_is_not_compared() -> None:
    assert list(compared(printed(batch=4))) == list(compared(printed(by_document=False))) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not what `mezzotint bench team` prints"),
        ("[1]", "not what `mezzotint bench team` prints"),
        (printed(pass_ms=None), "too few requests of 20 typists were answered"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        list(compared(text))
