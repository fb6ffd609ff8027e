"""HTTP to a model server: connections that are kept, answers that are read line by line and can be cut off at once.

Rule: Python's own `http.client`. It is enough for POST and GET over HTTP/1.1, adds no dependency to what every user
installs, and lets another thread shut a socket, which is how a request is cancelled; so does opening the next
connection ahead. TLS is verified. Nothing follows a redirect, so that a token goes nowhere else; no proxy is used.

    link = Link(Address.of("https://models.example"), token); exchange = link.start("POST", "/v1/infill", body, "key")
    while (line := exchange.next(0.01)) is not None: ...
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import queue
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from diffusion.fields import FieldError, Fields
from diffusion.wire import DOCUMENT_HEADER, MAX_LINE_BYTES, VERSION, VERSION_HEADER

CONNECT_S = 2.0
MAX_IDLE = 2  # connections kept
MAX_ERROR_BYTES = 100_000


class RemoteError(Exception):
    """Why a model server gave no answer; `again`: another try may succeed at once; `status` of HTTP, 0 without one."""

    def __init__(self, why: str, status: int = 0, again: bool = False) -> None:
        super().__init__(why)
        self.why, self.status, self.again = why, status, again


class Address(NamedTuple):
    """Where a model server is."""

    secure: bool
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> Address:
        """The parts of a URL; ValueError unless it is TLS or this machine."""
        try:
            parts = urlsplit(url)
            scheme, host, port = parts.scheme, parts.hostname or "", parts.port
        except ValueError as error:
            raise ValueError(f"remote {url!r} is no URL: {error}") from None
        if scheme not in ("http", "https") or not host or parts.query or parts.fragment or parts.username:
            raise ValueError(f"remote {url!r} must be a URL like https://models.example, and no more")
        if scheme == "http" and not is_loopback(host):
            raise ValueError(f"remote {url!r} is not encrypted: use https, or a tunnel to this machine (ssh -L)")
        return cls(scheme == "https", host, port or (443 if scheme == "https" else 80), parts.path.rstrip("/"))

    def connection(self) -> http.client.HTTPConnection:
        """A connection that is not opened yet."""
        if not self.secure:
            return http.client.HTTPConnection(self.host, self.port, timeout=CONNECT_S)
        tls = ssl.create_default_context()  # honours SSL_CERT_FILE
        return http.client.HTTPSConnection(self.host, self.port, timeout=CONNECT_S, context=tls)


class Link:
    """Connections to one server."""

    def __init__(self, address: Address, token: str) -> None:
        self.address, self.token = address, token
        self.opened = 0  # connections so far
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def start(self, method: str, path: str, body: bytes | None = None, key: str = "") -> Exchange:
        """Send a request; requests of one key are answered by one replica, as far as that can be."""
        headers = {"Authorization": f"Bearer {self.token}", VERSION_HEADER: str(VERSION)}
        headers |= {DOCUMENT_HEADER: key} if key else {}
        headers |= {"Content-Type": "application/json"} if body is not None else {}
        return Exchange(self, method, self.address.path + path, body, headers)

    def take(self) -> http.client.HTTPConnection | None:
        """A connection that was kept and is still open."""
        with self._lock:
            while self._idle:
                connection = self._idle.pop()
                if is_open(connection):
                    return connection
                connection.close()
        return None

    def fresh(self) -> http.client.HTTPConnection:
        """A new connection."""
        connection = self.address.connection()
        connection.connect()
        assert connection.sock is not None
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sock.settimeout(None)  # who waits for an answer also says how long
        self.opened += 1
        return connection

    def keep(self, connection: http.client.HTTPConnection) -> None:
        """Keep a connection for the next request."""
        with self._lock:
            self._idle.append(connection)
            spare = self._idle[:-MAX_IDLE]
            del self._idle[:-MAX_IDLE]
        for old in spare:
            old.close()

    def close(self) -> None:
        """Close what is kept."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


class Exchange:
    """One request and its answer, read by a thread of its own."""

    def __init__(self, link: Link, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> None:
        self.link, self.headers = link, dict[str, str]()
        self._asked = (method, path, body, headers)
        self._said: queue.SimpleQueue[bytes | None | RemoteError] = queue.SimpleQueue()
        self._connection: http.client.HTTPConnection | None = None
        self._aborted = False
        self._ended = self._left = False
        self._lock = threading.Lock()
        threading.Thread(target=self._run, name="remote", daemon=True).start()

    def next(self, timeout_s: float) -> bytes | None:
        """The next line, None at the end; queue.Empty if there is none in time, RemoteError if there will be none."""
        said = self._said.get(timeout=timeout_s)
        if isinstance(said, RemoteError):
            raise said
        return said

    def leave(self) -> None:
        """Want no more lines, and let the connection be kept once the last of them is read."""
        self._left = True

    def abort(self) -> None:
        """Cut it off; the server sees that the client has gone. Does nothing behind the end."""
        with self._lock:
            if self._ended or self._left:
                return
            self._aborted = True
            if self._connection is not None and self._connection.sock is not None:
                with contextlib.suppress(OSError):  # of the plain socket: TLS's own would wait for the other side
                    socket.socket.shutdown(self._connection.sock, socket.SHUT_RDWR)

    def _run(self) -> None:
        """Ask, read, and keep the connection, or open the next one where this one was cut off."""
        try:
            for line in self._lines():
                self._said.put(line)
            self._said.put(None)
        except RemoteError as error:
            self._said.put(error)
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            self._said.put(
                RemoteError(f"{self.link.address.host}: {reason(error)}", again=self._connection is not None)
            )
        if not self._ended:
            self._fail()
        if self._aborted:
            with contextlib.suppress(OSError):
                self.link.keep(self.link.fresh())

    def _fail(self) -> None:
        """Close this connection, and those kept, which are no better where the server has gone."""
        if self._connection is not None:
            self._connection.close()
        if not self._aborted:
            self.link.close()

    def _lines(self) -> Iterator[bytes]:
        """The answer's lines."""
        response = self._ask(self.link.take() or self.link.fresh())
        self.headers = dict(response.headers.items())
        if response.status >= 300:
            raise RemoteError(sentence(response), response.status, again=response.status in (500, 502, 504))
        while line := response.readline(MAX_LINE_BYTES + 1):
            yield line
        response.read()  # nothing is left, which http.client wants to see
        with self._lock:
            self._ended = True
            if not self._aborted and self._connection is not None:
                self.link.keep(self._connection)

    def _ask(self, connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
        """Send the request and wait for the answer's head."""
        with self._lock:
            self._connection = connection
            if self._aborted:
                raise ConnectionAbortedError("cut off")
        connection.request(*self._asked)
        return connection.getresponse()


def is_open(connection: http.client.HTTPConnection) -> bool:
    """Whether a connection on which nothing is due has not been closed by the other side."""
    try:
        return connection.sock is not None and not select.select([connection.sock], [], [], 0)[0]
    except (OSError, ValueError):
        return False


def sentence(response: http.client.HTTPResponse) -> str:
    """What a refusal says, or its status."""
    try:
        fields = Fields.of(response.read(MAX_ERROR_BYTES), "the answer", MAX_ERROR_BYTES)
        return Fields(fields.take("error", {}), "error").text("message", 500)
    except FieldError:
        return f"status {response.status} {response.reason}"[:100]


def reason(error: Exception) -> str:
    """What is said of an error of the network."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, http.client.HTTPException):
        return "the answer broke off"
    return (getattr(error, "strerror", None) or type(error).__name__)[:100]


def is_loopback(host: str) -> bool:
    """Whether an address is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
