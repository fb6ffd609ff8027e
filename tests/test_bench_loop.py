"""diffusion/evaluate/bench_loop.py: the table, its JSON line, and floors that can be worked out by hand."""

import json

import pytest

from cuda_ext import native
from diffusion.evaluate.bench_loop import SHAPES, Machine, Way, floor_ms, main

FIELDS = {"shape", "backend", "way", "context", "ms_per_pass", "ms", "floor_ms", "ratio_to_floor"}


@pytest.mark.parametrize("backend", ["torch eager bf16", "native int8"])
def test_the_last_line_is_a_row_per_way_of_decoding(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    if backend.startswith("native") and native.why_not("cpu"):
        pytest.skip(native.why_not("cpu"))
    assert main(["--canvas", "16", "--context", "64", "--backends", backend, "--repeats", "1"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["way"] for row in rows] == ["threshold 16", "verdict 16+8", "token by token", "cold context"]
    assert all(set(row) == FIELDS and row["backend"] == backend and row["ms_per_pass"] > 0 for row in rows)


def way(rows: float, head_rows: float) -> Way:
    return Way(lambda: 1, rows, head_rows, keys=1024)


def test_the_floor_is_the_time_of_the_weights_where_memory_is_slow() -> None:
    slow = Machine(int8=1e15, bf16=1e15, bandwidth=1e9)
    n_weights = 6 * (256 * 512 + 256 * 256 + 3 * 256 * 704) + 256 * 8192
    assert floor_ms(SHAPES["default"], way(32, 32), "int8", slow) == pytest.approx(n_weights / 1e6)
    assert floor_ms(SHAPES["default"], way(32, 32), "bf16", slow) == pytest.approx(2 * n_weights / 1e6)
    assert floor_ms(SHAPES["default"], way(32, 0), "int8", slow) == pytest.approx((n_weights - 256 * 8192) / 1e6)


def test_a_pass_of_24_rows_of_the_135m_model_is_six_billion_operations() -> None:
    counted = Machine(int8=1e9, bf16=1e15, bandwidth=1e15)
    body = 30 * (576 * 960 + 576 * 576 + 3 * 576 * 1536)
    expected = 2 * 24 * (body + 576 * 49_152) / 1e6
    assert floor_ms(SHAPES["smollm2-135m"], way(24, 24), "int8", counted) == pytest.approx(expected, rel=1e-3)


def test_attention_counts_at_the_better_of_two_rates() -> None:
    rows, keys = 32, way(32, 32).keys
    operations = 4 * 6 * 256 * rows * keys
    products = floor_ms(SHAPES["default"], way(32, 32), "int8", Machine(int8=1e9, bf16=1e18, bandwidth=1e18))
    for machine in (Machine(1e9, 1e8, 1e18), Machine(1e9, 5e8, 1e18)):
        floor = floor_ms(SHAPES["default"], way(32, 32), "int8", machine)
        assert products is not None and floor == pytest.approx(products + operations / 5e8 * 1000, rel=1e-6)


def test_there_is_no_floor_without_measurements() -> None:
    assert floor_ms(SHAPES["default"], way(32, 32), "int8", None) is None
