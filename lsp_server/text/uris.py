"""URIs: one key per document however its URI is spelled, and the path behind it.

Rule: pure, and nothing here raises; a URI comes from a client and may be anything. Keys are for looking up, a client
is answered in its own spelling.

    key_of("file:///C%3A/a%20b.py")    # "file:///c:/a%20b.py", as of "file:///c:/a b.py"
    path_of("file:///home/x.py")       # Path("/home/x.py")
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

NOTEBOOK_CELL = "vscode-notebook-cell"
_PARTS = re.compile(
    r"(?:([A-Za-z][A-Za-z0-9+.-]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL
)  # RFC 3986, appendix B; a scheme of one letter would be a drive
_DRIVE = re.compile(rb"/*([A-Za-z])[:|](?=/|\Z)")
_SAFE = "/:@!$&'()*,;=~"  # what a path may hold as it is; `+` is not among them: many clients write it as %2B


class Parts(NamedTuple):
    """The parts of a URI, percent-decoded to bytes; None for what is not there, the scheme in lower case."""

    scheme: str
    authority: bytes | None
    path: bytes
    query: bytes | None
    fragment: bytes | None


@lru_cache(maxsize=1024)
def key_of(uri: str) -> str:
    """Return the spelling that all spellings of a document's URI share; a key's key is itself."""
    scheme, authority, path, query, fragment = parts_of(uri)
    has_authority = authority is not None or path.startswith(b"//")
    return "".join(
        (
            f"{scheme}:" if scheme else "",
            f"//{quote(authority or b'', safe='@:')}" if has_authority else "",
            quote(path, safe=_SAFE if scheme or has_authority else _SAFE.replace(":", "")),
            "" if query is None else f"?{quote(query, safe=_SAFE)}",
            "" if fragment is None else f"#{quote(fragment, safe=_SAFE)}",
        )
    )


def scheme_of(uri: str) -> str:
    """Return the scheme in lower case, "" where there is none."""
    return parts_of(uri).scheme


def is_of_notebook(uri: str) -> bool:
    """Tell whether a URI is a notebook's cell, or one text of all its cells, as JupyterLab sends it."""
    scheme, _, path, _, _ = parts_of(uri)
    return scheme == NOTEBOOK_CELL or path.endswith(b".ipynb")


def parts_of(uri: str) -> Parts:
    """Return the parts of a URI; those of a file's are put into one form."""
    match = _PARTS.match(uri)
    assert match is not None  # every part may be empty
    scheme = (match[1] or "").lower()
    authority, path, query, fragment = (None if part is None else _decoded(part) for part in match.groups()[1:])
    path = path or b""
    if scheme == "file":
        authority, path = _of_file((authority or b"").lower(), path)
    return Parts(scheme, authority, path, query, fragment)


def _of_file(host: bytes, path: bytes) -> tuple[bytes, bytes]:
    """Return the host and the path of a file's URI: drives in lower case, shares with their host, this host as b""."""
    if re.fullmatch(rb"[a-z][:|]", host):  # file://c:/x, with a slash too few
        host, path = b"", host + path
    host = b"" if host == b"localhost" else host
    slashes = path.replace(b"\\", b"/")
    if not host and (drive := _DRIVE.match(slashes)):
        return b"", b"/" + drive[1].lower() + b":" + slashes[drive.end() :]
    if not host and slashes.startswith(b"//"):  # file:////host/share/x
        host, _, path = slashes.lstrip(b"/").partition(b"/")
        return _of_file(host.lower(), b"/" + path.lstrip(b"/"))
    return host, path if path.startswith(b"/") else b"/" + path


def _decoded(part: str) -> bytes:
    """Return what a percent-encoded part says; a client may send lone surrogates."""
    return unquote_to_bytes(part.encode("utf-8", "surrogatepass"))


def fs_path(uri: str, *, windows: bool = os.name == "nt") -> str | None:
    """Return the absolute path of a file's URI, or of a notebook cell's, on a system; None for others."""
    scheme, host, path, _, _ = parts_of(uri)
    if scheme == NOTEBOOK_CELL:  # its authority says where VS Code's window is, not where the file is
        host, path = _of_file(b"", path)
    elif scheme != "file":
        return None
    if b"\0" in path or (host and not windows):
        return None
    if not windows:
        return path.decode("utf-8", "surrogateescape")
    share = b"//" + host if host else b""
    local = path[1:] if _DRIVE.match(path) else path
    return (share + local).decode("utf-8", "replace").replace("/", "\\")


def path_of(uri: str) -> Path | None:
    """Return the path of a file on this machine, or None for another URI."""
    path = fs_path(uri)
    return None if path is None else Path(path)
