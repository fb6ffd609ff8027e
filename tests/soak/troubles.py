"""What goes wrong during a soak, one row each in TROUBLES: what is done, and what must hold afterwards.

Rule: a trouble returns a few words on what happened, raises Skip where this machine cannot have it, and AssertionError
where the server did not do what it must. What it starts it ends.

    for trouble in TROUBLES: trouble(world)
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.soak.page import Page
from tests.soak.servers import MARK, NUMBERS, connected, living, sample, wait_for
from tests.soak.wire import Wire

if TYPE_CHECKING:
    from tests.soak.world import World

SMALL = Path(__file__).parents[1] / "data/small"
BURST = 10_000
LARGE_BYTES = 50_000_000
STATEMENT = "value = other(first, second)\n"
EDITOR = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(3600)"
OPTION_MOST = 100_000_000  # of maxFileBytes


class Skip(Exception):
    """This machine cannot have that trouble."""


def editor_killed(world: World) -> str:
    """An editor is killed while its server denoises; once its pipes go with it, once somebody holds them open."""
    for pipes_stay in (False, True):
        mark = f"{world.run}-{next(NUMBERS)}"
        command = [sys.executable, "-I", "-c", EDITOR, *world.command()]
        pipe = subprocess.PIPE
        editor = subprocess.Popen(command, stdin=pipe, stdout=pipe, env={**os.environ, MARK: mark}, bufsize=0)
        assert editor.stdin and editor.stdout
        wire = Wire(editor.stdout.fileno(), editor.stdin.fileno())
        wire.call("initialize", {"processId": editor.pid if pipes_stay else None, "capabilities": {}})
        wire.notify("initialized", {})
        page = Page("file:///killed.py", "python", STATEMENT * 50)
        wire.notify("textDocument/didOpen", {"textDocument": page.item()})
        wire.ask("textDocument/inlineCompletion", asked(page, 10))
        editor.kill()
        editor.wait()
        if not pipes_stay:
            editor.stdin.close()
        wait_for(lambda mark=mark: not living(mark), "a server outlived its editor", 20)
        for end in (editor.stdin, editor.stdout):
            end.close()
    return "the servers ended"


def reader_stops(world: World) -> str:
    """The slow reader stops reading for a while, and goes on."""
    wire = world.users["slow"].server.wire
    wire.reads.clear()
    time.sleep(5)
    wire.reads.set()
    world.users["slow"].check()
    return "all was answered"


def burst(world: World) -> str:
    """10,000 edits come in one message, and 10,000 in a message each, and a completion is asked for behind them."""
    user = world.users["many"]
    with user.quiet:
        page = Page("file:///burst.py", "python", STATEMENT * BURST)
        user.server.wire.notify("textDocument/didOpen", {"textDocument": page.item()})
        changes = [whole_line(line, 0, 5, "result") for line in range(BURST)]
        user.change(page, *changes)
        page.text = page.text.replace("value", "result")
        for line in range(BURST):
            user.change(page, whole_line(line, 0, 6, "value"))
        page.text = page.text.replace("result", "value")
        user.server.wire.call("textDocument/inlineCompletion", asked(page, 10))
        user.pages.append(page)
        user.check()
        user.pages.remove(page)
        user.server.wire.notify("textDocument/didClose", {"textDocument": {"uri": page.uri}})
    return f"{2 * BURST} edits"


def large_file(world: World) -> str:
    """A file of 50 MB is opened and typed into, by a server that keeps such and by one that does not."""
    text = STATEMENT * (LARGE_BYTES // len(STATEMENT))
    for most in (1_000_000, OPTION_MOST):
        server = world.start().hello(maxFileBytes=most)
        page = Page("file:///large.py", "python", text)
        server.wire.notify("textDocument/didOpen", {"textDocument": page.item()})
        at = page.text.rindex("other")
        for key in "abc":
            change = page.edit(at, at, key)
            server.wire.notify("textDocument/didChange", {"textDocument": page.named(), "contentChanges": [change]})
            server.wire.call("textDocument/inlineCompletion", asked(page, at + 1))
        (has,) = server.wire.call("mezzotint/documents", None)
        assert has["version"] == page.version
        assert has["sha256"] == (page.digest() if most == OPTION_MOST else "")
        rss_mb = sample(server.pid).rss_mb
        assert server.bye() == 0
    return f"kept with {rss_mb:.0f} MB in all"


def clock_jumps(world: World) -> str:
    """The clock goes a day and a year forward and back."""
    if "clock" not in world.users:
        raise Skip("libfaketime is not installed")
    for offset in ("+1d", "-365d", "+0"):
        world.set_clock(offset)
        time.sleep(1)
        world.users["clock"].check()
    return "nothing was seen of it"


def disk_full(world: World) -> str:
    """The disk on which log, home and temporary files lie has been full from the start."""
    if "disk" not in world.users:
        raise Skip("no file system of its own can be mounted (unshare -rm)")
    world.users["disk"].check()
    return "nothing was seen of it"


def little_memory(world: World) -> str:
    """A server has no memory left for a while (prlimit), with the model loaded."""
    server = world.start("").hello()
    page = Page("file:///little.py", "python", STATEMENT * 30)
    server.wire.notify("textDocument/didOpen", {"textDocument": page.item()})
    server.wire.call("textDocument/inlineCompletion", asked(page, 10))
    before = resource.prlimit(server.pid, resource.RLIMIT_AS)
    used = int(Path(f"/proc/{server.pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.prlimit(server.pid, resource.RLIMIT_AS, (used + 4_000_000, before[1]))
    others = [Page(f"file:///little{n}.py", "python", STATEMENT * 20_000) for n in range(10)]
    ended = False
    try:
        for other in others:
            server.wire.notify("textDocument/didOpen", {"textDocument": other.item()})
            server.wire.call("textDocument/inlineCompletion", asked(other, 10))
    except (EOFError, BrokenPipeError):  # seen by the reader, or by the writer first
        ended = True
    if ended or server.wire.ended:
        status = server.process.wait(20)
        server.close()
        assert not living(server.mark), "something was left behind"
        return f"the server ended with {status}"
    resource.prlimit(server.pid, resource.RLIMIT_AS, before)
    for other in others:
        server.wire.notify("textDocument/didClose", {"textDocument": {"uri": other.uri}})
    server.wire.call("textDocument/inlineCompletion", asked(page, 12))
    (has,) = server.wire.call("mezzotint/documents", None)
    assert has["sha256"] == page.digest()
    assert server.bye() == 0
    return f"the server went on, having said {len(server.wire.told)} messages"


def strangers(world: World) -> str:
    """Others connect to the socket on which a user is served: without a token, with a wrong one, with the right one."""
    user = world.users["tcp"]
    assert user.server.tcp
    port = user.server.tcp.getpeername()[1]
    token = (world.folder / "token").read_text().strip()
    for shown in (None, "0" * len(token), token):
        with connected(port) as other:
            wire = Wire(other.fileno(), other.fileno())
            options = {} if shown is None else {"token": shown}
            wire.ask("initialize", {"processId": None, "capabilities": {}, "initializationOptions": options})
            wait_for(lambda wire=wire: wire.ended, "a stranger was not sent away", 30)
            with suppress(OSError):  # the server was quicker
                other.shutdown(socket.SHUT_RDWR)
    user.check()
    return "all were refused"


def model_changes(world: World) -> str:
    """The settings name another model, then one that is none, then the first again."""
    user = world.users["model"]
    wrong = f"no/such/model/{next(NUMBERS)}"  # the user is told of each once
    for model, expected in ((str(SMALL), "small"), (wrong, "small"), ("", "")):
        wire = user.server.wire
        wire.told.clear()
        settings = {"mezzotint": {**world.model_options, "model": model}}
        wire.notify("workspace/didChangeConfiguration", {"settings": settings})
        if model == wrong:
            wait_for(lambda wire=wire: wire.told, "nothing was said of a model that is none")
        else:
            wait_for(lambda expected=expected, wire=wire: loaded(wire, expected), "the model was not loaded")
        time.sleep(2)
        user.check()
    return "each was loaded, the wrong one named to the user"


def loaded(wire: Wire, name: str) -> bool:
    """Whether a model of this folder is the one that runs; "" is the embedded one."""
    model = str(wire.call("mezzotint/stats", None)["engine"].get("model", "?"))
    return model.endswith(name) if name else not model.endswith("small")


def process_stops(world: World) -> str:
    """A server is stopped as a laptop's lid does it, and goes on; its user types on meanwhile."""
    user = world.users["many"]
    os.kill(user.server.pid, signal.SIGSTOP)
    time.sleep(3)
    os.kill(user.server.pid, signal.SIGCONT)
    user.check()
    return "all was answered"


def asked(page: Page, at: int) -> dict[str, object]:
    """What a request for a completion says."""
    return {"textDocument": {"uri": page.uri}, "position": page.position(at), "context": {"triggerKind": 2}}


def whole_line(line: int, start: int, stop: int, new: str) -> dict[str, object]:
    """A change inside of a line."""
    return {
        "range": {"start": {"line": line, "character": start}, "end": {"line": line, "character": stop}},
        "text": new,
    }


TROUBLES = (
    editor_killed,
    reader_stops,
    burst,
    large_file,
    clock_jumps,
    disk_full,
    little_memory,
    strangers,
    model_changes,
    process_stops,
)
