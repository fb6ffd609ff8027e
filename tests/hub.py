"""A hub on loopback: the few endpoints that huggingface_hub asks, and every way in which a hub can fail."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
LARGE = 5_000_000  # bytes: larger files have a SHA-256, as in git-lfs; here the weights alone


@dataclass
class Hub:
    """One repository. `announced`: what a file is said to hold where that is not what is sent."""

    repo: str
    files: dict[str, bytes]
    licence: str = "apache-2.0"
    endpoint: str = ""
    announced: dict[str, bytes] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)  # files that are listed, but not there
    stops_after: int = 0  # bytes of a large file, then the connection is cut
    stops: int = 0  # how often it is
    hangs: bool = False  # it is not cut, but nothing more comes
    hanging: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # (method, file, range)

    def fetched(self) -> list[str]:
        """The files of which contents were asked for."""
        return [name for method, name, _ in self.asked if method == "GET" and name]

    def ranges(self) -> list[str]:
        return [wanted for method, _, wanted in self.asked if method == "GET" and wanted]


def digest(content: bytes) -> str:
    if len(content) > LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def listed(name: str, content: bytes) -> dict[str, Any]:
    """How the hub lists a file."""
    entry: dict[str, Any] = {"rfilename": name, "path": name, "type": "file", "size": len(content)}
    entry |= {"blobId": digest(content), "oid": digest(content)}
    if len(content) > LARGE:
        lfs = {"sha256": digest(content), "oid": digest(content), "size": len(content), "pointerSize": 134}
        entry |= {"lfs": lfs, "blobId": "0" * 40, "oid": "0" * 40}
    return entry


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        file = path.partition("/resolve/")[2].partition("/")[2]
        self.hub.asked.append((self.command, file, self.headers.get("Range", "")))
        if file:
            self.send_content(file, body)
        elif path.startswith(f"/api/models/{self.hub.repo}"):
            said = {**self.hub.files, **self.hub.announced}
            entries = [listed(name, content) for name, content in said.items()]
            tags = [f"license:{self.hub.licence}"] if self.hub.licence else []
            info = {"id": self.hub.repo, "modelId": self.hub.repo, "sha": COMMIT, "tags": tags, "siblings": entries}
            self.send(200, json.dumps(entries if "/tree/" in path else info).encode(), {}, body)
        else:
            self.send(401, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, body)

    def send_content(self, name: str, body: bool) -> None:
        content = self.hub.files.get(name)
        if content is None or name in self.hub.lost:
            return self.send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, body)
        said = self.hub.announced.get(name, content)
        headers = {"ETag": f'"{digest(said)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        status = 206 if start else 200
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if body and len(content) > LARGE and self.hub.stops:
            self.hub.stops -= 1
            return self.send_some(status, content[start:], headers)
        self.send(status, content[start:], headers, body)

    def send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def send_some(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send(status, content, headers, False)
        self.wfile.write(content[: self.hub.stops_after])
        self.wfile.flush()
        if self.hub.hangs:
            self.hub.hanging.set()
            self.rfile.read(1)  # until the client is gone
        self.close_connection = True


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub, while it answers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
