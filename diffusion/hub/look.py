"""Asks the hub what a repository holds, before anything large is fetched.

Rule: only what a model folder needs is offered, never code or pickles: configuration, tokenizer, card, licence, and
the weights as safetensors.

    offer = look("Dream-org/DreamOn-v0-7B"); offer.bytes_left, offer.licence
"""

from __future__ import annotations

import fnmatch
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants

from diffusion.hub.cache import cached
from diffusion.hub.failures import SENTENCES, FetchError, said
from diffusion.hub.fetch import File, Offer, fetched
from diffusion.model.tensors import INDEX, SINGLE

# What a model folder is made of, besides its weights.
NEEDED = (
    "config.json", "generation_config.json", "mezzotint.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "README.md", "MODEL_CARD.md",
    "LICENSE*", "LICENCE*", "NOTICE*", "license*",
)  # fmt: skip
DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
MAX_INDEX_BYTES = 50_000_000


def look(repo: str) -> Offer:
    """Ask the hub what a repository holds; FetchError if it holds no model that could be loaded."""
    with said(repo):
        info = HfApi(library_name="mezzotint").model_info(repo, files_metadata=True)
        files = {sibling.rfilename: file_of(sibling) for sibling in info.siblings or ()}
        wanted = [file for name, file in files.items() if any(fnmatch.fnmatchcase(name, kind) for kind in NEEDED)]
        offer = Offer(repo, str(info.sha), licence_of(info), tuple(wanted))
        return replace(offer, files=(*offer.files, *weights_of(offer, files)))


def file_of(sibling: Any) -> File:
    """What the hub says of a file."""
    lfs = sibling.lfs
    digest = str(lfs.sha256 if lfs else sibling.blob_id or "")
    if not DIGEST.fullmatch(digest):
        raise FetchError(f"the hub gives no hash of {sibling.rfilename}")
    return File(str(sibling.rfilename), int((lfs.size if lfs else sibling.size) or 0), digest)


def licence_of(info: Any) -> str:
    """The licence in a repository's tags."""
    tags = [tag.partition(":")[2] for tag in info.tags or () if tag.startswith("license:")]
    return ", ".join(tags)


def weights_of(offer: Offer, files: dict[str, File]) -> list[File]:
    """The weights: the shards that the index names, or the one file."""
    for needed in ("config.json", "tokenizer.json"):
        if needed not in files and not (needed == "tokenizer.json" and "merges.txt" in files):
            raise FetchError(f"{offer.repo} is no model folder: it has no {needed}")
    if INDEX not in files:
        if SINGLE not in files:
            raise FetchError(f"{offer.repo} has no safetensors; other formats are not read")
        return [files[SINGLE]]
    if files[INDEX].size > MAX_INDEX_BYTES:
        raise FetchError(f"{offer.repo} has an index of {files[INDEX].size} bytes; none is so large")
    shards = shards_in(fetched(offer, files[INDEX]))
    missing = [name for name in shards if name not in files]
    if missing or not shards:
        raise FetchError(f"{offer.repo} is not whole: {missing[0] if missing else INDEX} is missing or empty")
    return [files[INDEX], *(files[name] for name in shards)]


def shards_in(index: Path) -> list[str]:
    """The files that an index names; [] if it names none."""
    try:
        table = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return sorted({str(name) for name in table.values()})
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def offline_folder(repo: str) -> Path | None:
    """The folder of a fetched model, where the hub must not be asked; None where it may be."""
    if not constants.HF_HUB_OFFLINE:
        return None
    if folder := cached(repo):
        return folder
    raise FetchError(SENTENCES["OfflineModeIsEnabled"].format(repo=repo))
