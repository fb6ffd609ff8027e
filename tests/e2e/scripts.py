"""What the engine of a test's server says: lsp_server/scripted.py, so that exact texts can be asserted.

script = Script(tmp_path); script.says(sharpens("x = ", "value(name)")); RawClient(options=script.options)
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

Rule = dict[str, Any]
VALUE = "value(name)"
N_PASSES = 500  # of a run that goes on


def rule(after: str, *drafts: object, **more: object) -> Rule:
    """Behind `after` the engine says these drafts, the last of which is the text."""
    return {"after": after, "drafts": drafts, **more}


def sharpens(after: str, text: str, pass_ms: float = 0, **more: object) -> Rule:
    """Behind `after` a text comes in three drafts: all of it masked, its second half masked, and all decided."""
    half = len(text) // 2
    first, second = text[:half], text[half:]
    return rule(after, [[text, 0]], [[first, 0.9], [second, 0]], [[first, 0.9], [second, 0.9]], pass_ms=pass_ms, **more)


def goes_on(after: str, text: str = VALUE, pass_ms: float = 10) -> Rule:
    """Behind `after` comes so long a run of drafts that whatever is done about it happens while it runs."""
    return rule(after, *[[[text, 0]]] * (N_PASSES - 1), text, pass_ms=pass_ms)


class Script:
    """The file that a server reads anew for every request."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "script.json"
        if not self.path.exists():
            self.says()

    def says(self, *rules: Rule, **load: object) -> None:
        """Write what is said from now on."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"rules": rules, **load}))
        os.replace(new, self.path)

    @property
    def options(self) -> list[str]:
        """The server's options."""
        return ["--engine", f"script:{self.path}"]


def prefixes(noted: Path) -> list[str]:
    """The texts before the cursor of the requests that were noted in a file, the first one first."""
    return [json.loads(line)["prefix"] for line in noted.read_text().splitlines()] if noted.exists() else []
