"""Fetches a model from the hub into the hub library's own cache.

Rule: a file enters the cache when its hash is the one that the hub announced. What was fetched of a file before an
interruption is kept beside it, and the next call goes on there: the library itself begins such a file anew.

    folder = fetch(look("Dream-org/DreamOn-v0-7B"))
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import hf_hub_url, snapshot_download
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from diffusion.hub.cache import repo_folder
from diffusion.hub.failures import FetchError, said
from diffusion.model.memory import in_gb

PART = ".mezzotint.incomplete"
SPARE_BYTES = 100_000_000  # that a download leaves free
READ_BYTES = 1 << 20


@dataclass(frozen=True)
class File:
    """A file of a repository; `digest`: SHA-256 of a large one, git's own SHA-1 of a small one."""

    name: str
    size: int
    digest: str


@dataclass(frozen=True)
class Offer:
    """What there is to fetch: a repository at one commit, and its licence as the hub has it."""

    repo: str
    commit: str
    licence: str
    files: tuple[File, ...]

    @property
    def blobs(self) -> Path:
        """Where the cache keeps contents, by their digests."""
        return repo_folder(self.repo) / "blobs"

    @property
    def bytes_left(self) -> int:
        """What is still to be fetched."""
        return sum(file.size - self.bytes_here(file) for file in self.files)

    def bytes_here(self, file: File) -> int:
        """How much of a file is here."""
        if (self.blobs / file.digest).exists():
            return file.size
        part = self.blobs / (file.digest + PART)
        return min(file.size, part.stat().st_size) if part.exists() else 0


def fetch(offer: Offer) -> Path:
    """Fetch what is not here yet; returns the folder. FetchError says in one sentence what went wrong."""
    with said(offer.repo):
        refuse_full_disk(offer)
        for file in offer.files:
            fetched(offer, file)
        names = [file.name for file in offer.files]
        return Path(snapshot_download(offer.repo, allow_patterns=names))


def refuse_full_disk(offer: Offer) -> None:
    """FetchError if what is to be fetched does not fit."""
    place = offer.blobs
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if offer.bytes_left + SPARE_BYTES > free:
        raise FetchError(
            f"{offer.repo} needs {in_gb(offer.bytes_left)} more, and the disk of {offer.blobs.parents[1]} has "
            f"{in_gb(free)} free (HF_HOME puts the cache elsewhere)"
        )


def fetched(offer: Offer, file: File) -> Path:
    """A file's contents in the cache, fetched from where an earlier call was interrupted."""
    blob = offer.blobs / file.digest
    if blob.exists():
        return blob
    blob.parent.mkdir(parents=True, exist_ok=True)
    part = blob.with_name(file.digest + PART)
    with part.open("ab") as sink:
        try:
            fcntl.flock(sink, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FetchError(f"{file.name} is being fetched by another process") from None
        if sink.tell() > file.size:
            sink.truncate(0)
        url = hf_hub_url(offer.repo, file.name, revision=offer.commit)
        headers, have = build_hf_headers(library_name="mezzotint"), sink.tell()
        # draws a progress bar; where the connection breaks it goes on five times by itself
        http_get(url, sink, resume_size=have, headers=headers, expected_size=file.size, displayed_filename=file.name)
        sink.flush()
        if digest_of(part, file) != file.digest:
            part.unlink()
            raise FetchError(f"{file.name} is not what {offer.repo} says it is (its hash differs); it was thrown away")
        os.replace(part, blob)
    return blob


def digest_of(path: Path, file: File) -> str:
    """The hash of a file's contents, of the kind that the hub announced."""
    digest = hashlib.sha256() if len(file.digest) == 64 else hashlib.sha1(usedforsecurity=False)
    if len(file.digest) == 40:  # git hashes a header as well
        digest.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as source:
        while block := source.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
