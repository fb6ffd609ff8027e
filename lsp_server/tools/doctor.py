"""`mezzotint doctor`: says what was found on this machine, and what is missing.

Rule: looks, changes nothing, asks no network but with `--remote`. Exit status 1 only if something that completions
need is missing.

    mezzotint doctor
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from lsp_server import __version__

PACKAGES = ("numpy", "safetensors", "tokenizers", "pygls", "lsprotocol", "tree-sitter")
EDITORS = ("nvim", "emacs", "code")
ANSWER_TIMEOUT_S = 20


class Finding(NamedTuple):
    """One line of the report; `ok` is None for what is good to have but not needed."""

    subject: str
    ok: bool | None
    detail: str


def find_versions() -> Iterator[Finding]:
    """Mezzotint, Python and the packages that are needed."""
    from importlib import metadata

    yield Finding("mezzotint", True, __version__)
    yield Finding("python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in PACKAGES:
        try:
            yield Finding(name, True, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding(name, False, "missing; reinstall mezzotint")
    try:
        yield Finding("torch", None, metadata.version("torch"))
    except metadata.PackageNotFoundError:
        yield Finding("torch", None, "not installed; needed only for training and where there is no native library")


def find_device() -> Iterator[Finding]:
    """Where the model can run."""
    known = sorted({"avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "bf16"} & cpu_flags())
    flags = " ".join(known) or "instruction sets unknown"
    yield Finding("device", True, f"cpu: {os.cpu_count()} logical cores ({flags})")
    if shutil.which("nvidia-smi"):
        yield Finding("device", None, f"cuda: {first_line('nvidia-smi', '-L')}")


def cpu_flags() -> set[str]:
    """Instruction sets of this processor, as Linux names them; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.lower().startswith(("flags", "features")) for flag in line.split()}


def find_native() -> Iterator[Finding]:
    """The compiled denoising loop."""
    from diffusion.backends.native import libraries

    for found in libraries():
        yield Finding("native library", None, found)


def find_model() -> Iterator[Finding]:
    """The embedded weights, loaded as the server loads them."""
    try:
        from diffusion.engine import Engine

        info = Engine.load().info
    except (ImportError, OSError, ValueError) as error:
        yield Finding("model", False, str(error).splitlines()[0])
        return
    yield Finding("model", True, ", ".join(f"{key} {value}" for key, value in info.items()))


def find_remote() -> Iterator[Finding]:
    """Whether the user's configuration names a model server, and what it is sent; it is not asked."""
    from lsp_server import remote, user_config

    options, _ = user_config.read()
    if not options.remote:
        yield Finding("remote", None, "none in the user's configuration; nothing leaves this machine")
        return
    try:
        remote.remote_engine(options)
    except ValueError as error:
        yield Finding("remote", False, str(error))
        return
    yield Finding("remote", True, f"{options.remote} is asked for completions; `--remote` asks whether it answers")
    for sentence in remote.what_is_sent(options):
        yield Finding("remote is sent", None, sentence)


def find_answer() -> Iterator[Finding]:
    """Whether the model server answers."""
    from diffusion.backends.link import RemoteError
    from lsp_server import remote, user_config

    options, _ = user_config.read()
    try:
        engine = remote.remote_engine(options)
        engine.hello()
    except (ValueError, RemoteError) as error:
        yield Finding("remote", False, str(error))
    else:
        yield Finding("remote", True, ", ".join(f"{key} {value}" for key, value in engine.info.items()))


def find_grammars() -> Iterator[Finding]:
    """tree-sitter grammars; a language without one is completed by line rules."""
    from importlib import metadata

    from lsp_server.text import languages, syntax

    for row in languages.LANGUAGES:
        language, module = row.id, row.grammar
        if syntax.parser_for(language) is None:
            yield Finding("grammar", None, f"{language}: {module} cannot be used, line rules instead")
        else:
            yield Finding("grammar", None, f"{language}: {module} {metadata.version(module.replace('_', '-'))}")


def find_editors() -> Iterator[Finding]:
    """Editors on the PATH."""
    for name in EDITORS:
        yield Finding("editor", None, f"{name}: {editor_version(name)}")


def editor_version(name: str) -> str:
    """Its version and where it is, or why there is none."""
    path = shutil.which(name)
    if path is None:
        return "not found"
    return f"{first_line(path, '--version')} ({path})"


def first_line(program: str, option: str) -> str:
    """What a program prints first, or that it does not answer."""
    try:
        done = subprocess.run(
            [program, option], capture_output=True, text=True, errors="replace", timeout=ANSWER_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not answer {option}: {type(error).__name__}"
    return next(iter((done.stdout or done.stderr).strip().splitlines()), f"says nothing to {option}")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    find_versions, find_device, find_native, find_model, find_remote, find_grammars, find_editors,
)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Print every finding; 0 unless something required is missing."""
    about = "Say what was found on this machine; exit status 1 if something that completions need is missing."
    parser = argparse.ArgumentParser(prog="mezzotint doctor", description=about)
    parser.add_argument("--remote", action="store_true", help="ask the configured model server whether it answers")
    checks = (*CHECKS, find_answer) if parser.parse_args(argv).remote else CHECKS
    missing = 0
    for check in checks:
        for finding in check():
            mark = {True: "ok", False: "MISSING", None: "-"}[finding.ok]
            print(f"{finding.subject:16}{mark:9}{finding.detail}", flush=True)
            missing += finding.ok is False
    print("everything needed is here" if not missing else f"{missing} required thing(s) missing")
    return 1 if missing else 0
