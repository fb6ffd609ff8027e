"""What git ignores, asked of git itself, or read from the .gitignore files where git gives no answer.

Rule: a question takes as long as git does, at most a few seconds once: ask in the model thread, never on the event
loop. An answer holds until one of the files that decide it changes, which is looked at again after a moment. Nothing
here raises.

    is_ignored("file:///repository/build/made.py")
"""

from __future__ import annotations

import functools
import logging
import threading
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from lsp_server.text import git, gitignore
from lsp_server.text.recent import for_a_moment
from lsp_server.text.uris import path_of

logger = logging.getLogger(__name__)

MAX_PATH_CHARS, MAX_PARTS = 4096, 100  # what is longer or deeper is not looked at, and no context
MAX_ANSWERS = 256  # remembered of one repository
MAX_BATCH = 64  # paths asked for in one go
MAX_REPOSITORIES = 32

Stamp = tuple[object, ...]


class Answer(NamedTuple):
    """Whether a path is ignored, as long as its stamp is this."""

    stamp: Stamp
    ignored: bool


@for_a_moment
def is_ignored(uri: str) -> bool:
    """Tell whether git ignores a file, by the name that it is opened by or by the one that a link leads to."""
    path = path_of(uri)
    if path is None:
        return False
    if len(str(path)) > MAX_PATH_CHARS or len(path.parts) > MAX_PARTS:
        return True
    try:
        places = {path.parent.resolve() / path.name, path.resolve()}
    except (OSError, RuntimeError, ValueError):  # RuntimeError: links in a circle, before Python 3.13
        places = {path}
    return any(_is_ignored(place) for place in sorted(places))


def _is_ignored(path: Path) -> bool:
    """Tell it of a path without links, but for its last part."""
    root = git.repository_of(path.parent)
    if root is not None:
        return repository(root).ignores(path.relative_to(root).parts)
    rules = gitignore.read_rules(path.parent / ".gitignore")
    return gitignore.is_named(lambda parts: rules, (), (path.name,))


class Repository:
    """What is known of one repository."""

    def __init__(self, root: Path) -> None:
        """Start with no answers."""
        self.root = root
        self._answers: OrderedDict[tuple[str, ...], Answer] = OrderedDict()
        self._ask_git = True
        self._lock = threading.Lock()  # one question at a time

    def ignores(self, parts: tuple[str, ...]) -> bool:
        """Tell whether the path of these parts is ignored; asked anew only when something that decides it changed."""
        with self._lock:
            stamp, may_ask = self._stamp(parts)
            known = self._answers.get(parts)
            if known is None or known.stamp != stamp:
                self._ask(parts, stamp, may_ask)
            self._answers.move_to_end(parts)
            return self._answers[parts].ignored

    def _ask(self, parts: tuple[str, ...], stamp: Stamp, may_ask: bool) -> None:
        """Find the answer for a path, and with git for others that are out of date too."""
        wanted = {parts: stamp}
        if may_ask:
            for other in list(reversed(self._answers))[: MAX_BATCH - 1]:
                other_stamp, may_ask_other = self._stamp(other)
                if may_ask_other and self._answers[other].stamp != other_stamp:
                    wanted[other] = other_stamp
        answers = self._git_says(list(wanted)) if may_ask else None
        if answers is None:
            self._answers[parts] = Answer(stamp, self._files_say(parts))
        else:
            self._answers.update((one, Answer(wanted[one], ignored)) for one, ignored in answers.items())
        while len(self._answers) > MAX_ANSWERS:
            self._answers.popitem(last=False)

    def _git_says(self, paths: list[tuple[str, ...]]) -> dict[tuple[str, ...], bool] | None:
        """Ask git; None where it gives no answer. One that was too slow is never asked again."""
        names = {"/".join(parts): parts for parts in paths}
        try:
            return {names[name]: ignored for name, ignored in git.ignored_by(self.root, list(names)).items()}
        except git.NoAnswerError as error:
            self._ask_git = not isinstance(error, git.TooSlowError)
            logger.warning("%s: what is ignored is read from .gitignore files", error)
            return None

    def _files_say(self, parts: tuple[str, ...]) -> bool:
        """Read the .gitignore files, and the lists of the repository and the user."""
        lists = [git.info_exclude(self.root), *git.excludes_files(git.user_configs())]
        everywhere = [gitignore.read_rules(path, follow_links=True) for path in lists]
        root = self.root
        return gitignore.is_named(
            lambda folder: gitignore.read_rules(root.joinpath(*folder, ".gitignore")), everywhere, parts
        )

    def _stamp(self, parts: tuple[str, ...]) -> tuple[Stamp, bool]:
        """Return what an answer holds for, and whether git may be asked at all."""
        folders = [self.root.joinpath(*parts[:level]) for level in range(len(parts))]
        stamps = [git.stamp_of(folder / ".gitignore", follow_links=False) for folder in folders]
        stamps += [git.stamp_of(path, follow_links=True) for path in git.files_of(self.root)]
        return tuple(stamps), self._ask_git and None not in stamps


@functools.lru_cache(maxsize=MAX_REPOSITORIES)
def repository(root: Path) -> Repository:
    """Return what is known of the repository with this root."""
    return Repository(root)
