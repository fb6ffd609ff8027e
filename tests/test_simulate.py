"""diffusion/serve/simulate.py: the small model of a team obeys what every queue obeys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffusion.serve.machine import Costs, Machine, Typing
from diffusion.serve.simulate import COUNTS, FIGURES, SAMPLED, SEEDS, compared, fewest, figures, loads, main, team

COSTS, TYPING = Costs(pass_ms=10, encode_ms=0.1, way_ms=0), Typing()


def test_every_typist_has_a_replica_and_a_ring_deals_them_out_unevenly() -> None:
    counts = loads(1000, 20, seed=0)
    assert sum(counts) == 1000 and len(counts) == 20
    assert 50 < max(counts) < 100


def test_of_many_replicas_some_are_simulated_and_the_fullest() -> None:
    found = team(10_000, 500, COSTS, TYPING, seconds=10)
    assert found["fullest_typists"] > 20 and SAMPLED < 500


def test_more_replicas_wait_less() -> None:
    assert team(60, 6, COSTS, TYPING)["first_p90_ms"] < team(60, 1, COSTS, TYPING)["first_p90_ms"]


def test_the_fewest_replicas_keep_to_the_limit_and_one_less_does_not() -> None:
    n = fewest(60, COSTS, TYPING, most_ms=60)
    assert n > 1
    with_n, with_less = (team(60, replicas, COSTS, TYPING, 60)["first_p90_ms"] for replicas in (n, n - 1))
    assert with_n <= 60 < with_less


def test_a_run_is_the_same_for_a_seed(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--typists", "20", "--replicas", "2", "--pass-ms", "17", "--encode-ms", "0.75"]
    outputs = []
    for _ in range(2):
        assert main(options) == 0
        outputs.append(json.loads(capsys.readouterr().out))
    assert outputs[0] == outputs[1] and outputs[0]["typists"] == 20


def printed(**run: object) -> str:
    """What `mezzotint bench team` prints of one run."""
    costs = {name: value for name, value in vars(COSTS).items() if name != "way_ms"}
    one = {"users": 20, "by_document": True, "killed": False, "batch": 1, "documents": [11, 9]}
    one |= {**costs, **vars(TYPING), **dict.fromkeys((*FIGURES, *COUNTS), 77.7), **run}
    return f"a table\n{json.dumps({'replicas': 2, 'cores': 2, 'seconds': 10.0, 'runs': [one]})}\n"


def test_what_was_measured_stands_beside_what_is_simulated_of_the_same_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "team.txt").write_text(printed())
    assert main(["--measured", str(tmp_path / "team.txt")]) == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("20 typists on replicas of [11, 9]; pass_ms 10, encode_ms 0.1")
    assert [row.split()[:2] for row in rows] == [[name, "77.7"] for name in FIGURES + COUNTS]
    runs = [figures(Machine([11, 9], 2, COSTS, TYPING, seed).run(10), 20, 10) for seed in range(SEEDS)]
    assert float(rows[0].split()[2]) == sorted(run["first_p50_ms"] for run in runs)[SEEDS // 2]


def test_a_team_is_simulated_with_the_costs_that_were_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "team.txt").write_text(printed(pass_ms=40.0))
    options = ["--typists", "5", "--replicas", "1"]
    assert main([*options, "--costs", str(tmp_path / "team.txt")]) == 0
    of_file = json.loads(capsys.readouterr().out)
    costs = Costs(**{**vars(COSTS), "pass_ms": 40.0, "typist_ms": 0.0, "way_ms": Costs.way_ms})
    assert of_file == team(5, 1, costs, TYPING)
    assert main([*options, "--costs", str(tmp_path / "team.txt"), "--pass-ms", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["first_p50_ms"] < of_file["first_p50_ms"] - 30
    assert main(["--costs", str(tmp_path / "none")]) == 2


def test_a_run_of_another_kind_is_not_compared() -> None:
    assert (
        list(compared(printed(batch=4)))
        == list(compared(printed(by_document=False)))
        == list(compared(printed(killed=True)))
        == []
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not what `mezzotint bench team` prints"),
        ("[1]", "not what `mezzotint bench team` prints"),
        (printed(pass_ms=0), "too little was answered"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        list(compared(text))
