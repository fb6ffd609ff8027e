"""`mezzotint models`: list the models that have a name, fetch one, check one, choose one for every editor.

Rule: `get` alone asks the network, and says licence, size and whether this version can run the model before it fetches
anything. What is wrong with a model is one sentence on stderr and exit status 1.

    mezzotint models get qwen2.5-coder-0.5b && mezzotint models use qwen2.5-coder-0.5b
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion.hub.cache import cached, folder_of, name_of, repo_of
from diffusion.hub.known import EMBEDDED_NAME, KNOWN, SOURCES, Known, known_by_repo, limits_of
from lsp_server import user_config
from lsp_server.tools.setup_editor import replace

if TYPE_CHECKING:
    from diffusion.engine import Engine
    from diffusion.hub.fetch import Offer
    from diffusion.model.card import ModelFolder

COLUMNS = (
    "name", "parameters", "GB to fetch", "GB as int8, bf16", "licence", "runs", "single-line", "multi-line", "here",
)  # fmt: skip
SAMPLE = "def mean(values):\n    total = sum(values)\n    return \n"  # what `check` completes, behind `return `


def make_parser() -> argparse.ArgumentParser:
    """The command line of `mezzotint models`."""
    parser = argparse.ArgumentParser(prog="mezzotint models", description="List, fetch, check and choose models.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="models that have a name, and what is published of them")
    listed.add_argument("--json", action="store_true", help="print JSON")
    get = actions.add_parser("get", help="fetch a model from the hub into its ordinary cache")
    get.add_argument("model", metavar="NAME|ORG/REPO")
    get.add_argument("--yes", action="store_true", help="fetch it whatever its licence says or this version can run")
    check = actions.add_parser("check", help="load a model, say what it is and needs, complete one line")
    check.add_argument("model", metavar="PATH|NAME")
    use = actions.add_parser("use", help="make every editor use a model; `embedded` is the one in the package")
    use.add_argument("model", metavar="PATH|NAME")
    for action in (check, use):
        action.add_argument("--device", help="where it runs: cpu, cuda or cuda:N")
    return parser


def rows() -> list[dict[str, str]]:
    """The table of known models, every cell as text."""
    return [dict(zip(COLUMNS, cells(name, known), strict=True)) for name, known in KNOWN.items()]


def cells(name: str, known: Known) -> tuple[str, ...]:
    """One row: COLUMNS of a model."""
    size = f"{known.download_gb:.2g}" if known.download_gb < 10 else f"{known.download_gb:.1f}"
    memory = f"{known.bf16_gb / 2:.2g}, {known.bf16_gb:.3g}"
    note = f" [{known.source}]" if known.source else ""
    published = (known.single + note if known.single else "-", known.multi + note if known.multi else "-")
    licence = known.licence + (" [!]" if known.limits else "")
    here = name == EMBEDDED_NAME or cached(known.repo) is not None
    size = size if known.repo else "-"
    return (name, known.parameters, size, memory, licence, known.runs, *published, "yes" if here else "no")


def run_list(args: argparse.Namespace) -> int:
    """Print the table."""
    table = rows()
    if args.json:
        print(json.dumps(table, indent=1))
        return 0
    widths = {column: max(len(column), *(len(row[column]) for row in table)) for column in COLUMNS}
    for row in ({column: column for column in COLUMNS}, *table):
        print("  ".join(row[column].ljust(widths[column]) for column in COLUMNS).rstrip())
    print("\nGB as int8, bf16: memory for the weights alone; `check` says what the contexts add.")
    print("single-line, multi-line: HumanEval-Infilling pass@1 in percent, as published; none was measured here.")
    for name, text in notes():
        print(f"  {name} {text}")
    return 0


def notes() -> list[tuple[str, str]]:
    """What the marks in the table mean: where figures are from, what a licence forbids."""
    sources = [(f"[{name}]", text) for name, text in SOURCES.items()]
    return [*sources, *((f"[!] {name}:", known.limits) for name, known in KNOWN.items() if known.limits)]


def run_get(args: argparse.Namespace) -> int:
    """Fetch a model, after saying what that means."""
    repo = repo_of(args.model)
    if not repo:
        hint = "it is in the package" if args.model == EMBEDDED_NAME else "mezzotint models list"
        raise ValueError(f"{args.model!r} is not to be fetched: {hint}")
    from diffusion.hub.failures import FetchError
    from diffusion.hub.fetch import fetch
    from diffusion.hub.look import look, offline_folder

    try:
        if folder := offline_folder(repo):
            print(f"{repo} is here, and HF_HUB_OFFLINE is set: {folder}")
            return 0
        offer = look(repo)
        if not agreed(offer, args.yes):
            raise ValueError(f"{repo} was not fetched; --yes fetches it all the same")
        print(f"{repo} is here: {fetch(offer)}")
    except FetchError as error:
        raise ValueError(str(error)) from error
    print(f"mezzotint models check {args.model}    # loads it and completes a line")
    return 0


def agreed(offer: Offer, yes: bool) -> bool:
    """Say what is to be fetched and what speaks against it; return whether to fetch it."""
    from diffusion.model.memory import in_gb

    known = known_by_repo(offer.repo)
    licence = offer.licence or (known.licence if known else "")
    size, place = in_gb(offer.bytes_left), offer.blobs.parent
    print(f"{offer.repo}, licence {licence or 'not said'}: {size} to fetch into {place}")
    doubts = [known.limits if known and known.limits else limits_of(licence)]
    if known and known.cannot:
        doubts.append(known.cannot)
    doubts = [doubt for doubt in doubts if doubt]
    for doubt in doubts:
        print(f"  note: {doubt}")
    if yes or not doubts:
        return True
    return sys.stdin.isatty() and input("Fetch it? [y/N] ").strip().lower() in ("y", "yes")


def whole_folder(model: str) -> ModelFolder:
    """A model's folder, every file of it looked at; ValueError says what is missing."""
    from diffusion.model.card import open_folder
    from diffusion.model.config import EMBEDDED

    folder = open_folder(folder_of(model) or EMBEDDED)
    folder.tokenizer()
    folder.weights()
    return folder


def facts(folder: ModelFolder, device: str) -> Iterator[tuple[str, str]]:
    """(subject, what `check` says of it)."""
    from diffusion.model.config import EVERYTHING, read_json
    from diffusion.model.memory import available, in_gb, needed, parameters

    config = folder.config
    sees = {1: "causal", EVERYTHING: "all"}
    ids = {name: value for name, value in vars(folder.vocabulary).items() if value not in (-1, ())}
    yield "model", name_of(folder.path)
    yield "family", folder.family or str(read_json(folder.path / "config.json").get("model_type", "mezzotint"))
    yield "licence", folder.licence or "not said in mezzotint.json"
    yield "parameters", f"{parameters(config) / 1e6:.0f} million, {config.n_layers} layers of {config.d_model}"
    yield (
        "rows see",
        " ".join(
            f"{part} {sees.get(width, f'blocks of {width}')}"
            for part, width in (("context", config.context_sees), ("canvas", config.canvas_sees))
        ),
    )
    yield "ids", ", ".join(f"{name} {value}" for name, value in ids.items())
    yield "policy", folder.policy if ids.get("mask") is not None else f"{folder.policy}, token by token: no mask token"
    passes = f", one pass in {folder.refresh} over all rows" if config.in_place else ""
    yield "context", f"{config.max_context} tokens, cache {folder.cache}{passes}"
    free = available(device)
    memory = ", ".join(f"{in_gb(needed(config, kind))} as {kind}" for kind in ("int8", "bf16"))
    yield "memory", f"about {memory}; {device} has {'?' if free is None else in_gb(free)} free"


def run_check(args: argparse.Namespace) -> int:
    """Say what a model is, load it, complete a line."""
    device = args.device or user_config.read()[0].device
    folder = whole_folder(args.model)
    for subject, text in facts(folder, device):
        print(f"{subject:12}{text}", flush=True)
    began = time.perf_counter()
    engine = load(folder.path, device)
    print(f"{'loaded':12}in {time.perf_counter() - began:.1f} s, {engine.info['backend']} {engine.info['precision']}")
    text, passes, ms = completed(engine)
    print(f"{'completes':12}{SAMPLE.splitlines()[-1].strip()} {text!r} in {ms:.0f} ms, {passes} forward passes")
    return 0


def load(path: Path, device: str) -> Engine:
    """The engine, as the server loads it."""
    from diffusion.engine import Engine

    return Engine.load(path, device=device)


def completed(engine: Engine) -> tuple[str, int, float]:
    """Text for SAMPLE, forward passes and time, the context's included."""
    from lsp_server.suggest.context import frame, infill_request
    from lsp_server.suggest.holes import plan_at
    from lsp_server.text.documents import snapshot
    from lsp_server.tools.complete import OPTIONS, run

    document = snapshot("sample.py", SAMPLE, "python", encoding="utf-32")
    plan = plan_at(document, len(SAMPLE) - 1)
    assert plan is not None
    shown = list(run(lambda: engine, infill_request(document, plan, OPTIONS), frame(document, plan)))
    return (shown[-1].text, shown[-1].forward_passes, shown[-1].ms) if shown else ("", 0, 0.0)


def run_use(args: argparse.Namespace) -> int:
    """Write the user's configuration."""
    path = user_config.settings_file()
    try:
        values = user_config.raw_settings(path)
    except ValueError as error:
        raise ValueError(f"{path} was not changed: {error}") from error
    whole_folder(args.model)
    chosen = args.model if repo_of(args.model) and cached(repo_of(args.model)) else str(folder_of(args.model) or "")
    before = values.get("model", "")
    values["model"] = str(Path(chosen).resolve()) if chosen and chosen != args.model else chosen
    if values.get("adapter") and values["model"] != before:
        del values["adapter"]
        print("the adapter is left out: it belongs to the model before")
    values |= {"device": args.device} if args.device else {}
    real = path.resolve()  # a link into someone's dotfiles stays a link
    replace(real, json.dumps({key: value for key, value in values.items() if key != "model" or value}, indent=2) + "\n")
    print(f"wrote {path}: editors use {args.model} from the server's next start, unless they set `model` themselves")
    return 0


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": run_list,
    "get": run_get,
    "check": run_check,
    "use": run_use,
}


def main(argv: list[str] | None = None) -> int:
    """Run `mezzotint models`; 1 and one sentence on stderr for whatever is wrong."""
    args = make_parser().parse_args(argv)
    try:
        return ACTIONS[args.action](args)
    except BrokenPipeError:
        raise
    except (ValueError, OSError, RuntimeError) as error:
        print(f"mezzotint models {args.action}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nmezzotint models {args.action}: stopped; the same command goes on from there", file=sys.stderr)
        return 130
