"""Where a model lies on this machine: a folder, a file in one, or a name that the hub's cache holds.

Rule: paths only; nothing is fetched, and huggingface_hub is not needed to look into its cache. A name goes before a
folder of the current directory that is called so: who means the folder writes `./`.

    folder_of("dreamon-7b")    # ~/.cache/huggingface/hub/models--Dream-org--DreamOn-v0-7B/snapshots/8ccc...
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from diffusion.hub.known import EMBEDDED_NAME, KNOWN
from diffusion.model.config import EMBEDDED

REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")  # ORG/NAME on the hub
PATHS = ("/", "./", "../", "~")  # what begins so is a path
COMMIT = re.compile(r"[0-9a-f]{40}")


def cache_home() -> Path:
    """The hub's cache, as its own library finds it."""
    home = os.environ.get("HF_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "huggingface"
    )
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return Path(os.path.expandvars(cache)).expanduser()


def repo_folder(repo: str) -> Path:
    """Where the cache keeps a repository."""
    return cache_home() / f"models--{repo.replace('/', '--')}"


def cached(repo: str) -> Path | None:
    """The folder of a fetched model; None where there is none."""
    try:
        commit = (repo_folder(repo) / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    folder = repo_folder(repo) / "snapshots" / commit
    return folder if COMMIT.fullmatch(commit) and (folder / "config.json").is_file() else None


def repo_of(name: str) -> str:
    """The hub's ORG/NAME that a name stands for; "" if it is none."""
    known = KNOWN.get(name.lower())
    return known.repo if known else name if REPO.fullmatch(name) else ""


def folder_of(model: str) -> Path | None:
    """The folder that the option `model` means, None for the embedded model; ValueError says what to do instead."""
    if not model or model.lower() == EMBEDDED_NAME:
        return None
    known = KNOWN.get(model.lower())
    if known and known.cannot:
        raise ValueError(f"{model}: {known.cannot}")
    repo = "" if model.startswith(PATHS) else repo_of(model)
    if repo and (found := cached(repo)):
        return found
    path = Path(model).expanduser()
    if known is None and path.exists():
        return path.parent if path.is_file() else path
    if repo:
        raise ValueError(f"{model} is not on this machine: mezzotint models get {model}")
    if "/" in model or "\\" in model:
        raise ValueError(f"there is no model folder {model}")
    raise ValueError(f"{model!r} is no folder and no model that is known here: mezzotint models list")


def name_of(path: Path | None) -> str:
    """What to call a model in reports: its repository, where the cache holds it, else its path."""
    if path is None or path == EMBEDDED:
        return EMBEDDED_NAME
    found = re.search(r"models--([^/]+?)--([^/]+)/snapshots/[0-9a-f]{40}$", str(path))
    return f"{found[1]}/{found[2]}" if found else str(path)
