"""Context: what of a file the model may see, cut from a snapshot into an InfillRequest.

Rule: windows are cut at line breaks, and at places that stay the same while the user types, so that the engine's
cached context stays valid. Files that look like secrets are neither completed nor shown to the model.

    request = infill_request(snapshot, plan, options)
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from urllib.parse import unquote, urlsplit

from diffusion.request import InfillRequest
from lsp_server.options import Options
from lsp_server.suggest.cleanup import Frame
from lsp_server.suggest.holes import Plan
from lsp_server.text.documents import Snapshot
from lsp_server.text.ignored import is_ignored

SECRET_NAMES = (
    *(".env*", "*.env", "env.local", "env.dev*", "env.prod*", "env.stag*", "env.test", ".renviron*", ".flaskenv"),
    *("*.pem", "*.key", "*.p8", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdb", "*.kdbx", "*.ppk", "*.asc", "*.ovpn"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*.tfvars", "*.tfvars.json", "*.tfstate", ".terraformrc"),
    *(
        ".netrc",
        "_netrc",
        ".pgpass",
        ".my.cnf",
        ".npmrc",
        ".pypirc",
        ".s3cfg",
        ".boto",
        ".htpasswd",
        ".git-credentials",
    ),
    *(".dockercfg", ".dockerconfigjson", "kubeconfig", "kubeconfig.*", "*.kubeconfig", ".vault-token", ".vault?pass*"),
    *("credentials", "credentials.*", "*[-_]credentials.json", "secret.*", "secrets.*", "client[-_]secret*.json"),
    *("service[-_]account*.json", "serviceaccount*.json", "*firebase-adminsdk*.json", "gha-creds-*.json"),
)
OPEN_NAMES = (".env*example", ".env*sample", ".env*template", ".env*dist")  # forms to fill in
SECRET_FOLDERS = {".git", ".ssh", ".aws", ".azure", ".gnupg", ".kube"}
_COPY = re.compile(
    r"(\.(enc|gpg|age|bak|backup|old|orig|save|sav|swp|tmp|\d+)|[~ .])+$"
)  # of a file: .env.bak, key.pem.enc


def is_secret(uri: str) -> bool:
    """Tell whether a file's name or folder says that it holds keys or passwords.

    Source code named so is still source code.
    """
    return any(_is_secret_path(unquote(path).lower()) for path in _paths(uri))


def _is_secret_path(path: str) -> bool:
    """Tell it of a path in lower case."""
    *folders, name = re.split(r"[/\\]", path)
    if SECRET_FOLDERS.intersection(folders):
        return True
    name = _COPY.sub("", name)
    is_open = name.endswith((".py", ".pyi")) or any(fnmatchcase(name, pattern) for pattern in OPEN_NAMES)
    return not is_open and any(fnmatchcase(name, pattern) for pattern in SECRET_NAMES)


def _paths(uri: str) -> tuple[str, ...]:
    """Return what may be the path of a URI: without a query, as editors add for versions, and with a # and without."""
    try:
        return urlsplit(uri).path, urlsplit(uri, allow_fragments=False).path
    except ValueError:  # it is none
        return (uri,)


def may_be_shown(uri: str) -> bool:
    """Tell whether a file may be context for another: neither secret nor ignored by git."""
    return not is_secret(uri) and not is_ignored(uri)


def normal_newlines(text: str) -> str:
    """Return the text with LF line ends, the only ones the model writes."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def windows(text: str, start: int, end: int, max_prefix: int, max_suffix: int) -> tuple[str, str]:
    """Return the text before `start` and after `end`, both cut at a line break to a length under the limits.

    The cut moves only every quarter of a window: a prefix starts at a multiple of it from the file's beginning, a
    suffix ends at a multiple of it from the file's end, and typing changes neither.
    """
    head = _line_after(text, _step_up(start - max_prefix, max_prefix // 4), start)
    n_left = len(text) - end
    cut = len(text) - _step_up(n_left - max_suffix, max(max_suffix // 4, 1))
    tail = text.rfind("\n", end, cut) + 1 if cut < len(text) else len(text)
    return normal_newlines(text[head:start]), normal_newlines(text[end : tail or cut])


def _step_up(count: int, step: int) -> int:
    """Return the next multiple of `step` from `count` on, never below 0."""
    return max(-(-count // step) * step, 0)


def _line_after(text: str, offset: int, limit: int) -> int:
    """Return the beginning of the first line at or after `offset`, or `offset` if that is past `limit`."""
    if offset == 0:
        return 0
    found = text.find("\n", offset - 1, limit)
    return found + 1 if found >= 0 else offset


def infill_request(snapshot: Snapshot, plan: Plan, options: Options) -> InfillRequest:
    """Return the request for the engine."""
    prefix, suffix = windows(snapshot.text, plan.start, plan.end, options.max_prefix_chars, options.max_suffix_chars)
    return InfillRequest(
        prefix=prefix,
        suffix=suffix,
        middle=plan.middle,
        deadline_ms=options.deadline_ms or None,
    )


def frame(snapshot: Snapshot, plan: Plan) -> Frame:
    """Return the code around the hole that `cleanup.clean` compares a draft with."""
    text = snapshot.text
    kept = plan.middle[-1] if isinstance(plan.middle[-1], str) else ""
    return Frame(
        statement=text[plan.statement : plan.start],
        after=normal_newlines(text[plan.end - len(kept) : plan.end + 4000]),
        replaced="" if plan.kept and not kept else text[plan.start : plan.end - len(kept)],
        kept=kept,
        between="" if kept else plan.kept,
        quote=plan.quote,
        language=snapshot.language,
    )
