"""The users, their files and their servers, and what was seen of them minute by minute.

Rule: everything is made in one folder and carries one mark; the files are the real ones of this checkout and of Python.

    with world_in(folder, seed=1, model=True) as world: world.begin(); ...; faults = world.end()
"""

from __future__ import annotations

import json
import os
import shutil
import sysconfig
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from lsp_server.launch import isolated
from tests.soak.page import Page
from tests.soak.servers import Sample, Server, living, sample, start, start_tcp
from tests.soak.user import User

ROOT = Path(__file__).parents[2]
LIBRARY = Path(sysconfig.get_path("stdlib"))
FILES = (  # language, folder, glob, how many
    ("python", LIBRARY, "[a-t]*.py", 14),
    ("cpp", ROOT / "cuda_ext", "**/*.[ch]*", 12),
    ("typescript", ROOT / "editors/vscode/src", "*.ts", 10),
    ("lua", ROOT / "editors/nvim", "**/*.lua", 8),
    ("markdown", ROOT / "docs", "*.md", 6),
)
MAX_BYTES = 60_000
FAKETIME = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
)
FULL_DISK = """
mount -t tmpfs -o size=64k tmpfs "$1" || exit 125
head -c 100000 /dev/zero > "$1/full" 2>/dev/null
export HOME="$1" TMPDIR="$1" XDG_CONFIG_HOME="$1" XDG_CACHE_HOME="$1"
shift
exec "$@" 2>> "$HOME/log"
"""
SCRIPT = {
    "rules": [
        {"after": "raise ", "error": "as a model may fail"},
        {"after": "(", "drafts": [[["first", 0.9], [", other", 0]], "first, other)"], "pass_ms": 5},
        {"after": "\n", "drafts": ["value = other(first)\nreturn value"], "passes": 3, "pass_ms": 5},
        {"candidate": 1, "drafts": ["another"]},
        {"drafts": [[["value", 0.8], ["_of(name)", 0]], "value_of(name)"], "pass_ms": 5},
    ]
}


class Seen(NamedTuple):
    """What a server was at a moment."""

    at_s: float
    name: str
    what: Sample


def files() -> list[tuple[str, Path]]:
    """(language, file) of fifty real files."""
    found = []
    for language, folder, glob, n in FILES:
        fitting = (path for path in sorted(folder.glob(glob)) if 500 < path.stat().st_size < MAX_BYTES)
        found += [(language, path) for path in list(fitting)[:n]]
    return found


def pages(n: int, offset: int = 0) -> list[Page]:
    """So many of the files, from one on; each third has the line ends of Windows."""
    chosen = files()[offset:] + files()[:offset]
    made = []
    for number, (language, path) in enumerate(chosen[:: max(1, len(chosen) // n)][:n]):
        text = path.read_text(encoding="utf-8", errors="replace")
        text = text.replace("\n", "\r\n") if number % 3 == 2 else text
        made.append(Page(f"file:///soak/{number}/{path.name}", language, text))
    return made


class World:
    """A soak's users."""

    model_options: Mapping[str, object] = {"logLevel": "warning", "drafts": True, "threads": 1}

    def __init__(self, folder: Path, seed: int = 1, model: bool = True) -> None:
        self.folder, self.began = folder, time.monotonic()
        self.run = f"soak{os.getpid()}"
        self.script = folder / "script.json"
        self.script.write_text(json.dumps(SCRIPT))
        self.quick = folder / "quick.json"  # libfaketime lets nobody sleep
        self.quick.write_text(json.dumps({"rules": [{**rule, "pass_ms": 0} for rule in SCRIPT["rules"]]}))
        self.seen: list[Seen] = []
        self.users: dict[str, User] = {}
        for number, (name, server) in enumerate(self._servers(model)):
            n, keys_per_s = (50, 10) if name == "many" else (6, 4)
            self.users[name] = User(name, server, pages(n, 7 * number), keys_per_s, seed + number)

    def _servers(self, model: bool) -> Iterator[tuple[str, Server]]:
        """Start the servers that run from the beginning to the end."""
        if model:
            yield "model", self.start("").hello(**self.model_options)
        yield "many", self.start().hello()
        yield "slow", self.start().hello()
        yield (
            "tcp",
            start_tcp(self.run, self.engine, self.folder).hello(token=(self.folder / "token").read_text().strip()),
        )
        library = next(filter(os.path.exists, FAKETIME), None)
        if library:
            self.set_clock("+0")
            faked = {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(self.folder / "clock")}
            faked |= {"FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1"}
            yield "clock", self.start(f"script:{self.quick}", environment=faked).hello()
        disk = self.folder / "disk"
        disk.mkdir()
        if shutil.which("unshare"):
            server = self.start(before=("unshare", "-rm", "sh", "-c", FULL_DISK, "sh", str(disk)))
            try:
                yield "disk", server.hello()
            except (EOFError, BrokenPipeError):  # this system lets nobody mount
                server.close()

    @property
    def engine(self) -> str:
        """The scripted engine's name."""
        return f"script:{self.script}"

    def command(self) -> list[str]:
        """How a server with a scripted engine is started."""
        return isolated("lsp", "--engine", self.engine)

    def start(self, engine: str | None = None, **more: object) -> Server:
        """Start another server; with the embedded model where the engine is ""."""
        return start(self.run, self.engine if engine is None else engine, **more)  # type: ignore[arg-type]

    def set_clock(self, offset: str) -> None:
        """Set what `clock`'s server takes for the time."""
        new = self.folder / "clock.new"
        new.write_text(offset + "\n")
        new.replace(self.folder / "clock")

    def begin(self) -> None:
        """Everybody's first completion; from then on the time counts, and everybody types."""
        for user in self.users.values():
            user.ask(user.pages[0], 0, 1)[1].result(120)
        self.users["slow"].server.wire.sip_s = 0.002
        self.began = time.monotonic()
        for user in self.users.values():
            user.start()

    def observe(self) -> None:
        """Note what each server is now."""
        for name, user in self.users.items():
            self.seen.append(Seen(time.monotonic() - self.began, name, sample(user.server.pid)))

    def near(self, name: str, at_s: float, within_s: float) -> list[Sample]:
        """What a server was about a moment."""
        return [one.what for one in self.seen if one.name == name and abs(one.at_s - at_s) <= within_s]

    def end(self) -> list[str]:
        """Compare everything once more, end everybody as editors do; what was wrong."""
        faults = []
        for user in self.users.values():
            user.end()
        self.users["slow"].server.wire.sip_s = 0.0
        for name, user in self.users.items():
            try:
                user.check()
                status = user.server.bye()
                faults += [f"{name}: exit status {status}"] * bool(status)
            except Exception as error:
                faults.append(f"{name}: {type(error).__name__}: {error}")
                user.server.close()
        time.sleep(0.5)
        faults += [f"{len(left)} processes were left behind"] if (left := living(self.run)) else []
        return faults


@contextmanager
def world_in(folder: Path, seed: int, model: bool) -> Iterator[World]:
    """A world, of which nothing is left afterwards."""
    world = World(folder, seed, model)
    try:
        yield world
    finally:
        for user in world.users.values():
            user.server.wire.reads.set()
            user.server.close()
