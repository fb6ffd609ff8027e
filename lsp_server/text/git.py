"""Asking git, for a repository that may be hostile.

Rule: git runs nothing that the repository names (no hooks, no monitor, no helper, no network), reads nothing that is no
regular file, is ended after TIMEOUT_S, and inherits no GIT_ variable. Whoever asks waits: never on the event loop.

    ignored_by(Path("/repository"), ["src/a.py", "build/b.py"])   # {"src/a.py": False, "build/b.py": True}
"""

from __future__ import annotations

import functools
import logging
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from lsp_server.text.files import read_regular

logger = logging.getLogger(__name__)

TIMEOUT_S = 2.0
LIST_TIMEOUT_S = 60.0  # of a list that a person asked for
MAX_BYTES = 1_000_000  # of a configuration or a list of patterns
SAFE = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "safe.bareRepository": "explicit",
    "protocol.allow": "never",
}
COMMAND = ("--no-pager", *(word for key in SAFE for word in ("-c", f"{key}={SAFE[key]}")))
ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": "none",  # a partial clone would fetch what it lacks, by a program that it names
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}


class NoAnswerError(Exception):
    """git is missing, refuses the repository, or takes too long."""


class TooSlowError(NoAnswerError):
    """It was ended after TIMEOUT_S."""


def ignored_by(root: Path, paths: Sequence[str]) -> dict[str, bool]:
    """Return which paths below a repository's root git ignores; NoAnswerError if it does not say so of all of them."""
    program = program_path()
    if program is None:
        raise NoAnswerError("git is not on the PATH")
    command = [program, *COMMAND, "-C", str(root), "check-ignore", "--stdin", "-z", "--verbose", "--non-matching"]
    asked = "".join(f"./{path}\0" for path in paths)
    try:
        done = subprocess.run(
            command,
            input=os.fsencode(asked),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(root),
            timeout=TIMEOUT_S,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except subprocess.TimeoutExpired:
        raise TooSlowError(f"git took longer than {TIMEOUT_S:g} s") from None
    except (OSError, ValueError) as error:
        raise NoAnswerError(f"git does not run: {error}") from None
    answers = dict(_answers(done.stdout))
    if done.returncode not in (0, 1) or answers.keys() != set(paths):
        raise NoAnswerError(f"git does not answer here (exit status {done.returncode})")
    return answers


def tracked_by(root: Path, folder: Path) -> list[str]:
    """Return the files below a folder that the repository at `root` tracks, as paths from the folder on."""
    program = program_path()
    if program is None:
        raise NoAnswerError("git is not on the PATH")
    command = [program, *COMMAND, "-C", str(folder), "ls-files", "-z"]
    try:
        done = subprocess.run(
            command, capture_output=True, env=environment(root), timeout=LIST_TIMEOUT_S,
            stdin=subprocess.DEVNULL, creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise TooSlowError(f"git took longer than {LIST_TIMEOUT_S:g} s") from None
    except (OSError, ValueError) as error:
        raise NoAnswerError(f"git does not run: {error}") from None
    if done.returncode:
        raise NoAnswerError(f"git does not answer here (exit status {done.returncode})")
    return [name for name in os.fsdecode(done.stdout).split("\0") if name]


def _answers(output: bytes) -> Iterator[tuple[str, bool]]:
    """Read `source NUL line NUL pattern NUL path NUL`; all but the path are empty where no pattern matches."""
    fields = os.fsdecode(output).split("\0")
    for source, _, pattern, path in zip(fields[::4], fields[1::4], fields[2::4], fields[3::4], strict=False):
        yield path.removeprefix("./"), bool(source) and not pattern.startswith("!")


@functools.cache
def program_path() -> str | None:
    """Return where git is, looked for in absolute folders only: never in an opened one."""
    folders = os.pathsep.join(
        folder for folder in os.environ.get("PATH", "").split(os.pathsep) if os.path.isabs(folder)
    )
    found = shutil.which("git", path=folders)
    return found if found is not None and os.path.isabs(found) else None  # Windows looks into the working folder first


def environment(root: Path) -> dict[str, str]:
    """Return git's environment: ours without what leads it elsewhere; it looks for no repository above `root`."""
    ours = {name: value for name, value in os.environ.items() if not name.upper().startswith("GIT_")}
    return {**ours, **ENVIRONMENT, "GIT_CEILING_DIRECTORIES": str(root.parent)}


def repository_of(folder: Path) -> Path | None:
    """Return the innermost folder, this one or above, that holds a `.git`."""
    return next((one for one in (folder, *folder.parents) if os.path.lexists(one / ".git")), None)


def files_of(root: Path) -> list[Path]:
    """Return the files besides .gitignore that decide what is ignored: of the repository, then of the user."""
    own, shared = _git_folders(root)
    return [
        *(own / "index", own / "HEAD", shared / "config", shared / "info" / "exclude"),
        *user_configs(),
        *excludes_files([shared / "config", *user_configs()]),
    ]


def info_exclude(root: Path) -> Path:
    """Return the repository's own list of patterns."""
    return _git_folders(root)[1] / "info" / "exclude"


def _git_folders(root: Path) -> tuple[Path, Path]:
    """Return a repository's folder and the one it shares with other worktrees."""
    own = root / ".git"
    if own.is_file():
        own = root / _word(own).removeprefix("gitdir:").strip()
    shared = _word(own / "commondir").strip()
    return own, own / shared if shared else own


def _word(path: Path) -> str:
    """Return a file's first line, "" if it cannot be read."""
    try:
        return os.fsdecode(read_regular(path, 4096, follow_links=True)).partition("\n")[0].replace("\0", "")
    except (OSError, ValueError):
        return ""


def user_configs() -> list[Path]:
    """Return the user's configurations, in the order in which git reads them."""
    home = Path(os.path.expanduser("~"))
    return [Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "git" / "config", home / ".gitconfig"]


def excludes_files(configs: Sequence[Path]) -> list[Path]:
    """Return the user's lists of patterns: what configurations name as core.excludesFile, else git's default."""
    named = [name for config in configs if (name := _excludes_file(config))]
    return [Path(os.path.expanduser(name)) for name in named] or [user_configs()[0].with_name("ignore")]


def _excludes_file(config: Path) -> str:
    """Return core.excludesFile of one configuration, "" where it has none."""
    stamp = stamp_of(config, follow_links=True)
    return _read_excludes_file(config, stamp) if stamp else ""


@functools.lru_cache(maxsize=64)
def _read_excludes_file(config: Path, stamp: tuple[int, ...]) -> str:
    """Return it; read once for each time the configuration changed. What that one includes is not read."""
    try:
        text = os.fsdecode(read_regular(config, MAX_BYTES, follow_links=True))
    except (OSError, ValueError):
        return ""
    section, found = "", ""
    for line in text.split("\n"):
        if header := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            section = header[1].lower()
        elif section == "core" and (value := re.match(r"\s*excludesfile\s*=\s*(.*)", line, re.IGNORECASE)):
            found = value[1].strip().strip('"').replace("\0", "")
    return found


def stamp_of(path: Path, *, follow_links: bool) -> tuple[int, ...] | None:
    """Return what changes with a file, () where there is none, None where git must not open it: a FIFO, a giant."""
    try:
        status = path.stat(follow_symlinks=follow_links)
    except (OSError, ValueError):
        return ()
    regular = stat.S_ISREG(status.st_mode) or (stat.S_ISLNK(status.st_mode) and not follow_links)
    too_large = status.st_size > MAX_BYTES and path.name != "index"
    return (status.st_mtime_ns, status.st_size, status.st_ino) if regular and not too_large else None
