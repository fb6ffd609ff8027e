from __future__ import annotations

import json
from pathlib import Path

import pytest

from lsp_server.tools import bench_loopstall


def test_a_case_is_in_the_table_and_the_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    bench_loopstall.main(["--runs", "1", "--only", "nothing"])  # whether it was quick enough is this machine's matter
    *table, last = capsys.readouterr().out.splitlines()
    figures = json.loads(last)
    assert list(figures["longest_ms"]) == ["nothing"]
    assert figures["longest_ms"]["nothing"] > 0
    assert set(figures["limits_ms"]) == {case.name for case in bench_loopstall.CASES}
    assert any(line.startswith("nothing special") for line in table)


def test_a_server_that_ends_is_an_error_in_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(case: bench_loopstall.Case) -> float:
        raise ValueError("the server ended without an answer")

    monkeypatch.setattr(bench_loopstall, "longest_ms", ended)
    assert bench_loopstall.main(["--runs", "1"]) == 1
    assert "the server ended" in capsys.readouterr().err


def test_what_a_machine_cannot_do_is_said_and_counts_as_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no compiler
    assert bench_loopstall.main(["--runs", "1", "--only", "slow_disk"]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    assert "not measured: it needs Linux and a C compiler" in table[-1]
    assert json.loads(last)["longest_ms"] == {}
