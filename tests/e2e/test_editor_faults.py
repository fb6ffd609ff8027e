"""What a user sees in Neovim, Emacs and VS Code when the server is in trouble: its status says so, and typing goes on.

A server that is killed: test_nvim.py, test_emacs.py and test_vscode.py, `test_a_killed_server_...`, `test_killing_...`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import test_emacs
import test_nvim
import test_vscode
from scripts import Script, rule, sharpens
from vscode import missing, vscode

pytestmark = pytest.mark.editors

RULES = (rule("panic(", panic="as a library of Rust may"), sharpens("port = ", "8080"))
FAILED = "Completion failed"
ENDED = "model thread has ended"


class Desk:
    """An editor with a line to type, as these tests need it: whichever it is."""

    def __init__(self, folder: Path, keys: Callable[[str], None], status: Callable[[], str], ghost: Callable[[], str],
                 until: Callable[[Callable[[], Any], str], Any], pid: Callable[[], int]) -> None:  # fmt: skip
        self.folder, self.type, self.status, self.ghost, self.until, self.pid = folder, keys, status, ghost, until, pid
        self.script = Script(folder)
        self.script.says(*RULES)

    def says(self, text: str) -> None:
        self.until(lambda: text in self.status(), f"the status {text!r}")

    def shows(self, text: str) -> None:
        self.until(lambda: self.ghost() == text, f"the suggestion {text!r}")


@pytest.fixture
def neovim(tmp_path: Path) -> Iterator[Desk]:
    if not test_nvim.NVIM.exists():
        pytest.skip("SKIPPED Neovim: not installed (editors/nvim/install.sh)")
    editor = test_nvim.started(tmp_path, test_nvim.init(tmp_path))
    try:
        editor.ready()
        editor.type("Go")
        yield Desk(
            tmp_path,
            editor.type,
            editor.status,
            lambda: editor.ghost().get("text", ""),
            editor.until,
            editor.server_pid,
        )
    finally:
        editor.close()


@pytest.fixture
def emacs(tmp_path: Path) -> Iterator[Desk]:
    if not Path(test_emacs.EMACS).exists():
        pytest.skip("SKIPPED Emacs: not installed (editors/emacs/install.sh)")
    editor = test_emacs.Emacs(tmp_path)
    try:
        editor.until(lambda: editor.status() == "idle" and editor.eval("mezzotint-mode") == "t", "the server")
        editor.eval("(goto-char (point-max))")
        yield Desk(
            tmp_path,
            lambda keys: editor.type(*(["Enter" if key == "\n" else key for key in keys])),
            lambda: editor.string('(format "%s" mezzotint--status)'),
            editor.ghost,
            editor.until,
            editor.server_pid,
        )
    finally:
        editor.terminal.__exit__()


@pytest.fixture
def code(tmp_path: Path) -> Iterator[Desk]:
    if why := missing(test_vscode.EDITORS):
        pytest.skip(f"SKIPPED VS Code: {why}")
    with vscode(test_vscode.EDITORS, tmp_path, {"first.py": test_vscode.DEMO, "second.py": "x = 1\n"}) as one:
        one.script.says(*test_vscode.RULES)
        one.ready()
        one.open("first.py", test_vscode.LINE, test_vscode.COLUMN)
        test_vscode.asks(one)
        one.open("second.py", 2, 1)

        def until(what: Callable[[], Any], why: str) -> Any:
            one.until(lambda seen: what())

        yield Desk(tmp_path, one.type, lambda: one.look()["status"], lambda: one.look()["ghost"], until, one.server_pid)


@pytest.fixture(params=["neovim", "emacs", "code"])
def desk(request: pytest.FixtureRequest) -> Desk:
    found: Desk = request.getfixturevalue(request.param)
    return found


def test_a_model_that_vanishes_is_in_the_status_and_its_return_is_enough(desk: Desk) -> None:
    path = desk.script.path
    path.rename(path.with_suffix(".away"))
    desk.type("port = ")
    desk.says(FAILED)
    path.with_suffix(".away").rename(path)
    desk.type("\nport = ")
    desk.shows("8080")
    desk.until(lambda: FAILED not in desk.status(), "the status to be as ever")


def test_a_model_thread_that_dies_is_in_the_status_until_the_next_completion(desk: Desk) -> None:
    desk.type("panic(")
    desk.says(ENDED)
    desk.type("\nport = ")
    desk.shows("8080")
    desk.until(lambda: ENDED not in desk.status(), "the status to be as ever")


def test_a_server_that_stands_still_holds_nobody_up_and_goes_on_with_the_next_key(desk: Desk) -> None:
    os.kill(desk.pid(), signal.SIGSTOP)
    try:
        desk.type("port =")
        assert desk.ghost() == ""
    finally:
        os.kill(desk.pid(), signal.SIGCONT)
    desk.type(" ")
    desk.shows("8080")
