"""Who may connect to a socket, and who is told what."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from lsp_server.admission import Door, Handshake, door_for, handshake, token_for

TOKEN = "a token of some length"
DOOR = Door(token=TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_hosts_are_bound_to(host: str) -> None:
    assert Door(host).address() in (host, "127.0.0.1")


@pytest.mark.parametrize("host", ["0.0.0.0", "", "192.168.0.1", "example.org", "::", "8.8.8.8"])
def test_other_hosts_need_a_flag_and_a_token(host: str) -> None:
    with pytest.raises(ValueError, match="--allow-remote permits it"):
        Door(host, token=TOKEN).address()
    with pytest.raises(ValueError, match="do not go together"):
        Door(host, remote=True).address()
    assert Door(host, token=TOKEN, remote=True).address() == host


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (Handshake("localhost:2087", None, TOKEN), None),
        (Handshake("[::1]:2087", None, TOKEN), None),
        (Handshake("127.0.0.1", "http://localhost:8080", TOKEN), None),
        (Handshake("127.0.0.1", "http://localhost:8081", TOKEN), 403),
        (Handshake("127.0.0.1", "https://example.org", TOKEN), 403),
        (Handshake("127.0.0.1", "null", TOKEN), 403),
        (Handshake("rebound.example.org:2087", None, TOKEN), 403),
        (Handshake("localhost.example.org", None, TOKEN), 403),
        (Handshake("[", None, TOKEN), 403),
        (Handshake("", None, TOKEN), 403),
        (Handshake("127.0.0.1", None, ""), 401),
        (Handshake("127.0.0.1", None, TOKEN + "x"), 401),
        (Handshake("127.0.0.1", None, "\udc80ä"), 401),
    ],
)
def test_a_websocket_is_opened_for_programs_and_named_pages_with_the_token(
    given: Handshake, status: int | None
) -> None:
    refusal = Door(token=TOKEN, origins=("http://localhost:8080",)).refusal(given)
    assert (refusal and refusal.status) == status


def test_without_a_token_pages_are_refused_all_the_same() -> None:
    assert Door().refusal(Handshake("localhost", None, "")) is None
    assert Door().refusal(Handshake("localhost", "http://localhost", "")) is not None


@pytest.mark.parametrize(
    ("path", "headers", "token"),
    [
        ("/", {"Authorization": f"Bearer {TOKEN}"}, TOKEN),
        ("/", {"Authorization": f"bearer {TOKEN}"}, TOKEN),
        ("/?a=b&token=x%20y", {}, "x y"),
        ("/?token=wrong", {"Authorization": f"Bearer {TOKEN}"}, TOKEN),
        ("/?token=right", {"Authorization": "Basic abc"}, "right"),
        ("/", {}, ""),
    ],
)
def test_a_websocket_shows_its_token_in_a_header_or_in_its_address(path: str, headers: Any, token: str) -> None:
    assert handshake(path, headers).token == token


@pytest.mark.parametrize(
    "message",
    [
        {"method": "initialize", "params": {"initializationOptions": {"token": "wrong"}}},
        {"method": "initialize", "params": {"initializationOptions": {"token": [TOKEN]}}},
        {"method": "initialize", "params": {"initializationOptions": [TOKEN]}},
        {"method": "initialize", "params": None},
        {"method": "shutdown", "params": {"initializationOptions": {"token": TOKEN}}},
        {"method": "initialize"},
        [TOKEN],
        TOKEN,
    ],
)
def test_a_first_message_without_the_token_is_refused(message: Any) -> None:
    assert DOOR.refusal_of_first(message) is not None


def test_the_token_is_taken_out_of_the_options() -> None:
    options = {"token": TOKEN, "drafts": True}
    assert DOOR.refusal_of_first({"method": "initialize", "params": {"initializationOptions": options}}) is None
    assert options == {"drafts": True}


def test_tokens_are_new_long_and_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    assert token_for(None) != token_for(None)
    file, old = tmp_path / "token", os.umask(0)
    try:
        token = token_for(file)
    finally:
        os.umask(old)
    assert len(token) >= 40 and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert token_for(file) == token


@pytest.mark.parametrize(("mode", "content"), [(0o640, TOKEN), (0o604, TOKEN), (0o600, "short"), (0o600, "")])
def test_a_token_file_that_others_read_or_that_holds_none_is_refused(mode: int, content: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(ValueError, match="others may read" if mode != 0o600 else "holds no token"):
        token_for(file)


def test_a_token_is_printed_unless_it_is_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    door = door_for("localhost", 0, None, False, [], False)
    captured = capsys.readouterr()
    assert captured.err.count(door.token) == 1 and captured.out == ""
    assert door_for("localhost", 0, tmp_path / "token", False, [], False).token
    assert door_for("localhost", 0, None, True, ["http://a"], False) == Door("localhost", 0, "", ("http://a",))
    assert capsys.readouterr() == ("", "")


def test_nothing_is_made_for_an_address_that_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        door_for("0.0.0.0", 0, tmp_path / "token", False, [], False)
    assert not (tmp_path / "token").exists()
