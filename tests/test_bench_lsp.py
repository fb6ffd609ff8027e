import io
import json

import pytest

from lsp_server.tools import bench_lsp, client
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


@pytest.mark.slow
def test_last_line_is_one_json_object_with_every_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_lsp.main(["--runs", "1", "--model", str(SMALL)]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    numbers = json.loads(last)
    assert all(numbers[name] is None or numbers[name] > 0 for name in bench_lsp.LABELS)
    assert bench_lsp.N_PLACES < numbers["typed_keys"] <= bench_lsp.N_PLACES * bench_lsp.KEYS
    assert len(table) == len(bench_lsp.LABELS)
