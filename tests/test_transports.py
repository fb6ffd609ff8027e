from __future__ import annotations

import subprocess
import sys

from lsp_server.server import build


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


def test_stdin_is_read_by_one_thread_however_long() -> None:
    """A pool makes another now and then, up to its limit."""
    assert build().thread_pool._max_workers == 1
