"""diffusion/bench_loop.py: the table, its JSON line, and floors that can be worked out by hand."""

import json

import pytest

from cuda_ext import native
from diffusion.bench_loop import SHAPES, Machine, floor_ms, main

FIELDS = {
    "shape", "backend", "canvas", "context", "ms_per_step", "ms_per_completion", "floor_ms", "ratio_to_floor",
}  # fmt: skip


@pytest.mark.parametrize("backend", ["torch eager bf16", "native int8"])
def test_the_last_line_is_a_row_per_way_of_decoding(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    if backend.startswith("native") and native.why_not("cpu"):
        pytest.skip(native.why_not("cpu"))
    assert main(["--canvas", "16", "--context", "64", "--backends", backend, "--repeats", "1"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["backend"] for row in rows] == [backend, f"{backend}, autoregressive"]
    assert all(set(row) == FIELDS and row["ms_per_step"] > 0 for row in rows)


def test_the_floor_is_the_time_of_the_weights_where_memory_is_slow() -> None:
    slow = Machine(int8=1e15, bf16=1e15, bandwidth=1e9)
    n_weights = 6 * (256 * 512 + 256 * 256 + 3 * 256 * 704) + 256 * 8192
    assert floor_ms(SHAPES["default"], 32, 1024, "int8", slow) == pytest.approx(n_weights / 1e6)
    assert floor_ms(SHAPES["default"], 32, 1024, "bf16", slow) == pytest.approx(2 * n_weights / 1e6)


def test_there_is_no_floor_without_measurements() -> None:
    assert floor_ms(SHAPES["default"], 32, 1024, "int8", None) is None
