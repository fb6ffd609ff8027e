"""The user's configuration: options for every editor, in one JSON file that `mezzotint models use` writes.

Rule: what a client sets itself goes before the file. Whatever is wrong with the file is said in words and ignored. It
is read once, before the event loop runs.

    options, problems = read()    # of ~/.config/mezzotint/config.json
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lsp_server.options import Options, from_client
from lsp_server.text.files import read_regular

MAX_BYTES = 100_000
THE_CLIENTS = ("drafts", "status")  # whether a client understands our notifications, only it knows


def config_home() -> Path:
    """Where programs keep settings, by the XDG rules."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(home) if os.path.isabs(home) else Path.home() / ".config"


def settings_file() -> Path:
    """The user's configuration."""
    return config_home() / "mezzotint" / "config.json"


def raw_settings(path: Path) -> dict[str, Any]:
    """The object in the file, {} where there is no file; ValueError says in words what is wrong with it."""
    try:
        data = read_regular(path, MAX_BYTES + 1, follow_links=True)
        if len(data) > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES} bytes")
        values = json.loads(data)
    except FileNotFoundError:
        return {}
    except RecursionError:
        raise ValueError("it is nested without end") from None
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    if not isinstance(values, dict):
        raise ValueError("it holds no JSON object")
    return values


def read(path: Path | None = None) -> tuple[Options, list[str]]:
    """The defaults that the user's file makes, and a sentence for each thing that was wrong with it."""
    path = path or settings_file()
    try:
        values = raw_settings(path)
    except ValueError as error:
        return Options(), [f"{path} is ignored: {error}."]
    theirs = [f"{path}: {name} is the editor's to set." for name in THE_CLIENTS if name in values]
    options, problems = from_client({name: value for name, value in values.items() if name not in THE_CLIENTS})
    return options, [*theirs, *(f"{path}: {problem}" for problem in problems)]
