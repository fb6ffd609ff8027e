"""A project folder whose every file leaves a mark when it is run: what an editor opens may be one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from raw import RawClient

START = {"processId": None, "rootUri": None, "capabilities": {}}
MODULES = ("argparse.py", "logging.py", "asyncio.py", "diffusion/__init__.py")
OURS = "lsp_server/__init__.py"
PROGRAMS = (".venv/bin/python", "mezzotint", "python3")


class Hostile:
    """A folder whose every file leaves a mark when it is run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mark = folder / "project", folder / "mark"
        for name in (*MODULES, OURS):
            self.write(name, f"open({str(self.mark)!r}, 'a').write(__file__)\n")
        for name in PROGRAMS:
            self.write(name, f'#!/bin/sh\necho "$0" >> {self.mark}\n').chmod(0o755)
        self.write("main.py", "import os\n")

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, command: Sequence[str | Path], **env: str) -> str:
        """What a program prints that is started in the folder."""
        done = subprocess.run(
            command, cwd=self.folder, env={**os.environ, **env}, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def serves(self, command: Sequence[str]) -> bool:
        """Whether a server that is started in the folder answers."""
        with RawClient(command=command, cwd=self.folder) as client:
            answer = client.request("initialize", START)
        return "capabilities" in answer["result"]

    def marks(self) -> str:
        return self.mark.read_text() if self.mark.exists() else ""
