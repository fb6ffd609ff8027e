"""`mezzotint train`: how the embedded model was made, and how to make a better one.

mezzotint train collect && mezzotint train corpus && mezzotint train run --minutes 90 && mezzotint train export
"""

from __future__ import annotations

import argparse
import json
import math
import re
import site
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

RECIPE = """\
The recipe, in four commands:

  1. collect  Scans the standard library and the installed packages below each ROOT for Python source, and unpacked npm
              packages (--npm) for JavaScript and TypeScript. Keeps files of clearly permissive licences only; drops
              generated, vendored, odd, copied and nearly copied files, whole held-out packages, and files that share
              12 consecutive words with an evaluation problem (--exclude). Writes texts: one JSON object a line.
  2. corpus   Trains the byte-level BPE tokenizer, or takes one (--tokenizer), and writes token ids, and sources.json
              with every package's licence.
  3. run      Trains on packed sequences: next-token loss on the context, masked-diffusion loss on canvases cut where
              editors ask. Muon and AdamW, bfloat16, compiled. Measures on the held-out packages every five minutes,
              checkpoints every minute, and resumes from the last checkpoint in --out when called again.
  4. export   Copies the trained model (config.json, tokenizer.json, model.safetensors) and the record of its training
              (training.json) to a model folder, by default the one that the package ships.
"""


def build_parser() -> argparse.ArgumentParser:
    """The arguments of `mezzotint train`."""
    parser = argparse.ArgumentParser(
        prog="mezzotint train", description=RECIPE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    collect = commands.add_parser("collect", help="collect source as texts")
    collect.add_argument("roots", nargs="*", type=Path, help="site-packages folders (default: this Python's)")
    collect.add_argument("--npm", nargs="*", type=Path, default=[], help="folders of unpacked npm packages")
    collect.add_argument("--out", type=Path, default=Path(".corpus/texts"))
    collect.add_argument("--exclude", nargs="*", type=Path, default=[], help="jsonl files of evaluation problems")
    corpus = commands.add_parser("corpus", help="train or take a tokenizer, write token ids")
    corpus.add_argument("--texts", type=Path, default=Path(".corpus/texts"), help="the folder that collect wrote")
    corpus.add_argument("--out", type=Path, default=Path(".corpus/data"))
    corpus.add_argument("--vocab-size", type=int, default=8192)
    corpus.add_argument("--tokenizer", type=Path, help="keep that of this model folder, or this tokenizer.json of ours")
    corpus.add_argument("--share", type=float, default=1.0, help="of every language's files (1)")
    base = commands.add_parser("base", help="a model folder of a Llama in a GGUF file, to start a run from")
    base.add_argument("--out", type=Path, required=True, help="model folder to write")
    base.add_argument("--gguf", type=Path, help="the file (default: the one that `make base` fetches, beside --out)")
    run = commands.add_parser("run", help="train, or go on training")
    run.add_argument("--corpus", type=Path, default=Path(".corpus/data"))
    run.add_argument("--out", type=Path, default=Path(".runs/default"))
    run.add_argument("--minutes", type=float, default=90.0, help="length of the whole run, resumed parts included")
    run.add_argument("--call-minutes", type=float, default=math.inf, help="stop after so many; call again to go on")
    run.add_argument("--device", default="cpu", help="cpu or cuda")
    run.add_argument("--lr", type=float, help="default 3e-3; with --from 1e-4")
    run.add_argument("--rows", type=int, help="of a packed sequence, context and canvases (640; with --from 1,024)")
    run.add_argument("--sequences", type=int, help="in one forward pass (5); with --from: per optimizer step (1)")
    run.add_argument("--together", type=int, help="with --from: of the sequences, those in one forward pass (1)")
    run.add_argument("--accumulate", type=int, default=3, help="forward passes per optimizer step")
    run.add_argument("--workers", type=int, default=0, help="processes that draw batches (0: the training process)")
    run.add_argument("--from", dest="base", type=Path, help="folder of a causal base: learn our layout and a canvas")
    run.add_argument("--decay-minutes", type=float, default=0.0, help="with --from: the rate falls to 0 at the end")
    run.add_argument("--start-from", default="", help="model folder for a warm restart")
    run.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="e.g. d_model=512 recall_share=0.2")
    run.add_argument("--seed", type=int, default=0, help="other seeds draw other files, holes and noise")
    run.add_argument("--no-compile", action="store_true", help="eager; slower, but needs no C++ compiler")
    export = commands.add_parser("export", help="copy a trained model into a model folder")
    export.add_argument("--run", type=Path, default=Path(".runs/default"))
    export.add_argument("--corpus", type=Path, default=Path(".corpus/data"))
    export.add_argument("--notice", type=Path, default=None, help="also write the list of sources there")
    export.add_argument("--int8", action="store_true", help="matrices as int8, one scale per output channel")
    export.add_argument("--to", type=Path, default=None, help="default: the embedded model of this checkout")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    args = build_parser().parse_args(argv)
    try:
        steps = {
            "collect": collect_source,
            "corpus": make_corpus,
            "base": make_base,
            "run": start_run,
            "export": export_run,
        }
        steps[args.command](args)
    except (ValueError, OSError) as error:
        print(f"mezzotint train: {error}", file=sys.stderr)
        return 2
    return 0


def collect_source(args: argparse.Namespace) -> None:
    """`collect`: prints how much was found."""
    from diffusion.train.texts import collect_texts

    roots = args.roots or [Path(path) for path in site.getsitepackages()]
    print(json.dumps(collect_texts(args.out, roots, args.npm, args.exclude)))


def make_corpus(args: argparse.Namespace) -> None:
    """`corpus`: prints the summary without the list of packages."""
    from diffusion.train.dataset import build

    summary = build(args.out, args.texts, args.tokenizer, args.vocab_size, args.share)
    print(json.dumps({name: value for name, value in summary.items() if name != "packages"}))


def make_base(args: argparse.Namespace) -> None:
    """`base`: says where the folder is."""
    from diffusion.train.base import GGUF, convert

    source = args.gguf or args.out.parent / GGUF
    if not source.exists():
        raise ValueError(f"there is no {source}: `make base` fetches it")
    convert(source, args.out)
    print(f"wrote {args.out}")


def start_run(args: argparse.Namespace) -> None:
    """`run`: the last line on stdout is one JSON object of metrics."""
    if args.base:
        run_from_base(args)
        return
    from diffusion.model.config import ModelConfig
    from diffusion.tokenizer import Tokenizer
    from diffusion.train.loop import RunConfig, train
    from diffusion.train.recipe import Recipe

    shape, recipe = parse_settings(args.set)
    tokenizer = args.corpus / "tokenizer.json"
    if not tokenizer.exists():
        raise ValueError(f"no corpus at {args.corpus}: run `mezzotint train corpus` first")
    shape["vocab_size"] = Tokenizer.load(tokenizer).vocab_size
    config = RunConfig(
        model=ModelConfig(**shape),  # type: ignore[arg-type]
        recipe=Recipe(**recipe),  # type: ignore[arg-type]
        minutes=args.minutes,
        accumulate=args.accumulate,
        workers=args.workers,
        seed=args.seed,
        device=args.device,
        compile=not args.no_compile,
        start_from=args.start_from,
        **given(args, "lr", "rows", "sequences"),
    )
    train(args.corpus, args.out, config, args.call_minutes)


def run_from_base(args: argparse.Namespace) -> None:
    """`run --from`: train a causal base for `--minutes` more."""
    from diffusion.train.from_base import BaseRun, train

    config = BaseRun(
        args.minutes, args.decay_minutes, seed=args.seed, device=args.device, workers=args.workers,
        compile=not args.no_compile, **given(args, "lr", "rows", "sequences", "together"),
    )  # fmt: skip
    print(json.dumps(train(args.base, args.corpus, args.out, config)))


def given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of the arguments that were given."""
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def parse_settings(settings: list[str]) -> tuple[dict[str, int], dict[str, float]]:
    """({"d_model": 512}, {"recall_share": 0.2}) of ["d_model=512", "recall_share=0.2"].

    The shape, of integers, and the recipe, of numbers; ValueError for unknown names and values that are none.
    """
    from diffusion.model.config import ModelConfig
    from diffusion.train.recipe import Recipe

    shape_names = [field.name for field in fields(ModelConfig)]
    recipe_names = [field.name for field in fields(Recipe) if field.type in ("float", "int")]
    shape: dict[str, int] = {}
    recipe: dict[str, float] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name in shape_names and value.isdigit():
            shape[name] = int(value)
        elif name in recipe_names and re.fullmatch(r"\d+(\.\d+)?", value):
            recipe[name] = float(value) if "." in value else int(value)
        else:
            raise ValueError(
                f"--set {setting}: expected NAME=INTEGER with NAME one of {', '.join(shape_names)}, "
                f"or NAME=NUMBER with NAME one of {', '.join(recipe_names)}"
            )
    return shape, recipe


def export_run(args: argparse.Namespace) -> None:
    """`export`: model files and training.json."""
    from diffusion.model.config import EMBEDDED
    from diffusion.train.export import export

    target = args.to or EMBEDDED
    export(args.run, args.corpus, target, int8=args.int8, notice=args.notice)
    print(f"wrote {target}")


if __name__ == "__main__":
    raise SystemExit(main())
