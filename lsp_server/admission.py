"""Who may connect to a socket: the token, the addresses it may be bound to, and the web pages that are refused.

Rule: pure but for the token's file. A token is never on a command line and never in a log; whoever is refused is told
why in one sentence. stdio needs none of this: whoever starts a process owns its pipes.

    door = Door(token="..."); door.refusal(Handshake(host="localhost:2087", origin=None, token="wrong"))
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import os
import secrets
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

MAX_FIRST_BYTES = 1 << 20  # of the message in which a TCP client shows its token
FIRST_MESSAGE_S = 10.0  # and how long it may take
MAX_STRANGERS = 8  # connections at a time that have not shown a token yet
MIN_TOKEN_CHARS = 16
IN_USE = "this server serves one client at a time, and has one"


class Refusal(NamedTuple):
    """Why somebody may not connect, and the status that HTTP has for it."""

    status: int
    reason: str


class Handshake(NamedTuple):
    """What is looked at of a WebSocket's request."""

    host: str
    origin: str | None
    token: str


NO_TOKEN = Refusal(
    401, "the token is missing or wrong: it is what the server printed at its start, or its --token-file"
)


@dataclass(frozen=True)
class Door:
    """Where a socket is bound, and who may come in.

    Attributes:
        host, port: the address.
        token: what a client must show; "" asks for none.
        origins: of web pages that may open the WebSocket; no other page may.
        remote: whether the address may be another one than loopback.
    """

    host: str = "127.0.0.1"
    port: int = 2087
    token: str = ""
    origins: tuple[str, ...] = ()
    remote: bool = False

    def address(self) -> str:
        """Return the host to bind to; ValueError says why it may not be."""
        if is_loopback(self.host):
            return "127.0.0.1" if self.host == "localhost" else self.host
        if not self.remote:
            raise ValueError(
                f"the server binds to loopback only (127.0.0.1, ::1 or localhost), not to {self.host!r}; "
                "--allow-remote permits it, and nothing is encrypted then: a tunnel (ssh -L) is better"
            )
        if not self.token:
            raise ValueError("--allow-remote and --no-token do not go together: anybody could connect")
        return self.host

    def refusal(self, request: Handshake) -> Refusal | None:
        """Return why a WebSocket is not opened.

        A page of another site reaches loopback under a name of its own (DNS rebinding), which the Host header tells.
        """
        if not self.remote and not is_loopback(hostname(request.host)):
            return Refusal(403, "the Host header is not that of this machine")
        if request.origin is not None and request.origin not in self.origins:
            return Refusal(403, "a web page may connect only if --origin names its origin")
        return None if same(request.token, self.token) else NO_TOKEN

    def refusal_of_first(self, message: Any) -> Refusal | None:
        """Return why a TCP client whose first message this is may not go on; the token is taken out of it."""
        params = message.get("params") if isinstance(message, dict) else None
        options = params.get("initializationOptions") if isinstance(params, dict) else None
        given = options.pop("token", "") if isinstance(options, dict) else ""
        if self.token and (not isinstance(message, dict) or message.get("method") != "initialize"):
            return Refusal(401, "the first message must be `initialize`, with the token in initializationOptions.token")
        return None if same(given, self.token) else NO_TOKEN


def door_for(host: str, port: int, token_file: Path | None, no_token: bool, origins: list[str], remote: bool) -> Door:
    """Return what the command line says; a token that is in no file is printed. ValueError says what cannot be."""
    Door(host, port, "" if no_token else "some", tuple(origins), remote).address()  # before a file is made
    token = "" if no_token else token_for(token_file)
    if token and token_file is None:
        print(f"mezzotint lsp: clients must show the token {token}", file=sys.stderr, flush=True)
    return Door(host, port, token, tuple(origins), remote)


def same(given: object, token: str) -> bool:
    """Tell whether a token is right, in a time that does not say how much of it is; without one, all are."""
    return not token or hmac.compare_digest(str(given).encode("utf-8", "replace"), token.encode())


def handshake(path: str, headers: Any) -> Handshake:
    """Return what a WebSocket's request shows: the token as `Authorization: Bearer`, or as `?token=` where none is."""
    kind, _, bearer = headers.get("Authorization", "").partition(" ")
    token = bearer.strip() if kind.lower() == "bearer" else parse_qs(urlsplit(path).query).get("token", [""])[0]
    return Handshake(headers.get("Host", ""), headers.get("Origin"), token)


def hostname(host: str) -> str:
    """Return the name in a Host header, "" where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine for itself alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def token_for(file: Path | None) -> str:
    """Return a new token, or that of a file, which is made if it is not there; ValueError if others may read it."""
    if file is None:
        return secrets.token_urlsafe(32)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_token(file)
    token = secrets.token_urlsafe(32)
    with open(descriptor, "w", encoding="ascii") as new:
        new.write(token + "\n")
    return token


def read_token(file: Path) -> str:
    """Return the token in a file that only its owner may read."""
    with file.open("rb") as opened:
        status = os.fstat(opened.fileno())
        token = opened.read(1000).decode("utf-8", "replace").strip()
    if os.name == "posix" and (status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077):
        raise ValueError(f"others may read {file}: it must be yours, with mode 600")
    if len(token) < MIN_TOKEN_CHARS:
        raise ValueError(f"{file} holds no token of at least {MIN_TOKEN_CHARS} characters")
    return token


def as_error(message: Any, reason: str) -> bytes:
    """Return a refusal as a JSON-RPC message, the answer to `message` if that has an id."""
    id = message.get("id") if isinstance(message, dict) else None
    answer = {"jsonrpc": "2.0", "id": id, "error": {"code": -32600, "message": reason}}
    body = json.dumps(answer).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
