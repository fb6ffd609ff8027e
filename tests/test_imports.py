"""Imports go one way: lsp_server -> diffusion -> cuda_ext."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "cuda_ext": {"cuda_ext"},
    "diffusion": {"cuda_ext", "diffusion"},
    "lsp_server": {"lsp_server", "diffusion"},
}
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
