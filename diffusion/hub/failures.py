"""What can go wrong between here and the hub, as one sentence for the user.

Rule: whatever the hub's library, the network or the disk raises becomes a `FetchError`; errors are told apart by the
names of their classes, because huggingface_hub has changed its HTTP library before.

    with said("Dream-org/DreamOn-v0-7B"): ...
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants


class FetchError(Exception):
    """Why a model could not be fetched, in one sentence for the user."""


# What went wrong, by the name of an error's class or of one above it: huggingface_hub has changed its HTTP library.
SENTENCES = {
    "GatedRepoError": "{repo} wants you to accept its terms on {hub} and to log in (hf auth login, or HF_TOKEN)",
    "RepositoryNotFoundError": "{hub} has no {repo}, or only for those who are logged in (hf auth login, or HF_TOKEN)",
    "RevisionNotFoundError": "{hub} has no branch `main` of {repo}",
    "RemoteEntryNotFoundError": "{repo} lacks a file that it lists: {error}",
    "EntryNotFoundError": "{repo} lacks a file that it lists: {error}",
    "OfflineModeIsEnabled": "{repo} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it",
    "HfHubHTTPError": "{hub} does not give {repo}: {error}",
    "ConnectError": "{hub} cannot be reached ({error})",
    "TransportError": "the connection to {hub} broke ({error}); the same command goes on where it stopped",
    "ConnectionError": "{hub} cannot be reached ({error})",
    "HFValidationError": "{repo!r} is no name on the hub: {error}",
    "ValueError": "{error}",
}  # fmt: skip


@contextmanager
def said(repo: str) -> Iterator[None]:
    """Turn whatever the library, the network or the disk raises into a FetchError."""
    try:
        yield
    except FetchError:
        raise
    except Exception as error:
        raise FetchError(sentence(repo, error)) from error


def sentence(repo: str, error: Exception) -> str:
    """One sentence for an error."""
    text = (str(error).strip().splitlines() or [""])[0]
    for kind in type(error).__mro__:
        if kind.__name__ in SENTENCES:
            return SENTENCES[kind.__name__].format(
                repo=repo, hub=constants.ENDPOINT, error=text or type(error).__name__
            )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"the disk is full ({error.strerror}); what was fetched is kept, the same command goes on there"
    return f"{repo} could not be fetched: {text or type(error).__name__}"
