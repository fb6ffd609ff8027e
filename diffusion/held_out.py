"""The packages that evaluation cuts its holes from and training never sees, whole: the one table of them.

Rule: first published in 2025 or later, so that no base model we start from (knowledge until late 2024) can have read
them; permissive licences, different authors and purposes. Changing this table makes figures incomparable.

    python -m diffusion.held_out python    # what `make holdout` gives to pip; npm: to npm
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

PYTHON, JAVASCRIPT, TYPESCRIPT = "python", "javascript", "typescript"


@dataclass(frozen=True)
class Package:
    """`name`: of its registry. `imported_as`: a Python package's folder, where it is called something else.

    `first_release`: of Python packages the day of the first upload to the registry; of npm packages what their
    changelog, licence or first pull request says, as exactly as it says it.
    """

    name: str
    version: str
    language: str
    licence: str
    first_release: str
    imported_as: str = ""

    @property
    def folder(self) -> str:
        """Where `make holdout` puts it: the import name, or the name as `npm pack` writes it."""
        return self.imported_as or self.name.lstrip("@").replace("/", "-")


EVALUATED = (
    Package("claude-code-transcripts", "0.6", PYTHON, "Apache-2.0", "2025-12-25", "claude_code_transcripts"),
    Package("django-modern-rest", "0.16.0", PYTHON, "MIT", "2025-10-09", "dmr"),
    Package("fuzzytool", "0.7.0", PYTHON, "MIT", "2026-06-24"),
    Package("justhtml", "3.16.0", PYTHON, "MIT", "2025-11-30"),
    Package("marple-lang", "0.9.0", PYTHON, "MIT", "2026-03-23", "marple"),
    Package("mini-swe-agent", "2.4.6", PYTHON, "MIT", "2025-07-23", "minisweagent"),
    Package("py-key-value-aio", "0.5.0", PYTHON, "Apache-2.0", "2025-09-29", "key_value"),
    Package("pydjirecord", "1.3.0", PYTHON, "MIT", "2026-02-27"),
    Package("pydocket", "0.27.0", PYTHON, "MIT", "2025-02-27", "docket"),
    Package("pyportainer", "1.0.50", PYTHON, "MIT", "2025-04-11"),
    Package("pytest-impacted", "0.36.0", PYTHON, "MIT", "2025-05-12", "pytest_impacted"),
    Package("rift-tui", "1.1.1", PYTHON, "MIT", "2026-07-09", "rift_tui"),
    Package("templore", "1.0.2", PYTHON, "MIT", "2026-07-31"),
    Package("typing-inspection", "0.4.5", PYTHON, "MIT", "2025-02-13", "typing_inspection"),
    Package("urlpattern-py", "0.2.0", PYTHON, "MIT", "2025-12-21", "urlpattern"),
    Package("zapros", "0.23.0", PYTHON, "MIT", "2026-03-14"),
    Package("@chenglou/pretext", "1.0.0", TYPESCRIPT, "MIT", "2026-03-26"),
    Package("@fastify/sse", "0.6.0", JAVASCRIPT, "MIT", "2025-08"),
    Package("@remix-run/fetch-router", "0.20.1", TYPESCRIPT, "MIT", "2025-10"),
    Package("@tanstack/db", "0.15.2", TYPESCRIPT, "MIT", "2025"),
    Package("incur", "0.3.15", TYPESCRIPT, "MIT", "2025"),
    Package("tmcp", "1.20.0", JAVASCRIPT, "MIT", "2025"),
)
PYTHON_FOLDERS = frozenset(package.folder for package in EVALUATED if package.language == PYTHON)
SCRIPT_FOLDERS = frozenset(package.folder for package in EVALUATED if package.language != PYTHON)
# Held out until November 2026, when base models that know them came in; still kept out of training, so that figures
# on them stay honest. httpx2 and httpcore2 are successors that repeat four fifths of httpx and httpcore.
HELD_OUT_BEFORE = frozenset(
    "attr attrs click flask httpx httpcore jinja2 packaging pluggy requests rich starlette tqdm trio urllib3 httpx2 "
    "httpcore2".split()
)
HELD_OUT = HELD_OUT_BEFORE | {name for package in EVALUATED for name in (package.folder, package.name)}


def specifiers(language: str) -> list[str]:
    """What the client of a registry is asked for: pip of PYTHON, npm of the others."""
    if language == PYTHON:
        return [f"{package.name}=={package.version}" for package in EVALUATED if package.language == PYTHON]
    return [f"{package.name}@{package.version}" for package in EVALUATED if package.language != PYTHON]


def main(argv: list[str]) -> None:
    """Print them, one a line."""
    print(*specifiers(argv[0]), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
