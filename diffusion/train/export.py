"""Copies what a run trained into a model folder, with the record of its training and the notice of its sources.

Rule: a folder says of itself what it was made of: `training.json` holds every run and every package with its licence,
those of the weights that a run started from among them.

    export(Path(".runs/base"), Path(".corpus/data"), EMBEDDED, int8=True, notice=Path("NOTICE"))
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from diffusion.model.card import open_folder
from diffusion.model.load import load_weights, save_model
from diffusion.train.dataset import Dataset
from diffusion.train.smooth import smooth

RECORD = "training.json"
KEPT = ("LICENSE", "NOTICE")  # of a base
SMOOTHED_ON, SMOOTHED_TOKENS = 8, 512  # files of the corpus, and tokens of each
NOTICE_HEAD = """\
Mezzotint
Copyright 2026 the Mezzotint authors

"""
BASE_HEAD = """\
The embedded model (diffusion/weights) began as the following one; its licence is diffusion/weights/LICENSE.

"""
PACKAGES_HEAD = """\
The embedded model (diffusion/weights) was trained on the source code of the following packages, as installed from
their public releases ("python" is the standard library). No source text of theirs is part of this distribution.

"""


def export(run: Path, corpus: Path, target: Path, *, int8: bool, notice: Path | None) -> None:
    """Write the run's model to `target`, in int8 if asked, and the notice of all its sources to `notice`."""
    model = run / "model"
    target.mkdir(parents=True, exist_ok=True)
    if int8:
        save_int8(model, corpus, target)
    for file in model.iterdir():
        if not int8 or file.name in KEPT:
            shutil.copyfile(file, target / file.name)
    made = record(run, corpus)
    (target / RECORD).write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    if notice:
        of_base = (model / "NOTICE").read_text(encoding="utf-8") if (model / "NOTICE").exists() else ""
        notice.write_text(notice_of(made["corpus"]["packages"], of_base), encoding="utf-8")


def save_int8(model: Path, corpus: Path, target: Path) -> None:
    """The model in int8; its activations are evened out first, where it is an ordinary causal one."""
    folder = open_folder(model)
    loaded, tokenizer = load_weights(folder), (model / "tokenizer.json").read_bytes()
    if folder.config.extras:
        save_model(target, loaded, tokenizer, torch.int8)
        return
    smooth(loaded, beginnings(Dataset.open(corpus, folder.tokenizer())))
    save_model(target, loaded, tokenizer, torch.int8, folder)


def beginnings(data: Dataset) -> list[torch.Tensor]:
    """Token ids of the beginnings of some files."""
    step = max(1, len(data.package) // SMOOTHED_ON)
    files = [data.file(number)[:SMOOTHED_TOKENS] for number in range(0, len(data.package), step)]
    return [torch.from_numpy(ids.astype("i8")) for ids in files[:SMOOTHED_ON] if len(ids)]


def record(run: Path, corpus: Path) -> dict[str, Any]:
    """What the run wrote of itself, what it trained on, and what it started from."""
    metrics = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    about = json.loads((run / "run.json").read_text(encoding="utf-8"))
    sources = json.loads((corpus / "sources.json").read_text(encoding="utf-8"))
    return with_earlier({"run": about, "metrics": json.loads(metrics[-1]), "corpus": sources})


def with_earlier(made: dict[str, Any]) -> dict[str, Any]:
    """A record with the runs whose weights it started from, and their packages among its own."""
    started = Path(made["run"].get("start_from") or ".")
    made["run"]["start_from"] = started.name  # of a path on the machine that trained, only what it was
    if not (started / RECORD).exists():
        return made
    last = json.loads((started / RECORD).read_text(encoding="utf-8"))
    packages = {**last["corpus"]["packages"], **made["corpus"].get("packages", {})}
    earlier = [*last.get("earlier", []), {"run": last["run"], "metrics": last["metrics"]}]
    return {**made, "corpus": {**made["corpus"], "packages": packages}, "earlier": earlier}


def notice_of(packages: dict[str, dict[str, object]], of_base: str) -> str:
    """The NOTICE file: the base's own, and every package the model was trained on, with version and licence."""
    rows = [f"  {name} {about['version']}: {about['licence']}" for name, about in sorted(packages.items())]
    base = BASE_HEAD + of_base.strip() + "\n\n" if of_base else ""
    return NOTICE_HEAD + base + PACKAGES_HEAD + "\n".join(rows) + "\n"
