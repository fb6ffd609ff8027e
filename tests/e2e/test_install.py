"""One line installs it, the next key is completed, and uninstalling leaves nothing: `uv tool install` in an empty home.

`make test-wheel` runs these: from the wheel, and from the sdist with a compiler and without; each by a client of the
server, and in a real Neovim with what `mezzotint setup nvim --write` wrote. What the first completion took is printed
(`pytest -s`), not asserted.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from raw import RawClient
from scripts import VALUE, Script, sharpens
from test_nvim import NVIM, Neovim

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "docs/demo.py"
UV = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]))
TOOLS = "/usr/bin:/bin"
NO_COMPILER = """
for file in /usr/bin/cc /usr/bin/*c++* /usr/bin/*g++* /usr/bin/*gcc* /usr/bin/*clang*; do
  [ ! -e "$file" ] || mount --bind /dev/null "$(readlink -f "$file")" || exit 125
done
exec "$@"
"""
LET_THROUGH = ("SSL_CERT_FILE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "UV_DEFAULT_INDEX")  # to reach a registry
OF_UV = {".lock", ".gitignore", "CACHEDIR.TAG"}
OF_NEOVIM = (".config/nvim/", ".local/share/nvim/", ".local/state/nvim/", ".cache/nvim/")
CONFIGURATION = ".config/mezzotint/config.json"
NO_MODEL = "torch is not installed): pip install 'mezzotint[torch]'"
pytestmark = [pytest.mark.wheel, pytest.mark.skipif(UV is None, reason="uv is not installed (pip install uv)")]


class Home:
    """An empty home folder, and programs that are run with it and little else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "home"
        self.folder.mkdir()
        self.bin = self.folder / ".local/bin"
        self.cache = folder / "cache"  # uv's, which is not ours to clean up

    @property
    def environment(self) -> dict[str, str]:
        """All that a program is told."""
        known = {name: os.environ[name] for name in LET_THROUGH if name in os.environ}
        path = f"{self.bin}:{TOOLS}"
        return {**known, "HOME": str(self.folder), "PATH": path, "UV_CACHE_DIR": str(self.cache)}

    def run(self, *command: object) -> str:
        """What a program prints."""
        done = subprocess.run(
            [str(part) for part in command], env=self.environment, cwd=self.folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def files(self) -> set[str]:
        """What lies in the home."""
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if not path.is_dir()}

    def left(self) -> set[str]:
        """The same without what is uv's and Neovim's."""
        return {name for name in self.files() if Path(name).name not in OF_UV and not name.startswith(OF_NEOVIM)}

    def command(self, *words: object) -> list[str]:
        """A command line that is told the same."""
        told = (f"{name}={value}" for name, value in self.environment.items())
        return ["env", "-i", *told, *map(str, words)]

    def client(self, *options: str) -> RawClient:
        """A client of the server that was installed."""
        return RawClient(command=self.command(self.bin / "mezzotint", "lsp", *options), cwd=self.folder)

    @contextlib.contextmanager
    def neovim(self) -> Iterator[Neovim]:
        """A Neovim with the lines that a user is told to add; the server shows what the model says, however late."""
        self.run("mezzotint", "setup", "nvim", "--write")
        demo, configuration = self.folder / DEMO.name, self.folder / CONFIGURATION
        configuration.parent.mkdir(parents=True, exist_ok=True)
        configuration.write_text(json.dumps({"minConfidencePercent": 0, "deadlineMs": 0, "threads": 1}))
        shutil.copy(DEMO, demo)
        editor = Neovim(self.command(NVIM), demo)
        try:
            yield editor
        finally:
            editor.close()
            demo.unlink()
            configuration.unlink()

    @contextlib.contextmanager
    def torch(self) -> Iterator[None]:
        """Lend it this environment's torch: hundreds of MB that need not be fetched again."""
        (site,) = (self.folder / ".local/share/uv/tools/mezzotint/lib").glob("python*/site-packages")
        found = importlib.util.find_spec("torch")
        assert found and found.origin
        lent = site / "lent.pth"
        lent.write_text(f"{Path(found.origin).parents[1]}\n")
        try:
            yield
        finally:
            lent.unlink()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel of it."""
    folder = tmp_path_factory.mktemp("built")
    environment = {**os.environ, "SKBUILD_CMAKE_DEFINE": "MZ_CUDA=OFF"}
    subprocess.run([UV, "build", "-q", "--python", sys.executable, "-o", folder, ROOT], env=environment, check=True)
    return folder


@pytest.fixture(scope="module", params=["wheel", "sdist", "sdist without a compiler"])
def home(request: pytest.FixtureRequest, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home into which it was installed by one line."""
    folder = tmp_path_factory.mktemp("root")
    home, hidden = Home(folder), ("unshare", "-rm", "sh", "-c", NO_COMPILER, "sh")
    if "without" in request.param and subprocess.run([*hidden, "true"], capture_output=True).returncode:
        pytest.skip("compilers cannot be hidden here (unshare -rm)")
    (package,) = built.glob("*.whl" if request.param == "wheel" else "*.tar.gz")
    install = (UV, "tool", "install", "-q", "--compile-bytecode", "--python", sys.executable, package)
    home.run(*(hidden if "without" in request.param else ()), *install)
    yield home
    home.run(UV, "tool", "uninstall", "-q", "mezzotint")
    assert home.left() == set()


def opened(client: RawClient, text: str, **options: Any) -> None:
    client.request("initialize", {"processId": None, "capabilities": {}, "initializationOptions": options})
    client.notify("initialized", {})
    document = {"uri": "file:///demo.py", "languageId": "python", "version": 1, "text": text}
    client.notify("textDocument/didOpen", {"textDocument": document})


def asked(client: RawClient, line: int, character: int, kind: int = 1) -> list[Any]:
    where = {"textDocument": {"uri": "file:///demo.py"}, "position": {"line": line, "character": character}}
    answer = client.request("textDocument/inlineCompletion", {**where, "context": {"triggerKind": kind}})
    return list(answer["result"]["items"])


def test_it_says_its_version(home: Home) -> None:
    assert home.run("mezzotint", "version").startswith("mezzotint ")


def test_its_server_completes_what_is_typed(home: Home, tmp_path: Path) -> None:
    script = Script(tmp_path)
    script.says(sharpens("x = ", VALUE))
    with home.client(*script.options) as client:
        opened(client, "x = \n", minConfidencePercent=0)
        assert [item["insertText"] for item in asked(client, 0, 4)] == [VALUE]


def start(home: Home) -> tuple[float, float, dict[str, Any]]:
    """Seconds from a server's start to its first completion, its seconds of CPU, and its statistics."""
    began, before = time.perf_counter(), os.times()
    with home.client() as client:
        opened(client, DEMO.read_text(), deadlineMs=0)  # a busy machine completes it as well
        asked(client, 15, 20)
        seconds = time.perf_counter() - began
        stats = client.request("mezzotint/stats", None)["result"]
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, cpu, stats


def test_its_first_completion_is_the_models_own(home: Home, request: pytest.FixtureRequest) -> None:
    seconds, cpu, stats = start(home)
    if "without" in request.node.name:  # it needs torch then, and says so
        assert stats["forwardPasses"] == 0 and stats["engine"] == {}
    else:
        assert stats["forwardPasses"] >= 1 and stats["engine"]["backend"] == "native"
        again, cpu_again, _ = start(home)
        print(f"\nstart of the server to the first completion: {seconds:.2f} s ({cpu:.2f} s of CPU)", end="")
        print(f", at the second start: {again:.2f} s ({cpu_again:.2f} s of CPU)")


def types_what_the_readme_says(editor: Neovim) -> None:
    """The end of line 16, its last space deleted and typed again: ghost text appears, and Tab accepts it."""
    editor.ready()
    editor.nvim.command("16")
    editor.type("A<BS><Space>")
    editor.until(editor.ghost, "ghost text")
    text, suggestion = DEMO.read_text(), editor.final()
    assert editor.text() == text and suggestion
    editor.type("<Tab>")
    editor.until(lambda: editor.text() != text, "the accepted text")
    line = text.splitlines()[15]
    assert editor.text() == text.replace(f"{line}\n", f"{line}{suggestion}\n")


@pytest.mark.skipif(not NVIM.exists(), reason="SKIPPED Neovim: not installed (editors/nvim/install.sh)")
def test_in_neovim_ghost_text_appears_and_tab_accepts_it(home: Home, request: pytest.FixtureRequest) -> None:
    """Where nothing was compiled and torch is not there, one sentence says what to install; then torch does it."""
    if "without" not in request.node.name:
        with home.neovim() as editor:
            types_what_the_readme_says(editor)
        return
    with home.neovim() as editor:
        editor.until(lambda: NO_MODEL in editor.status(), "the reason")
    with home.torch(), home.neovim() as editor:
        types_what_the_readme_says(editor)
        assert editor.stats()["engine"]["backend"] == "torch"


def test_the_sdist_holds_no_compiled_file(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert [name for name in names if name.endswith((".so", ".o", ".pyc"))] == []
    assert any(name.endswith("CMakeLists.txt") for name in names)
