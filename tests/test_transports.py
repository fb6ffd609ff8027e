from __future__ import annotations

import subprocess
import sys

import pytest

from lsp_server.transports import _local_origin, loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_hosts_are_taken(host: str) -> None:
    assert loopback(host) in (host, "127.0.0.1")


@pytest.mark.parametrize("host", ["0.0.0.0", "", "192.168.0.1", "example.org", "::", "8.8.8.8"])
def test_other_hosts_are_refused(host: str) -> None:
    with pytest.raises(ValueError, match="loopback only"):
        loopback(host)


@pytest.mark.parametrize(
    ("origin", "taken"),
    [(None, True), ("http://localhost:8080", True), ("https://example.org", False), ("null", False)],
)
def test_pages_of_other_sites_are_refused(origin: str | None, taken: bool) -> None:
    assert _local_origin(origin) == taken


def test_the_process_ends_when_its_client_is_gone() -> None:
    client = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    code = f"""if True:
        import time
        from lsp_server.transports import exit_with
        exit_with({client.pid}, 0.05)
        print(1, flush=True)
        time.sleep(60)"""
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert client.stdin is not None and server.stdout is not None
    assert server.stdout.readline() == b"1\n"  # it watches now
    client.communicate(b"\n", 60)
    assert server.wait(50) == 1
    server.stdout.close()
