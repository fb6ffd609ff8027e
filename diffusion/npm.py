"""Fetches packages with the npm client and unpacks their files: source to read, nothing is installed or run.

python -m diffusion.npm .corpus/npm express@5 @tanstack/query-core
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath


def fetch(specifier: str, to: Path) -> Path:
    """Download and unpack one package into its own folder below `to`; ValueError if npm cannot have it."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", folder, specifier]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            raise ValueError(f"npm cannot fetch {specifier}: {done.stderr.strip()[-200:]}")
        return unpack(archives[0], to / folder_of(specifier))


def folder_of(specifier: str) -> str:
    """The folder of `@scope/name@version`: scope-name, as npm calls its archives."""
    return specifier.lstrip("@").partition("@")[0].replace("/", "-")


def unpack(archive: Path, to: Path) -> Path:
    """The regular files of a package's archive, in `to` instead of the one folder that holds them all."""
    shutil.rmtree(to, ignore_errors=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            path = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            stream = tar.extractfile(member) if member.isfile() else None
            if stream is None or path.is_absolute() or ".." in path.parts or not path.parts:
                continue
            (to / path).parent.mkdir(parents=True, exist_ok=True)
            (to / path).write_bytes(stream.read())
    return to


def main(argv: list[str]) -> int:
    """FOLDER and specifiers; what cannot be had is said and left out. 1 if nothing could be had."""
    to, specifiers = Path(argv[0]), argv[1:]
    if not shutil.which("npm"):
        print(f"no npm here: {len(specifiers)} packages are left out", file=sys.stderr)
        return 0
    n_fetched = 0
    for specifier in specifiers:
        try:
            fetch(specifier, to)
            n_fetched += 1
        except (ValueError, OSError, tarfile.TarError) as error:
            print(error, file=sys.stderr)
    return 0 if n_fetched else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
