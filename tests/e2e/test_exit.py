"""The server is gone when its editor is, in whichever way that ended and whatever the server was doing.

"Is gone" is all that is asserted; what a run took is printed (`pytest -s`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from editor import PATIENCE_S
from raw import RawClient
from scripts import Script, goes_on, rule

from lsp_server.launch import isolated

# An editor: it starts a server whose pipes it holds (or shares), and never reads what is not asked for.
EDITOR = """if True:
    import json, os, subprocess, sys, time
    options = json.loads(sys.argv[1])
    server = subprocess.Popen(options["command"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if options["shared"]:  # another program has the pipes as well, and lives on
        ends = (server.stdin.fileno(), server.stdout.fileno())
        other = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=ends)
    else:
        other = None

    def send(method, params, **more):
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, **more}).encode()
        server.stdin.write(b"Content-Length: %d\\r\\n\\r\\n%b" % (len(body), body))
        server.stdin.flush()
    send("initialize", {"processId": os.getpid(), "rootUri": None, "capabilities": {},
                        "initializationOptions": {"drafts": True, "liveCanvas": False}}, id=0)
    size = int(server.stdout.readline().split()[1])
    while server.stdout.readline().strip(): pass
    server.stdout.read(size)
    send("initialized", {})
    send("textDocument/didOpen", {"textDocument": {"uri": "file:///a.py", "languageId": "python", "version": 1,
                                                   "text": "x = \\n"}})
    where = {"textDocument": {"uri": "file:///a.py"}, "position": {"line": 0, "character": 4}}
    for number in range(options["requests"]):
        send("textDocument/inlineCompletion", {**where, "context": {"triggerKind": 2}}, id=number + 1)
    print(server.pid, other.pid if other else 0, flush=True)
    sys.stdin.readline()
    if options["end"] == "closed window":
        send("shutdown", None, id="bye")
        send("exit", None)
    elif options["end"] == "closed stdin":
        server.stdin.close()
    elif options["end"] == "closed stdout":
        server.stdout.close()
        send("mezzotint/stats", None, id="stats")
        server.stdin.close()
    time.sleep(600)
"""
ENDS = ["killed", "terminated", "closed window", "closed stdin", "closed stdout", "shared pipes", "not reaped"]
DOING = ["nothing", "loading", "passing", "long pass", "full pipe"]


def script_for(script: Script, doing: str) -> int:
    """Let the engine do it; how many requests that takes."""
    if doing == "loading":
        script.says(load_ms=600_000)
    elif doing == "passing":
        script.says(goes_on("x = "))
    elif doing == "long pass":
        script.says(rule("x = ", "a", pass_ms=600_000))
    elif doing == "full pipe":
        script.says(rule("x = ", "a" * 200_000))
    return 0 if doing == "nothing" else 1


@contextlib.contextmanager
def edited(script: Script, end: str, doing: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """An editor process and the process id of its server, which is doing something."""
    options = {
        "command": [sys.executable, "-m", "lsp_server", "--stdio", *script.options],
        "requests": script_for(script, doing),
        "shared": end in ("shared pipes", "not reaped"),
        "end": end,
    }
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    editor = subprocess.Popen([sys.executable, "-c", EDITOR, json.dumps(options)], **pipes)  # type: ignore[call-overload]
    server = other = 0
    try:
        server, other = map(int, editor.stdout.readline().split())
        time.sleep(0.5 if doing != "nothing" else 0)  # the server does it now, or it ends even sooner
        yield editor, server
    finally:
        for pid in filter(None, (editor.pid, other, server)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        editor.wait()
        editor.stdin.close()
        editor.stdout.close()


def is_gone(pid: int) -> bool:
    """Whether a process has ended; whoever is its parent by now may not have noticed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_gone(pid: int) -> float:
    """Wait for the end of a process; the seconds that it took."""
    begin_s = time.monotonic()
    while not is_gone(pid):
        assert time.monotonic() - begin_s < PATIENCE_S / 10, "the server still runs"
        time.sleep(0.01)
    return time.monotonic() - begin_s


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
@pytest.mark.parametrize("doing", DOING)
@pytest.mark.parametrize("end", ENDS)
def test_the_server_is_gone_when_its_editor_is(script: Script, end: str, doing: str) -> None:
    with edited(script, end, doing) as (editor, server):
        assert not is_gone(server)
        if end in ("killed", "shared pipes"):
            editor.kill()
            editor.wait()
        elif end == "not reaped":  # as in a container whose first process waits for nobody
            os.kill(editor.pid, signal.SIGKILL)
        elif end == "terminated":
            editor.terminate()
            editor.wait()
        else:
            editor.stdin.write(b"\n")  # type: ignore[union-attr]
            editor.stdin.flush()  # type: ignore[union-attr]
        print(f"\n{end}, {doing}: gone after {wait_until_gone(server):.2f} s")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
@pytest.mark.parametrize("doing", DOING)
def test_the_server_is_gone_when_it_is_told_to_by_a_signal(script: Script, doing: str) -> None:
    """A stopped container sends SIGTERM to all."""
    with edited(script, "signal", doing) as (_, server):
        os.kill(server, signal.SIGTERM)
        print(f"\nSIGTERM, {doing}: gone after {wait_until_gone(server):.2f} s")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_log_on_a_full_disk_changes_nothing(script: Script) -> None:
    script.says(rule("", error="this is logged"))
    command = isolated("lsp", *script.options)
    with RawClient(command=["sh", "-c", 'exec "$@" 2>/dev/full', "sh", *command]) as client:
        client.request("initialize", {"capabilities": {}})
        client.notify("initialized", {})
        document = {"uri": "file:///a.py", "languageId": "python", "version": 1, "text": "x = \n"}
        client.notify("textDocument/didOpen", {"textDocument": document})
        where = {"textDocument": {"uri": "file:///a.py"}, "position": {"line": 0, "character": 4}}
        asked = {**where, "context": {"triggerKind": 2}}
        assert client.request("textDocument/inlineCompletion", asked)["result"] == {"items": []}
        assert client.request("shutdown", None)["result"] is None
        client.notify("exit", None)
        assert client.process.wait(PATIENCE_S) == 0
