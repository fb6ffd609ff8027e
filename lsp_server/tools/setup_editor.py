"""`mezzotint setup EDITOR`: prints the lines that Neovim, VS Code or Emacs needs; `--write` adds them.

Rule: nothing of the user's is lost or doubled. The change is shown, a backup is kept, and a file that speaks of
mezzotint already, outside the block written here, is left as it is.

    mezzotint setup nvim --write
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lsp_server.launch import server_command
from lsp_server.text.languages import ON_BY_DEFAULT
from lsp_server.user_config import config_home

PACKAGE = Path(__file__).resolve().parents[1]
SHIPPED = PACKAGE / "editors"  # of a wheel; a source tree has them beside its packages
PLUGINS = SHIPPED if SHIPPED.exists() else PACKAGE.parent / "editors"
BEGIN, END = "mezzotint setup: begin", "mezzotint setup: end"
# In JSON with comments: what may stand between two tokens.
BLANK = r"(?:\s|//[^\n]*|/\*.*?\*/)*"


class Problem(Exception):
    """Why nothing was written, in words for the user."""


class Editor(NamedTuple):
    """Where an editor's settings are, the lines it needs, and how they come into the file's text."""

    file: Callable[[], Path]
    lines: Callable[[list[str]], str]
    added: Callable[[str, str, Path], str]
    hint: str


def nvim_file() -> Path:
    """init.lua, or the user's init.vim: Neovim refuses to have both."""
    home = os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else None
    folder = Path(home or config_home()) / os.environ.get("NVIM_APPNAME", "nvim")
    vim = folder / "init.vim"
    return vim if vim.exists() else folder / "init.lua"


def emacs_file() -> Path:
    """The init file that Emacs would load, in its own order."""
    home, xdg = Path.home(), config_home() / "emacs" / "init.el"
    known = (home / ".emacs.el", home / ".emacs", home / ".emacs.d" / "init.el", xdg)
    return next((path for path in known if path.exists()), known[2])


def vscode_file() -> Path:
    """The user's settings.json."""
    if sys.platform == "win32":
        base = Path(os.environ["APPDATA"])
    else:
        base = Path.home() / "Library" / "Application Support" if sys.platform == "darwin" else config_home()
    return base / "Code" / "User" / "settings.json"


def quoted(text: str) -> str:
    """A string as Lua and Emacs Lisp read it: both know JSON's escapes of quotes and backslashes."""
    return json.dumps(text, ensure_ascii=False)


def nvim_lines(command: list[str]) -> str:
    """The plugin, and the server that it starts."""
    cmd, folder = "{ " + ", ".join(map(quoted, command)) + " }", quoted(str(PLUGINS / "nvim"))
    return f'vim.opt.runtimepath:append({folder})\nrequire("mezzotint").setup({{ cmd = {cmd} }})\n'


def emacs_lines(command: list[str]) -> str:
    """The package, the server that it starts, and the modes it is for."""
    modes = " ".join(f"{name}-mode {name}-ts-mode" for name in ON_BY_DEFAULT)
    return (
        f"(add-to-list 'load-path {quoted(str(PLUGINS / 'emacs'))})\n"
        "(require 'mezzotint)\n"
        f"(setq mezzotint-command '({' '.join(map(quoted, command))}))\n"
        f"(mezzotint-use-for '({modes}))\n"
    )


def vscode_lines(command: list[str]) -> str:
    """The one setting that the extension may need: where the server is."""
    return f'"mezzotint.command": {json.dumps(command, ensure_ascii=False)}'


def with_block(text: str, lines: str, path: Path) -> str:
    """The file with our block at its end, or in place of our older block."""
    comment = {".lua": "--", ".vim": '"'}.get(path.suffix, ";;")
    if path.suffix == ".vim":
        lines = f"lua << MEZZOTINT\n{lines}MEZZOTINT\n"
    block = f"{comment} {BEGIN}\n{lines}{comment} {END}\n"
    older = re.compile(rf"^{comment} {BEGIN}\n.*?^{comment} {END}\n?", re.DOTALL | re.MULTILINE)
    rest = older.sub("", text)
    if "mezzotint" in rest.lower():
        raise Problem("it speaks of mezzotint already; add the lines by hand")
    if rest != text:
        return older.sub(lambda _: block, text, count=1)
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    return text + gap + block


def with_setting(text: str, line: str, path: Path) -> str:
    """JSON with comments, with our setting as the first of the object; all other text as it was."""
    name = line.partition(":")[0]
    if re.search(rf"^{BLANK}$", text, re.DOTALL):
        return f"{text}{{\n    {line}\n}}\n"
    found = re.match(rf"{BLANK}\{{", text, re.DOTALL)
    if not found:
        raise Problem("it is no JSON object; add the line by hand")
    if name in text:
        if line in text:
            return text
        raise Problem(f"{name} is set already; change it by hand")
    empty = re.match(rf"{BLANK}\}}", text[found.end() :], re.DOTALL)
    gap = "\n" if empty and not text[found.end() :].startswith(("\n", "\r")) else ""
    return f"{text[: found.end()]}\n    {line}{'' if empty else ','}{gap}{text[found.end() :]}"


EDITORS = {
    "nvim": Editor(nvim_file, nvim_lines, with_block, "then start Neovim anew; :checkhealth says what is missing"),
    "vscode": Editor(vscode_file, vscode_lines, with_setting, "the extension itself: editors/vscode/README.md"),
    "emacs": Editor(emacs_file, emacs_lines, with_block, "then start Emacs anew, and M-x eglot in a file"),
}


def backup_of(path: Path) -> Path:
    """Copy a file beside itself, never over an older backup."""
    number = 1
    while (backup := path.with_name(f"{path.name}.backup-{number}")).exists():
        number += 1
    shutil.copy2(path, backup)
    return backup


def replace(path: Path, text: str) -> None:
    """Write a file at once or not at all, with the permissions it had."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        if path.exists():
            shutil.copymode(path, name)
        else:
            os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def add(editor: Editor, path: Path, lines: str) -> str:
    """Show the change, keep a backup, write; returns what was done."""
    real = path.resolve()  # a link into someone's dotfiles stays a link
    with_bytes = real.read_bytes().decode("utf-8") if real.exists() else ""
    newline = "\r\n" if "\r\n" in with_bytes else "\n"
    text = with_bytes.replace("\r\n", "\n")
    new = editor.added(text, lines, path)
    if new == text:
        return f"{path} has these lines already"
    print("".join(difflib.unified_diff(text.splitlines(True), new.splitlines(True), str(path), str(path))), end="")
    backup = f"; the old one is {backup_of(real)}" if real.exists() else ""
    replace(real, new.replace("\n", newline))
    return f"wrote {path}{backup}; {editor.hint}"


def main(argv: list[str] | None = None) -> int:
    """Print or add the lines; 1 if nothing could be written."""
    parser = argparse.ArgumentParser(prog="mezzotint setup", description="Print or add the lines that an editor needs.")
    parser.add_argument("editor", choices=EDITORS)
    parser.add_argument("--write", action="store_true", help="add them, after showing the change; keeps a backup")
    args = parser.parse_args(argv)
    editor = EDITORS[args.editor]
    path, lines = editor.file(), editor.lines(server_command())
    if not args.write:
        print(f"{lines.rstrip()}\n")
        print(f"These lines belong into {path} (--write adds them); {editor.hint}", file=sys.stderr)
        return 0
    try:
        print(add(editor, path, lines))
    except (Problem, OSError, UnicodeDecodeError) as problem:
        print(f"{path} was not changed: {problem}", file=sys.stderr)
        return 1
    return 0
