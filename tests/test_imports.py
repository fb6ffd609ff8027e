"""Imports go one way: lsp_server -> diffusion -> cuda_ext, and inside lsp_server suggest -> text."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "cuda_ext": {"cuda_ext"},
    "diffusion": {"cuda_ext", "diffusion"},
    "lsp_server": {"lsp_server", "diffusion"},
}
INSIDE = {"text": ("text",), "suggest": ("text", "suggest")}  # rooms of lsp_server: what each imports of the others
BESIDE = ("options", "quickstart")  # what every room may import
MAX_LINES = 300
PROTOCOL = {"pygls", "lsprotocol"}


def imported(path: Path) -> set[str]:
    """Top-level names a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_imports_go_one_way(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        ours = imported(path) & MAY_IMPORT.keys()
        assert ours <= MAY_IMPORT[package], path


@pytest.mark.parametrize("package", ["diffusion", "cuda_ext"])
def test_nothing_below_the_server_knows_the_protocol(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        assert not imported(path) & PROTOCOL, path


def rooms_imported(path: Path) -> set[str]:
    """Rooms and files of lsp_server that a file imports."""
    rooms: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "") == "lsp_server":
            rooms |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lsp_server."):
            rooms.add((node.module or "").split(".")[1])
    return rooms


@pytest.mark.parametrize("room", sorted(INSIDE))
def test_rooms_of_the_server_know_only_what_is_below_them(room: str) -> None:
    for path in (ROOT / "lsp_server" / room).rglob("*.py"):
        assert rooms_imported(path) <= {*INSIDE[room], *BESIDE}, path


def test_no_file_of_the_server_is_longer_than_one_reading() -> None:
    for path in (ROOT / "lsp_server").rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES, path
