"""Files of keys and passwords: by name, by folder, by what a link leads to, by what is in them.

Rule: source code named so is still source code, and so is code that only speaks of keys; a form to fill in is none
either, unless somebody filled it in.

    is_secret("file:///p/.env.local")          # True: by its name alone
    secret_in(snapshot.uri, 3, snapshot.text)  # "it holds a GitHub token"; asks the disk: not on the event loop
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

from lsp_server.text.credentials import credential_in
from lsp_server.text.recent import for_a_moment
from lsp_server.text.uris import parts_of, path_of

NAMES = (
    *(".env*", "*.env", "env.local", "env.dev*", "env.prod*", "env.stag*", "env.test", ".renviron*", ".flaskenv"),
    *("*.pem", "*.key", "*.p8", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdb", "*.kdbx", "*.ppk", "*.asc", "*.ovpn"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*.tfvars", "*.tfvars.json", "*.tfstate", "*.tfstate.*"),
    *(".terraformrc", ".netrc", "_netrc", ".pgpass", ".my.cnf", ".npmrc", ".yarnrc.yml", ".pypirc", ".s3cfg", ".boto"),
    *(".htpasswd", ".git-credentials", ".dockercfg", ".dockerconfigjson", ".vault-token", ".vault?pass*"),
    *("kubeconfig", "kubeconfig.*", "*.kubeconfig", "*.agekey", "*.mobileprovision", "wallet.dat", "shadow", "gshadow"),
    *("credentials", "credentials.*", "*[-_]credentials.json", "secret.*", "secrets.*", "client[-_]secret*.json"),
    *("service[-_]account*.json", "serviceaccount*.json", "*firebase-adminsdk*.json", "gha-creds-*.json"),
    *("application_default_credentials.json", "master.key", "*.secret", "*.secrets"),
)
FORMS = (".env*example", ".env*sample", ".env*template", ".env*dist", "*.example", "*.sample", "*.template")
FOLDERS = {".git", ".ssh", ".aws", ".azure", ".gnupg", ".kube", ".docker", ".gcloud", ".password-store"}
# endings of what reads secrets rather than holds them: no shell scripts, JSON or pages
CODE = tuple(
    ".py .pyi .pyw .js .mjs .cjs .jsx .ts .mts .cts .tsx .vue .go .rs .c .h .cc .cpp .cxx .hpp .hh .cu .cuh .m .java "
    ".kt .scala .cs .fs .rb .rake .php .lua .swift .dart .ex .exs .erl .hs .ml .jl .r .zig .md .rst".split()
)
_COPY = re.compile(
    r"(\.(enc|gpg|age|bak|backup|old|orig|save|sav|sw[a-p]|tmp|\d+)|[~ .])+$"
)  # of .env.bak, key.pem.enc
MAX_CHARS, MAX_NAME_CHARS = 4096, 255  # of a path and its last part; what is longer is taken for secret
MAX_GLOB_CHARS = 256
MAX_DOCUMENTS = 256  # whose last look is remembered


@lru_cache(maxsize=1024)
def is_secret(uri: str, patterns: tuple[str, ...] = ()) -> bool:
    """Tell whether a file's name or folder says that it holds keys or passwords; `patterns` are a user's own globs.

    A glob with a slash is one for the end of the path, others are for the name; upper and lower case are the same.
    """
    return any(_is_secret_path(path, patterns) for path in _paths(uri))


def _paths(uri: str) -> set[str]:
    """Return what may be the path of a URI: without a query, as editors add for versions, and with a # and without."""
    parts = parts_of(uri)
    path = parts.path.decode("utf-8", "replace")
    fragment = "" if parts.fragment is None else f"#{parts.fragment.decode('utf-8', 'replace')}"
    return {path, path + fragment}


def _is_secret_path(path: str, patterns: Sequence[str]) -> bool:
    """Tell it of a path."""
    *folders, whole_name = parts = re.split(r"[/\\]", path[: MAX_CHARS + 1].lower())
    if len(path) > MAX_CHARS or len(whole_name) > MAX_NAME_CHARS:
        return True
    if FOLDERS.intersection(folders) or ("gcloud" in folders and ".config" in folders):
        return True
    name = _COPY.sub("", whole_name)
    if any(_fits(pattern.lower(), parts) for pattern in patterns):
        return True
    is_code = name.endswith(CODE) and not name.startswith(".")
    if is_code or any(fnmatchcase(name, form) for form in FORMS):
        return False
    return any(fnmatchcase(name, pattern) for pattern in NAMES)


def _fits(pattern: str, parts: Sequence[str]) -> bool:
    """Tell whether a user's glob is one for a path."""
    if len(pattern) > MAX_GLOB_CHARS:
        return False
    if "/" not in pattern:
        return fnmatchcase(parts[-1], pattern)
    return fnmatchcase("/" + "/".join(parts).lstrip("/"), "*/" + pattern.lstrip("/"))


def secret_in(uri: str, version: int, text: str, patterns: tuple[str, ...] = ()) -> str:
    """Return why a document is secret that is not so by its own name, "" where it is not.

    Where it is a link, the name of what it leads to decides; this asks the disk, which may be far away: call it in the
    model thread, never on the event loop. The text is looked at once for each version.
    """
    if is_secret(uri, patterns):
        return "its name says that it holds secrets"
    if is_secret(_target(uri), patterns):
        return "what it links to is called like a file of secrets"
    found = _looks.at(uri, version, text)
    return f"it holds {found}" if found else ""


@for_a_moment
def _target(uri: str) -> str:
    """Return the URI of what a file's URI leads to."""
    path = path_of(uri)
    try:
        return uri if path is None else path.resolve().as_uri()
    except (OSError, RuntimeError, ValueError):  # RuntimeError: links in a circle, before Python 3.13
        return uri


class Looks:
    """What was found in the newest version of each document."""

    def __init__(self) -> None:
        """Start with none."""
        self._found: OrderedDict[str, tuple[int, int, str]] = OrderedDict()
        self._lock = threading.Lock()

    def at(self, uri: str, version: int, text: str) -> str:
        """Return what key or password a document holds; its text is read once for each version."""
        now = version, hash(text)
        with self._lock:
            known = self._found.get(uri)
        if known is None or known[:2] != now:
            known = *now, credential_in(text)
        with self._lock:
            self._found[uri] = known
            self._found.move_to_end(uri)
            if len(self._found) > MAX_DOCUMENTS:
                self._found.popitem(last=False)
        return known[2]


_looks = Looks()
