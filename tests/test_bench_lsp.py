import io
import json
import os
import shutil
from pathlib import Path

import pytest

from lsp_server.tools import bench_keys, bench_llama, bench_lsp, client
from lsp_server.tools.bench_keys import Asked
from tests.models import SMALL


def test_messages_are_read_by_their_length_whatever_the_headers() -> None:
    body = json.dumps({"id": 1, "result": "漢"}, ensure_ascii=False).encode()
    stream = io.BytesIO(
        b"Content-Type: x\r\ncontent-length: %d\r\n\r\n%sContent-Length: 2\r\n\r\n{}" % (len(body), body)
    )
    assert client.read_message(stream) == {"id": 1, "result": "漢"}
    assert client.read_message(stream) == {}


def test_a_server_that_ends_is_an_error_not_a_hang() -> None:
    with pytest.raises(ValueError, match="ended without an answer"):
        client.read_message(io.BytesIO(b""))


def test_positions_stand_behind_an_assignment_and_none_comes_again_before_all_came() -> None:
    text = bench_lsp.sample_text()
    positions = bench_lsp.cursor_positions(text, bench_lsp.N_PLACES + 1)
    assert len(positions) == bench_lsp.N_PLACES + 1
    assert len(set(positions)) == len(positions)
    assert all(text.split("\n")[line][:column].endswith(" = ") for line, column in positions)


class Scripted:
    """A subject that answers at once, and every second key from memory."""

    pid, began, ready_ms = os.getpid(), 0.0, 7.0

    def __init__(self) -> None:
        self.lines = ["value = other(first)"] * 40
        self.asked = 0
        self.stormed = ""

    def change(self, line: int, start: int, stop: int, new: str) -> None:
        self.lines[line] = self.lines[line][:start] + new + self.lines[line][stop:]

    def ask(self, line: int, column: int, by_hand: bool = False) -> Asked:
        assert column <= len(self.lines[line])
        self.asked += 1
        return Asked(1.0, 2.0, 3) if self.asked % 2 else Asked(None, 0.5, 0)

    def give_up(self, line: int, column: int) -> float | None:
        return 4.0

    def storm(self, line: int, column: int, keys: str) -> None:
        self.stormed = keys


def test_what_is_typed_is_measured_and_taken_back() -> None:
    subject = Scripted()
    numbers = bench_keys.measure(subject, [(line, 8) for line in range(11)])
    assert subject.lines == ["value = other(first)"] * 40
    assert len(numbers["asked_share"]) == 10 * bench_keys.KEYS and len(subject.stormed) == bench_keys.STORM_KEYS
    assert set(numbers["key_to_final_ms"]) == {2.0} and set(numbers["known_key_ms"]) == {0.5}
    assert numbers["cancel_ms"] == [4.0] * bench_keys.BY_HAND and len(numbers["rss_over_time_mb"]) == 10


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [bench_lsp.percentile(values, percent) for percent in (50, 90, 99, 100)] == [50.0, 90.0, 99.0, 100.0]
    assert bench_lsp.percentile([3.0], 99) == 3.0


def test_a_figure_that_nobody_has_is_a_dash_in_its_column() -> None:
    table = bench_lsp.shown({"mezzotint": {"cancel_ms": [1.0, 2.0, 9.0]}, "llama.cpp": {"key_to_final_ms": [5.0]}})
    row = next(line for line in table.splitlines() if line.startswith(bench_lsp.LABELS["cancel_ms"]))
    assert row.split()[-2:] == ["2.0", "-"]
    row = next(line for line in table.splitlines() if line.startswith(bench_lsp.LABELS["key_to_final_ms"]))
    assert row.split()[-2:] == ["-", "5.0"]


def test_the_prompt_of_a_peer_begins_with_the_same_line_while_a_line_is_typed() -> None:
    head = "".join(f"line {n}\n" for n in range(1_000))
    starts = {bench_llama.cropped(head + "x = value"[:n]).split("\n")[0] for n in range(10)}
    assert len(starts) == 1 and starts != {"line 0"}
    assert bench_llama.cropped("a\nb") == "a\nb" and bench_llama.cropped("b") == "b"


@pytest.mark.parametrize(
    ("piece", "brings"),
    [
        (b'data: {"choices": [{"text": "x"}]}\n', True),
        (b'data: {"choices": [{"text": ""}]}\n', False),
        (b"data: [DONE]\n", False),
        (b": ping\n", False),
        (b"\n", False),
    ],
)
def test_a_line_of_the_stream_brings_text_or_not(piece: bytes, brings: bool) -> None:
    assert bench_llama.said(piece) is brings


def test_a_peer_that_cannot_be_started_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="has ended"):
        bench_llama.Llama(tmp_path / "none.gguf", "x = 1\n", python=shutil.which("false") or "false")


@pytest.mark.slow
def test_last_line_is_one_json_object_with_every_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_lsp.main(["--runs", "1", "--model", str(SMALL)]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    numbers = json.loads(last)
    assert all(numbers[name] is None or numbers[name] > 0 for name in bench_lsp.LABELS)
    assert bench_lsp.N_PLACES < numbers["typed_keys"] <= bench_lsp.N_PLACES * bench_keys.KEYS
    assert len(table) == len(bench_lsp.LABELS)
