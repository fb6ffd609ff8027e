"""Who may ask: a file with a line for each user, their name and the SHA-256 of their token.

Rule: a token is 256 random bits, shown once and kept nowhere; its plain hash cannot be guessed back. A file that others
may write is refused. A changed file is read again, so that a user is added or removed without a restart.

    token = add_user(Path("tokens"), "ada"); Users.read(Path("tokens")).name_of(f"Bearer {token}")    # "ada"
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
import time
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9][\w.@-]{0,63}")
LINE = re.compile(rf"({NAME.pattern}) ([0-9a-f]{{64}})")
MAX_BYTES = 10_000_000
LOOK_S = 2.0  # between two looks at whether the file has changed


class Users:
    """The users of a file, or one whose token was made for this process."""

    def __init__(self, names: dict[str, str], file: Path | None = None) -> None:
        self.names = names  # by hash of the token
        self._file = file
        self._read_of = changed(file) if file else None
        self._looked_s = time.monotonic()

    @classmethod
    def read(cls, file: Path) -> Users:
        """The users in a file; ValueError or OSError says what is wrong with it."""
        return cls(read_names(file), file)

    @classmethod
    def one(cls, token: str) -> Users:
        """Only who knows this token."""
        return cls({hash_of(token): "local"})

    def name_of(self, authorization: str) -> str | None:
        """Whose token an `Authorization: Bearer` header holds, None for nobody's."""
        self._look()
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer":
            return None
        given = hash_of(token.strip())
        return next((name for known, name in self.names.items() if hmac.compare_digest(known, given)), None)

    def _look(self) -> None:
        """Read the file again if it has changed; one that is wrong now changes nothing."""
        if self._file is None or time.monotonic() - self._looked_s < LOOK_S:
            return
        self._looked_s = time.monotonic()
        try:
            if (now := changed(self._file)) != self._read_of:
                self.names, self._read_of = read_names(self._file), now
        except (ValueError, OSError):
            pass


def changed(file: Path) -> tuple[int, int]:
    """What tells one version of a file from another."""
    status = file.stat()
    return status.st_mtime_ns, status.st_size


def hash_of(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def read_names(file: Path) -> dict[str, str]:
    """Names by hash; ValueError says which line is wrong."""
    with file.open("rb") as opened:
        if os.name == "posix" and stat.S_IMODE(os.fstat(opened.fileno()).st_mode) & 0o022:
            raise ValueError(f"others may write {file}: chmod 600 it")
        lines = opened.read(MAX_BYTES).decode("utf-8", "replace").splitlines()
    names = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = LINE.fullmatch(line.strip())
        if found is None:
            raise ValueError(
                f"{file}, line {number}: a name and the SHA-256 of a token, as `mezzotint serve --add-user`"
            )
        names[found[2]] = found[1]
    return names


def add_user(file: Path, name: str) -> str:
    """Add a user to a file, which is made with mode 600 if it is not there; their token. A name has one token."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of letters, digits and .@_-")
    names = read_names(file) if file.exists() else {}
    token = secrets.token_urlsafe(32)
    kept = [f"{known} {hash}" for hash, known in names.items() if known != name]
    new = file.with_name(file.name + ".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as opened:
        opened.write("\n".join([*kept, f"{name} {hash_of(token)}"]) + "\n")
    os.replace(new, file)
    return token
