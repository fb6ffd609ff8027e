"""docs/ and README.md say what the code does."""

import dataclasses
import math
import re
import subprocess
from pathlib import Path

import pytest

from diffusion.extras import EXTRA_OF
from diffusion.model.card import open_folder
from diffusion.model.config import EMBEDDED
from lsp_server.cli import COMMANDS
from lsp_server.options import Options, camel
from lsp_server.tools import models

ROOT = Path(__file__).resolve().parents[1]
NOT_FILES = {"argparse.py", "config.json", "mezzotint.json", "utils.py"}  # of others, or of nobody

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
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"(?:`|^    )make ([a-z-]+)", readme, re.M)) <= targets


def test_every_row_of_the_threat_model_names_a_test_that_exists() -> None:
    rows = re.findall(
        r"^\| (.*) \|$", (ROOT / "docs/security.md").read_text(encoding="utf-8").partition("## Sock")[0], re.M
    )
    assert len(rows) > 20
    for row in rows[2:]:  # behind the head of the table
        named = re.fullmatch(r"`(.+\.py)::(test_\w+)`|the same", row.split(" | ")[-1])
        assert named, row
        if named[1]:
            assert f"def {named[2]}(" in (ROOT / named[1]).read_text(encoding="utf-8"), row


def missing_tests(page: Path) -> list[str]:
    """The tests that a page names and that do not exist."""
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", page.read_text(encoding="utf-8"))
    assert len(named) > 20, page
    return [name for path, name in named if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")]


def test_every_fault_of_the_review_names_tests_that_exist() -> None:
    page = ROOT / "docs/review-fixes.md"
    assert not missing_tests(page)
    rows = re.findall(r"^\| ([BAH]\d+) \|", page.read_text(encoding="utf-8"), re.M)
    assert {f"B{i}" for i in range(1, 27)} | {f"H{i}" for i in range(1, 12)} <= set(rows)


def test_every_public_report_names_tests_that_exist() -> None:
    page = ROOT / "docs/reports.md"
    assert not missing_tests(page)
    rows = re.findall(r"^\| (.*) \|$", page.read_text(encoding="utf-8"), re.M)[2:]
    assert len(rows) >= 15
    assert all("::test_" in row.split(" | ")[-1] for row in rows)


BY_NAME = [ROOT / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "docs/glossary.md")]
SHORT = re.compile(
    r"`((?:[\w.-]+/)*[\w-]+\.(?:py|cpp|h|lua|ts|el|md|toml|json))`"
)  # beside its longer name, a file's last part


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def parts(page: Path) -> dict[str, str]:
    """What each anchor leads to: behind a heading all up to the next, in a table's row that row."""
    text = page.read_text(encoding="utf-8")
    sections = re.findall(r"^#+ +(.*)\n((?:(?!#+ ).*\n?)*)", text, re.M)
    rows = re.findall(r"^(.*<a id=\"([\w-]+)\"></a>.*)$", text, re.M)
    return {slug(heading): body for heading, body in sections} | {anchor: row for row, anchor in rows}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_images_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)[^)]*\)", text):
        path, _, anchor = target.partition("#")
        if not re.match(r"[a-z]+:", path):  # else of another site: nothing is asked of the network here
            file = (page.parent / path).resolve() if path else page
            assert file.exists() and file.is_relative_to(ROOT), target
            assert not anchor or anchor in parts(file), target


LINK = re.compile(r"\[([^]]+)\]\(([^)#\s]+)#?([^)\s]*)\)")
FIGURE = re.compile(
    r"(?<![\w.])\d[\d,.]*(?= ?(?:ms|s|MB|GB|%|M parameters|passes)(?!\w))"
)  # a number and what it counts


def readme_prose() -> str:
    """The README without code."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.sub(r"^ {4,}.*$|`[^`\n]*`", "", text, flags=re.M)


def same_number(number: str, text: str) -> bool:
    """Whether a text has it, with zeros behind it or without."""
    return any(float(found.replace(",", "")) == float(number) for found in re.findall(r"\d[\d,]*(?:\.\d+)?", text))


def test_every_figure_in_the_readme_is_a_link_to_where_it_was_measured() -> None:
    assert FIGURE.findall(LINK.sub("", readme_prose())) == []


def test_every_figure_in_the_readme_stands_where_its_link_leads() -> None:
    claims = [(text, path, anchor) for text, path, anchor in LINK.findall(readme_prose()) if FIGURE.search(text)]
    assert len(claims) >= 8
    for text, path, anchor in claims:
        there = parts(ROOT / path)[anchor] if anchor else (ROOT / path).read_text(encoding="utf-8")
        assert all(same_number(number, there) for number in re.findall(r"\d+(?:\.\d+)?", text)), (text, path, anchor)


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


@pytest.mark.parametrize("page", BY_NAME, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    ours = ["/" + name for name in done.stdout.splitlines()]
    if not ours:
        pytest.skip("not a git checkout")
    for name in SHORT.findall(page.read_text(encoding="utf-8")):
        if name not in NOT_FILES:
            assert any(path.endswith("/" + name) for path in ours), name


def test_the_readme_names_the_size_of_the_model_that_is_embedded() -> None:
    weights = open_folder(EMBEDDED).weights().values()
    millions = sum(math.prod(part.shape) for weight in weights for part, _ in weight.parts) / 1e6
    size = f"{millions:.0f}M" if millions >= 10 else f"{millions:.1f}M"
    assert set(re.findall(r"([\d.]+M) parameters", (ROOT / "README.md").read_text(encoding="utf-8"))) == {size}


def test_every_extra_is_in_the_readme() -> None:
    extras = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[2]
    named = re.findall(r"^\| `mezzotint\[(\w+)\]`", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    assert named == re.findall(r"^(\w+) = \[", extras.partition("\n[")[0], re.M)
    assert set(EXTRA_OF.values()) <= set(named)


def test_the_table_of_known_models_is_that_of_the_command() -> None:
    text = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    shown = text.partition("<!-- mezzotint models list -->\n")[2].partition("\n<!-- end -->")[0]
    assert shown == models_table()


def models_table() -> str:
    """What `mezzotint models list` says, but for what is on this machine, with where each model and figure is from."""
    rows = [{name: cell for name, cell in row.items() if name != "here"} for row in models.rows()]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    notes = [f"- {name} {text}" for name, text in models.notes()]
    return table + "\n\n" + "\n".join(notes)
