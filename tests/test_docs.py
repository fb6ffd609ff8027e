"""docs/ and README.md say what the code does."""

import dataclasses
import re
from pathlib import Path

import pytest

from lsp_server.cli import COMMANDS
from lsp_server.options import Options, camel

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "editors").glob("*.md")),
    *sorted((ROOT / "editors").glob("*/*.md")),
    ROOT / "diffusion/weights/MODEL_CARD.md",
]


def test_every_option_is_documented_and_nothing_else() -> None:
    table = (ROOT / "docs/protocol.md").read_text(encoding="utf-8").partition("## Drafts")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.M) == [camel(field.name) for field in dataclasses.fields(Options)]


def test_every_command_named_in_the_readme_exists() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^    mezzotint (\w+)", readme, re.M)) <= COMMANDS.keys()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"`?make ([a-z]+)", readme)) <= targets


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ +(.*)$", page.read_text(encoding="utf-8"), re.M)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_images_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)[^)]*\)", text):
        path, _, anchor = target.partition("#")
        if not re.match(r"[a-z]+:", path):  # else of another site: nothing is asked of the network here
            file = (page.parent / path).resolve() if path else page
            assert file.exists() and file.is_relative_to(ROOT), target
            assert not anchor or anchor in anchors(file), target


def test_every_picture_in_docs_is_shown_somewhere() -> None:
    shown = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in re.findall(r"!\[[^]]*\]\(([^)\s]+)", page.read_text(encoding="utf-8"))
    }
    assert {path for path in (ROOT / "docs").iterdir() if path.suffix in (".png", ".svg")} <= shown


def test_a_heading_has_the_anchor_that_github_gives_it() -> None:
    assert slug("On a GPU: `make train-gpu`") == "on-a-gpu-make-train-gpu"
    assert slug("What [it](a.md) is, and isn't") == "what-it-is-and-isnt"
