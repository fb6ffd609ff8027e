"""diffusion/evaluate/bench_peers.py: turns, medians and places, with made-up peers, and one run of the engine."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from diffusion.engine import Engine
from diffusion.evaluate import bench_peers
from diffusion.evaluate.bench_peers import (
    Answer,
    Peer,
    Row,
    cropped,
    first_line,
    main,
    measure,
    ours,
    places,
    ratios,
    summary,
)
from diffusion.evaluate.cases import Case
from tests.foreign import write

CASE = Case("a.py:1:7", "rest_of_line", "x = f(", "1, 2)", "\ny = 2\n")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_peers, "SETTLE_S", 0.0)


def row(place: str, peer: str, ms: float, tokens: int = 2, exact: bool = False) -> Row:
    return Row(place, peer, ms, ms / 2, 0.0, tokens, tokens, exact, "")


def recorder(name: str, log: list[tuple[str, str, str]], text: str = "") -> Peer:
    def complete(prefix: str, suffix: str) -> Answer:
        log.append((name, "complete", prefix))
        return Answer(text, 3, 4)

    return Peer(lambda prefix, suffix: log.append((name, "prepare", prefix)), complete)


def test_peers_take_turns_and_nobody_is_always_first() -> None:
    log: list[tuple[str, str, str]] = []
    measure({"a": recorder("a", log), "b": recorder("b", log)}, [CASE], repeats=2)
    assert [name for name, what, _ in log if what == "complete"] == ["a", "b", "b", "a", "a", "b"]


def test_the_last_keys_are_not_prepared() -> None:
    log: list[tuple[str, str, str]] = []
    measure({"a": recorder("a", log)}, [CASE], repeats=1, typed=2)
    assert set(log) == {("a", "prepare", "x = "), ("a", "complete", "x = f(")}


def test_the_first_turn_is_not_counted_and_preparing_takes_no_time() -> None:
    ticks = itertools.chain([0.0, 9.0], *([t, t + ms / 1000] for t, ms in ((10, 5), (20, 2), (30, 3))))
    [found] = measure({"a": recorder("a", [], "1, 2) ")}, [CASE], repeats=3, clock=lambda: next(ticks))
    assert (found.ms, found.best) == (pytest.approx(3.0), pytest.approx(2.0))
    assert (found.tokens, found.passes, found.exact) == (3, 4, True)
    assert found.ms_per_token == pytest.approx(1.0)


def test_medians_are_of_places_and_ratios_of_the_same_place() -> None:
    rows = [row("p", "a", 10.0, exact=True), row("p", "b", 5.0), row("q", "a", 20.0), row("q", "b", 40.0)]
    medians = summary(rows)
    assert medians["a"]["ms"] == 15.0 and medians["a"]["ms_per_token"] == 7.5 and medians["a"]["exact"] == 0.5
    assert medians["b"]["best"] == 11.25
    assert ratios(rows, "a") == {"b": pytest.approx((0.5 + 2.0) / 2)}


def test_an_empty_answer_has_a_time_per_token() -> None:
    assert row("p", "a", 8.0, tokens=0).ms_per_token == 8.0


def test_a_cropped_case_begins_with_a_line_and_names_it() -> None:
    case = Case("a.py", "rest_of_line", "one\ntwo\nthree\nx = ", "1", "\n" + "y\n" * 100)
    found = cropped(case, 12)
    assert (found.name, found.prefix, found.suffix, found.answer) == ("a.py:4:5", "three\nx = ", "\ny\ny", "1")
    assert cropped(case, 1000).prefix == case.prefix


def test_places_are_the_same_every_time(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("".join(f"value_{i} = compute(first={i}, second={i + 1})\n" for i in range(50)))
    found = places([path], 5, 200)
    assert found == places([path], 5, 200) and len(found) == 5
    with pytest.raises(ValueError, match="missing.py"):
        places([tmp_path / "missing.py"], 5, 200)


@pytest.mark.parametrize(("text", "line"), [("a)\nb", "a)"), ("a)\r\n", "a)"), ("", ""), ("\n", "")])
def test_a_completion_ends_with_its_line(text: str, line: str) -> None:
    assert first_line(text) == line


def test_our_engine_answers(any_engine: Engine) -> None:
    rows = measure({"ours": ours(any_engine, 16), "by token": ours(any_engine, 16, by_token=True)}, [CASE], repeats=1)
    assert [r.peer for r in rows] == ["ours", "by token"]
    assert all(r.ms >= r.best > 0 and r.passes > 0 and "\n" not in r.text for r in rows)


def test_what_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([]) == 2
    assert "make base" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    assert main(["--gguf", "any.gguf"]) == 2
    assert "mezzotint[peers]" in capsys.readouterr().err


def test_matrices_become_8_bits_and_the_rest_stays(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    values = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_token_list(["a", "b"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tensor("blk.0.attn_q.weight", values)
    writer.add_tensor("output_norm.weight", values[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    bench_peers.write_q8(tmp_path / "a.gguf", tmp_path / "b.gguf")
    found = gguf.GGUFReader(tmp_path / "b.gguf")
    matrix, norm = found.tensors
    assert (matrix.name, matrix.tensor_type) == ("blk.0.attn_q.weight", gguf.GGMLQuantizationType.Q8_0)
    near = gguf.quants.dequantize(matrix.data, matrix.tensor_type)
    assert near.shape == values.shape and np.allclose(near, values, atol=0.02)
    assert np.array_equal(norm.data, values[0])
    assert found.fields["tokenizer.ggml.tokens"].contents() == ["a", "b"]
    assert found.fields["general.architecture"].contents() == "llama"


def test_the_last_line_is_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench_peers, "cached_q8", lambda path: path)
    monkeypatch.setattr(bench_peers, "llama_cpp", lambda path, n, threads: recorder("llama.cpp", []))
    monkeypatch.setattr(bench_peers.metadata, "version", lambda name: "0")
    assert main(["--prompts", "2", "--repeats", "1"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(result["medians"]) == ["llama.cpp", "ours", "ours, by token"]
    assert result["times_llama_cpp"].keys() == {"ours", "ours, by token"} and len(result["rows"]) == 6


def test_a_causal_checkpoint_is_a_peer_and_what_cannot_decode_by_token_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    write("mdlm", tmp_path / "x-mdlm")
    write("qwen2.5-coder", tmp_path / "coder")
    monkeypatch.setattr(bench_peers, "cached_q8", lambda path: path)
    monkeypatch.setattr(bench_peers, "llama_cpp", lambda path, n, threads: recorder("llama.cpp", []))
    monkeypatch.setattr(bench_peers.metadata, "version", lambda name: "0")
    folders = ["--model", str(tmp_path / "x-mdlm"), "--baseline", str(tmp_path / "coder")]
    assert main(["--prompts", "1", "--repeats", "1", "--threads", "1", *folders]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(result["medians"]) == ["llama.cpp", "ours", "coder, by token"]
