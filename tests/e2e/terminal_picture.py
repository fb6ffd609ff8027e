"""A real terminal for editors: a tmux session, its keys, and what it shows as SVG."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

PATIENCE_S = 60
COLUMNS, ROWS = 88, 16


class Terminal:
    """A command in a tmux server of its own."""

    def __init__(self, command: str, folder: Path, env: dict[str, str]) -> None:
        self.socket = str(folder / "tmux")
        home = {f"XDG_{kind}_HOME": str(folder / kind.lower()) for kind in ("STATE", "CACHE", "DATA", "CONFIG")}
        variables = [f"{name}={value}" for name, value in {**home, "HOME": str(folder), **env}.items()]
        size = ("-x", str(COLUMNS), "-y", str(ROWS))
        self.tmux("-f", "/dev/null", "new-session", "-d", *size, "env", *variables, "sh", "-c", command)
        self.tmux("set", "-g", "status", "off")

    def tmux(self, *args: str) -> str:
        done = subprocess.run(["tmux", "-S", self.socket, *args], capture_output=True, text=True, check=True,
                              env={**os.environ, "TERM": "xterm-256color"})  # fmt: skip
        return done.stdout

    def keys(self, *keys: str) -> None:
        """Press keys, or type texts."""
        for key in keys:
            named = key in ("Enter", "Tab", "Escape", "BTab", "BSpace") or key[:2] in ("M-", "C-")
            self.tmux("send-keys", *(() if named else ("-l",)), key)
            time.sleep(0.05)

    def text(self) -> str:
        return self.tmux("capture-pane", "-p")

    def until(self, wanted: str) -> None:
        """Wait until the screen shows a text."""
        end = time.monotonic() + PATIENCE_S
        while wanted not in self.text():
            if time.monotonic() > end:
                raise AssertionError(f"the screen never showed {wanted!r}:\n{self.text()}")
            time.sleep(0.02)

    def picture(self, path: Path, title: str) -> None:
        """Write what the terminal shows, with its colours, as SVG."""
        from rich.console import Console
        from rich.text import Text

        console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"))
        console.print(Text.from_ansi(self.tmux("capture-pane", "-p", "-e").rstrip("\n")))
        path.write_text(console.export_svg(title=title), encoding="utf-8")

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], capture_output=True)
