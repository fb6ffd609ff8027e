"""cuda_ext/gpu_check: what of it runs without a GPU, and its checks on the emulated library with tiny models."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuda_ext import native
from cuda_ext.gpu_check import __main__ as main
from cuda_ext.gpu_check import checks, models, speed, verdict
from tests.emulated import CPU_LIBRARY, needs_compiler


def test_says_what_it_can_do() -> None:
    command = [sys.executable, "-m", "cuda_ext.gpu_check", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--quick" in said and "verdict" in said


def test_a_report_has_a_row_for_every_part_and_every_time() -> None:
    time = {"model": "7B", "context": 1024, "rows": "token by token", "loop": "while", "passes": 64, "bytes": 10**9}
    time |= {"pass_us": 1000.0, "first_draft_ms": 1.0, "total_ms": 64.0, "tokens_per_s": 1000.0, "encode_ms": 5.0}
    parts: dict[str, Any] = {
        "smoke": {"seconds": 1.0, "error": "Traceback\nRuntimeError: no"},
        "bandwidth": {"seconds": 2.0, "result": {"bytes_per_s": 2e12}},
        "speed 7B": {"seconds": 3.0, "result": [time]},
    }
    text = main.markdown({"parts": parts})
    assert "| smoke | 1.0 | RuntimeError: no |" in text
    assert "| 7B | 1024 | token by token | while | 64 | 1000 | 500 | 50% |" in text
    del parts["bandwidth"]
    assert "| 1000 | ? | ? |" in main.markdown({"parts": parts})


def test_the_bytes_of_a_pass_are_those_of_its_weights_and_its_context() -> None:
    shape = models.SHAPES["135M"]
    assert sum(np.prod(size) for size in native.tensor_sizes(shape).values()) == 134_515_008  # as SmolLM2-135M says
    assert speed.pass_bytes(shape, 0) == 2 * 134_515_008 + 2 * 61 * 576  # gains are float32
    assert speed.pass_bytes(shape, 1024) - speed.pass_bytes(shape, 0) == 2 * 2 * 1024 * 30 * 3 * 64
    big = models.SHAPES["7B"]
    assert speed.pass_bytes(big, 0) == pytest.approx(2 * (7.6157e9 - 152_064 * 3584), rel=1e-3)  # embedding not read


def test_random_weights_have_every_tensor_in_its_size() -> None:
    for name in ("tiny", "tiny, shifted", "tiny, blocks"):
        shape = models.SHAPES[name]
        assert {key: words.shape for key, words in models.random_tensors(shape)} == native.tensor_sizes(shape)
    few = models.smaller("7B", 1000, 2)
    assert (few.vocab_size, few.n_layers, models.SHAPES["7B"].n_layers) == (1000, 2, 28)


@needs_compiler
@pytest.mark.parametrize("emulated", [0], indirect=True, ids=["ascending"])
def test_its_checks_pass_on_the_emulated_library(emulated: Any) -> None:
    assert len(checks.forward([("tiny", 17, (5, 0, 0)), ("tiny, shifted", 20, (5, 8, 3))])) == 2
    runs = checks.smoke()
    assert runs["tiny, verdict, step"] == runs["tiny, verdict, replay"]
    assert "7 of 7 drafts as decided outside" in checks.loops([("tiny", 8)])["tiny 8 rows"]
    assert "8 as token by token" in verdict.verdict(["tiny, shifted"], n_rows=8)["tiny, shifted"]
    assert speed.bandwidth(1 << 16, 3)["bytes_per_s"] > 0


@needs_compiler
def test_its_rules_agree_with_the_cpu_library(
    emulated_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not CPU_LIBRARY.exists():
        pytest.skip("the CPU library was not built")
    for path in (CPU_LIBRARY, *emulated_folder.glob("*.so")):
        shutil.copy(path, tmp_path)
    monkeypatch.setenv("MEZZOTINT_NATIVE_LIB", str(tmp_path))
    if native.load("cpu") is None:
        pytest.skip(native.why_not("cpu"))
    assert verdict.verdict_rules(20)["passes"] > 40
    assert checks.rules()["cases"] == 200


@needs_compiler
@pytest.mark.parametrize("emulated", [0], indirect=True, ids=["ascending"])
def test_times_are_taken_of_both_loops(emulated: Any) -> None:
    rows = speed.measure("tiny, shifted", repeats=1, n_contexts=(8,), n_rows=6, loops=("replay",))
    assert {row["rows"] for row in rows} >= {"token by token", "verdict, 1 + 8 + 16 rows"}
    assert [row["passes"] for row in rows][-2:] == [1, 6]
    report = {"parts": {"speed tiny": {"seconds": 1.0, "result": rows}}}
    assert main.markdown(report).count("| tiny, shifted |") == len(rows)
