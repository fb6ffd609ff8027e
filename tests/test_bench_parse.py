from __future__ import annotations

import json

import pytest

from lsp_server.tools import bench_parse


def test_every_kind_of_key_is_in_the_table_and_the_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_parse.main(["--lines", "300", "--keys", "3"]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    figures = json.loads(last)
    assert set(figures["keys"]) == set(bench_parse.KEYS)
    assert all(any(line.startswith(key) for line in table) for key in bench_parse.KEYS)
    assert 0 < figures["median"] <= figures["p99"]


def test_the_file_is_as_long_as_asked_and_real() -> None:
    text = bench_parse.long_file(5000)
    assert text.count("\n") == 5000
    assert "import" in text
