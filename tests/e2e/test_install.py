"""One line installs it, the next key is completed, and uninstalling leaves nothing: `uv tool install` in an empty home.

`make test-wheel` runs these: from the wheel, and from the sdist with a compiler and without. What the first completion
took is printed (`pytest -s`), not asserted.
"""

from __future__ import annotations

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

    def client(self, *options: str) -> RawClient:
        """A client of the server that was installed."""
        command = ["env", "-i", *(f"{name}={value}" for name, value in self.environment.items())]
        return RawClient(command=[*command, str(self.bin / "mezzotint"), "lsp", *options], cwd=self.folder)


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
    install = (UV, "tool", "install", "-q", "--python", sys.executable, package)
    home.run(*(hidden if "without" in request.param else ()), *install)
    yield home
    home.run(UV, "tool", "uninstall", "-q", "mezzotint")
    assert {name for name in home.files() if Path(name).name not in OF_UV} == set()


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


def test_its_first_completion_is_the_models_own(home: Home, request: pytest.FixtureRequest) -> None:
    began = time.perf_counter()
    with home.client() as client:
        opened(client, DEMO.read_text())
        asked(client, 15, 20)
        seconds = time.perf_counter() - began
        stats = client.request("mezzotint/stats", None)["result"]
        if "without" in request.node.name:  # it needs torch then, and says so
            assert stats["forwardPasses"] == 0 and stats["engine"] == {}
        else:
            assert stats["forwardPasses"] >= 1 and stats["engine"]["backend"] == "native"
            print(f"\nfrom the start of the server to the first completion: {seconds:.2f} s")


def test_the_sdist_holds_no_compiled_file(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert [name for name in names if name.endswith((".so", ".o", ".pyc"))] == []
    assert any(name.endswith("CMakeLists.txt") for name in names)
