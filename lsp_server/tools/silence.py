"""`mezzotint eval silence`: asks the real server at a hundred places where a person would want no suggestion.

Rule: each place is a file of its own, asked once, as by typing. The table is for people, the last line of stdout is one
JSON object. The places are in `silence_places.py`.

    mezzotint eval silence --show
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, NamedTuple

from lsp_server.tools.client import Client
from lsp_server.tools.replay import setting
from lsp_server.tools.silence_places import PLACES

SERVER_TIMEOUT_S = 1800
MARK = "¦"


class Answer(NamedTuple):
    """What the server says at a place, "" for nothing."""

    kind: str
    language: str
    code: str
    text: str


def position(code: str) -> dict[str, int]:
    """The place of the mark; the server is told to count code points."""
    before = code.partition(MARK)[0]
    return {"line": before.count("\n"), "character": len(before) - before.rfind("\n") - 1}


def ask(client: Client, number: int, language: str, code: str) -> str:
    """What is suggested at the mark of a file."""
    uri = f"file:///silence/{number}"
    document = {"uri": uri, "languageId": language, "version": 1, "text": code.replace(MARK, "")}
    client.notify("textDocument/didOpen", {"textDocument": document})
    where = {"textDocument": {"uri": uri}, "position": position(code), "context": {"triggerKind": 2}}
    answer = client.call("textDocument/inlineCompletion", where)
    client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    items = answer["items"] if answer else []
    return str(items[0]["insertText"]) if items else ""


def answers(client: Client) -> list[Answer]:
    """Ask at all places."""
    places = [(kind, *place) for kind, found in PLACES.items() for place in found]
    return [
        Answer(kind, language, code, ask(client, number, language, code))
        for number, (kind, language, code) in enumerate(places)
    ]


def shares(found: list[Answer]) -> dict[str, float]:
    """The share of silence of each kind."""
    return {kind: sum(not one.text for one in found if one.kind == kind) / len(PLACES[kind]) for kind in PLACES}


def make_parser() -> argparse.ArgumentParser:
    """The command line of `mezzotint eval silence`."""
    parser = argparse.ArgumentParser(prog="mezzotint eval silence", description=__doc__)
    parser.add_argument("--show", action="store_true", help="print what was suggested")
    parser.add_argument("--set", type=setting, action="append", default=[], metavar="OPTION=JSON", help="server option")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Ask everywhere and print the shares."""
    args = make_parser().parse_args(argv)
    options: dict[str, Any] = {"logLevel": "error", **dict(args.set)}
    capabilities = {"general": {"positionEncodings": ["utf-32"]}}
    with Client(SERVER_TIMEOUT_S) as client:
        params = {"processId": os.getpid(), "rootUri": None, "capabilities": capabilities}
        client.call("initialize", {**params, "initializationOptions": options})
        client.notify("initialized", {})
        found = answers(client)
        passes = client.call("mezzotint/stats", {})["forwardPasses"]
    if args.show:
        for one in found:
            if one.text:
                print(f"{one.kind:36}{one.language:12}{one.code!r} -> {one.text!r}", file=sys.stderr)
    by_kind, share = shares(found), sum(not one.text for one in found) / len(found)
    for kind, value in [*by_kind.items(), ("all", share)]:
        print(f"{kind:36}{value:6.0%}")
    print(json.dumps({"places": len(found), "silent_share": share, "forward_passes": passes, "kinds": by_kind}))
    return 0
