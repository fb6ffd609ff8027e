"""Which documents are neither completed nor context, and why.

Rule: by name on the event loop, by content, links and git in the model thread. What is not certainly a file that
somebody edits is refused: an editor's output panels, commit messages, chat inputs, other versions of files.

    name_refusal("vscode-scm:git/scm0/input", "scminput", options)   # Refusal("scheme", ...)
    refusal(snapshot, options); may_be_context(snapshot, options)    # in the model thread
"""

from __future__ import annotations

from lsp_server.options import Options
from lsp_server.suggest.reasons import ALLOWED, Refusal
from lsp_server.text import secrets
from lsp_server.text.documents import Snapshot
from lsp_server.text.ignored import is_ignored
from lsp_server.text.uris import NOTEBOOK_CELL, scheme_of

SCHEMES = ("file", "untitled", NOTEBOOK_CELL, "vscode-vfs", "vscode-remote")
NO_FILES = {"git-commit", "gitcommit", "git-rebase", "gitrebase", "scminput", "log", "output"}  # language ids


def name_refusal(uri: str, language: str, options: Options) -> Refusal:
    """Return why a document with this URI and language is refused, ALLOWED if it is not; asks nobody."""
    scheme = scheme_of(uri)
    if scheme not in SCHEMES and scheme not in {one.lower() for one in options.schemes}:
        return Refusal("scheme", scheme)
    if language.lower() in NO_FILES:
        return Refusal("language", language)
    if secrets.is_secret(uri, options.secret_patterns):
        return Refusal("secret", "its name says that it holds secrets")
    if language in options.disabled_languages:
        return Refusal("languageOff", language)
    return ALLOWED


def refusal(snapshot: Snapshot, options: Options, invoked: bool = False) -> Refusal:
    """Return why a document is refused, by its name, its text or what it links to; asks the disk, and git.

    What git ignores is completed for whoever asks by hand (`invoked`).
    """
    if named := name_refusal(snapshot.uri, snapshot.language, options):
        return named
    if found := secrets.secret_in(snapshot.uri, snapshot.version, snapshot.text, options.secret_patterns):
        return Refusal("secret", found)
    return Refusal("ignored") if not invoked and is_ignored(snapshot.uri) else ALLOWED


def may_be_context(snapshot: Snapshot, options: Options) -> bool:
    """Tell whether a document may be shown to the model for another; asks the disk, and git."""
    return not refusal(snapshot, options)
