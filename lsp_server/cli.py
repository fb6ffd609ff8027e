"""The `mezzotint` command: finds the sub-command and hands it the rest of the command line.

Rule: nothing heavy is imported here; every sub-command imports what it needs when it runs, so that `mezzotint --help`
is quick and `mezzotint lsp` answers an editor before torch is loaded.

    mezzotint complete src/app.py:12:9
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from lsp_server import __version__

LOG_LEVELS = ("debug", "info", "warning", "error")


def run_lsp(argv: list[str]) -> int:
    """Serve one editor over stdio, or over TCP or WebSocket: who shows the token that is printed, on loopback."""
    parser = argparse.ArgumentParser(prog="mezzotint lsp", description=run_lsp.__doc__)
    transport = parser.add_mutually_exclusive_group()
    for name, text in (("stdio", "standard input and output (default)"), ("tcp", "a TCP socket"), ("ws", "WebSocket")):
        transport.add_argument(f"--{name}", dest="transport", action="store_const", const=name, help=text)
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to bind (default %(default)s)")
    parser.add_argument("--port", type=int, default=2087, help="port to bind (default %(default)s)")
    token = parser.add_mutually_exclusive_group()
    token.add_argument("--token-file", type=Path, help="a socket's token: read, or written with mode 600; not printed")
    token.add_argument("--no-token", action="store_true", help="let every program of this machine connect to a socket")
    parser.add_argument("--origin", action="append", default=[], help="a web page's origin that may open the WebSocket")
    parser.add_argument("--allow-remote", action="store_true", help="let --host be no loopback address (unencrypted)")
    parser.add_argument(
        "--log-level", choices=LOG_LEVELS, help="what goes to stderr (default: as the client says, or info)"
    )
    parser.add_argument("--engine", help=argparse.SUPPRESS)  # script:FILE, for tests
    args = parser.parse_args(argv)
    door = None
    if args.transport in ("tcp", "ws"):
        from lsp_server.admission import door_for

        try:
            door = door_for(args.host, args.port, args.token_file, args.no_token, args.origin, args.allow_remote)
        except (ValueError, OSError) as error:
            parser.exit(2, f"mezzotint lsp: {error}\n")
    from lsp_server.server import serve

    return serve(args.transport or "stdio", door, args.log_level, args.engine)


def run_complete(argv: list[str]) -> int:
    """Complete one position of a file and show every denoising step."""
    from lsp_server.tools.complete import main as complete

    return complete(argv)


def run_doctor(argv: list[str]) -> int:
    """Say what was found: device, native library, model, grammars, editors."""
    from lsp_server.tools.doctor import main as doctor

    return doctor(argv)


def run_setup(argv: list[str]) -> int:
    """Print, or add with --write, the lines that an editor needs."""
    from lsp_server.tools.setup_editor import main as setup

    return setup(argv)


def run_models(argv: list[str]) -> int:
    """List, fetch, check and choose models by name."""
    from lsp_server.tools.models import main as models

    return models(argv)


def run_adapt(argv: list[str]) -> int:
    """Teach a model your own code, and say what that was worth."""
    from lsp_server.tools.adapt import main as adapt

    return adapt(argv)


def run_serve(argv: list[str]) -> int:
    """Serve one model to a team over HTTP, in this process or on a Ray cluster."""
    from lsp_server.tools.serve import main as serve

    return serve(argv)


def run_train(argv: list[str]) -> int:
    """Train the model from source code found on this machine."""
    from diffusion.train.cli import main as train

    return train(argv)


def run_eval(argv: list[str]) -> int:
    """Measure quality on held-out code; `eval shown`, `replay` and `silence`: what a user of the server gets."""
    if argv[:1] == ["replay"]:
        from lsp_server.tools.replay import main as replay

        return replay(argv[1:])
    if argv[:1] == ["shown"]:
        from lsp_server.tools.shown import main as shown

        return shown(argv[1:])
    if argv[:1] == ["silence"]:
        from lsp_server.tools.silence import main as silence

        return silence(argv[1:])
    from diffusion.evaluate.run import main as evaluate

    return evaluate(argv)


def run_bench(argv: list[str]) -> int:
    """Measure: `bench lsp` the server, `loop` denoising, `parse` a key, `loopstall`, `team` a cluster, `peers`."""
    parser = argparse.ArgumentParser(prog="mezzotint bench", description=run_bench.__doc__)
    parser.add_argument(
        "subject", choices=["lsp", "loop", "parse", "loopstall", "team", "peers"], help="what to measure"
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="see `mezzotint bench SUBJECT --help`")
    args = parser.parse_args(argv)
    if args.subject == "loop":
        from diffusion.evaluate.bench_loop import main as bench_loop

        return bench_loop(args.arguments)
    if args.subject == "peers":
        from diffusion.evaluate.bench_peers import main as bench_peers

        return bench_peers(args.arguments)
    if args.subject == "team":
        from lsp_server.tools.bench_team import main as bench_team

        return bench_team(args.arguments)
    if args.subject == "loopstall":
        from lsp_server.tools.bench_loopstall import main as bench_loopstall

        return bench_loopstall(args.arguments)
    if args.subject == "parse":
        from lsp_server.tools.bench_parse import main as bench_parse

        return bench_parse(args.arguments)
    from lsp_server.tools.bench_lsp import main as bench_lsp

    return bench_lsp(args.arguments)


def run_version(argv: list[str]) -> int:
    """Print the version."""
    argparse.ArgumentParser(prog="mezzotint version", description=run_version.__doc__).parse_args(argv)
    print(f"mezzotint {__version__}")
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "lsp": run_lsp,
    "complete": run_complete,
    "doctor": run_doctor,
    "setup": run_setup,
    "models": run_models,
    "adapt": run_adapt,
    "serve": run_serve,
    "train": run_train,
    "eval": run_eval,
    "bench": run_bench,
    "version": run_version,
}


def top_parser() -> argparse.ArgumentParser:
    """The parser of `mezzotint` itself, which knows the names of the sub-commands and no more."""
    commands = "\n".join(f"  {name:10}{run.__doc__}" for name, run in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="mezzotint",
        usage="mezzotint COMMAND [options]",
        description="Code completion by a local diffusion language model.",
        epilog=f"commands:\n{commands}\n\n`mezzotint COMMAND --help` explains a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument("command", nargs="?", choices=COMMANDS, metavar="COMMAND", help="one of the commands below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one sub-command; returns the exit status."""
    parser = top_parser()
    args = parser.parse_args(argv)
    if args.version:
        return run_version([])
    if args.command is None:
        parser.print_help()
        return 2
    try:
        return COMMANDS[args.command](args.arguments)
    except BrokenPipeError:  # `mezzotint complete ... | head -1`: whoever read us has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ModuleNotFoundError as error:
        from diffusion import extras

        if error.name not in extras.EXTRA_OF:
            raise
        extra = "train" if args.command in ("train", "adapt") else ""  # has torch, and all else that training needs
        print(extras.missing(f"mezzotint {args.command}", error.name, extra), file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
