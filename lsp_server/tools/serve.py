"""`mezzotint serve`: one model for a team, in one process or on a Ray cluster. docs/team.md says how to set it up.

Rule: reads the command line and the configuration; what serves is in `diffusion/serve`. A token is printed once, never
logged and never on a command line.

    mezzotint serve --local
    mezzotint serve --config serve.json --add-user ada
"""

from __future__ import annotations

import argparse
import dataclasses
import secrets
import sys
from functools import partial
from pathlib import Path

from diffusion.serve.settings import Model, Settings
from lsp_server import scripted


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="mezzotint serve", description="Serve one model to a team over HTTP.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the configuration (docs/team.md)")
    parser.add_argument("--local", action="store_true", help="in this process, without a cluster")
    parser.add_argument("--port", type=int, help="port to bind instead of the configuration's; 0 takes a free one")
    parser.add_argument("--model", help="model folder or name instead of the configuration's")
    parser.add_argument("--users", type=Path, metavar="FILE", help="file of users instead of the configuration's")
    parser.add_argument("--add-user", metavar="NAME", help="add a user to the file, print their token, and end")
    parser.add_argument("--engine", help=argparse.SUPPRESS)  # script:FILE, for tests
    return parser


def settings_of(args: argparse.Namespace) -> Settings:
    """The configuration with what the command line says instead; ValueError or OSError says what is wrong."""
    settings = Settings() if args.config is None else Settings.read(args.config)
    if args.model is not None:
        settings = dataclasses.replace(
            settings, models=(Model(name=Path(args.model).name or "embedded", model=args.model),)
        )
    if args.port is not None:
        settings = dataclasses.replace(settings, port=args.port)
    return settings if args.users is None else dataclasses.replace(settings, users=str(args.users))


def load_scripted(engine: str, model: Model) -> scripted.ScriptedEngine:
    """Load the engine that `--engine` names."""
    return scripted.load(engine)


def add_user(settings: Settings, name: str) -> None:
    """Add a user and print their token, the one time that it is seen."""
    from diffusion.serve import users

    if not settings.users:
        raise ValueError('--add-user needs a file of users: --users FILE, or "users" in the configuration')
    print(users.add_user(Path(settings.users), name))


def main(argv: list[str] | None = None) -> int:
    """Serve until told to end; 2 and one line on stderr for what cannot be."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if not (args.local or args.config or args.add_user):
        parser.error("say --local, or --config FILE")
    try:
        settings = settings_of(args)
        if args.add_user:
            add_user(settings, args.add_user)
            return 0
        from diffusion.serve import local

        token = "" if settings.users else secrets.token_urlsafe(32)
        if token:
            print(f"mezzotint serve: clients must show the token {token}", file=sys.stderr, flush=True)
        load = local.load_engine if args.engine is None else partial(load_scripted, args.engine)
        if args.local:
            local.run(settings, token, load)
        else:
            from diffusion.serve import cluster

            cluster.run(settings, token, load)
    except (ValueError, OSError) as error:
        print(f"mezzotint serve: {error}", file=sys.stderr)
        return 2
    return 0
