"""docs/ and README.md say what the code does."""

import dataclasses
import re
from pathlib import Path

from lsp_server.cli import COMMANDS
from lsp_server.options import Options, camel

ROOT = Path(__file__).parent.parent


def test_every_option_is_documented_and_nothing_else() -> None:
    table = (ROOT / "docs/protocol.md").read_text(encoding="utf-8").partition("## Drafts")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.M) == [camel(field.name) for field in dataclasses.fields(Options)]


def test_every_command_named_in_the_readme_exists() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^    mezzotint (\w+)", readme, re.M)) <= COMMANDS.keys()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"`?make ([a-z]+)", readme)) <= targets


def test_links_in_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert (ROOT / target).exists(), target
