"""Finds permissively licensed JavaScript and TypeScript in unpacked npm packages and keeps what people wrote.

Rule: as for Python (corpus.py); besides, nothing that was built, bundled or compiled for publishing.

    for source in collect_npm([Path(".corpus/npm")], problems, report): print(source.package, source.language)
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from diffusion.grammars import language_of, parse
from diffusion.train.corpus import NOT_PERMISSIVE, PERMISSIVE, File, Source, read_written, sift

MAX_PACKAGE_CHARS = 400_000
BUILT = re.compile(
    r"(^|/)(dist|build|built|bundles?|out|es|esm|es[0-9]+|cjs|umd|lib\.(commonjs|esm)|node_modules|vendor|generated"
    r"|locales?|i18n|lang)/|\.(min|bundle|umd|d)\.\w+$"
)
# What compilers and bundlers leave behind.
COMPILED = re.compile(
    r"__esModule|_interopRequire|__webpack_require__|_classCallCheck|__awaiter|__spread|__importDefault|_defineProperty\("
    r"|sourceMappingURL|regeneratorRuntime|^//#region|^Object\.defineProperty\(exports", re.M
)  # fmt: skip


def licence_of(package: dict[str, object]) -> str:
    """The licence that a package.json declares, or "" if it is not clearly permissive."""
    declared = package.get("license")
    text = declared if isinstance(declared, str) else ""
    return text if PERMISSIVE.search(text) and not NOT_PERMISSIVE.search(text) else ""


def npm_files(root: Path) -> Iterator[File]:
    """Every file in a language of ours of the permissive packages that lie below `root`, one folder each."""
    for manifest in sorted(root.glob("*/package.json")):
        package = json.loads(manifest.read_text(encoding="utf-8"))
        licence = licence_of(package)
        for path in sorted(manifest.parent.rglob("*")) if licence else []:
            inside = path.relative_to(manifest.parent).as_posix()
            if language_of(path.name) not in ("", "python") and not BUILT.search(inside) and path.is_file():
                yield str(package["name"]), str(package["version"]), licence, path


def read_script(path: Path) -> str | None:
    """Text of a script that parses and looks written by a person, else None."""
    text = read_written(path)
    if text is None or COMPILED.search(text) or parse(path.name, text.encode()).root_node.has_error:
        return None
    return text


def collect_npm(roots: list[Path], problems: Iterable[str], report: Counter[str]) -> Iterator[Source]:
    """The held-out packages, then scripts worth training on; what was dropped, and why, is counted in `report`."""
    files = [file for root in roots for file in npm_files(root)]
    yield from sift(files, problems, report, read_script, MAX_PACKAGE_CHARS)
