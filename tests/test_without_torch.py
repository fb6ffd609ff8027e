"""A machine without torch: what completes does, and what cannot run says in one sentence what to install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cuda_ext import native
from diffusion import extras

DEMO = Path(__file__).parents[1] / "docs/demo.py"
NATIVE = pytest.mark.skipif(bool(native.why_not("cpu")), reason=f"native library: {native.why_not('cpu')}")
BLOCKED = ("torch", "datasketch", "gguf", "llama_cpp", "huggingface_hub")
SERVE = """
import sys
from lsp_server.tools.client import Client
with Client(60) as client:
    client.call("initialize", {"processId": None, "rootUri": None, "capabilities": {}})
    client.notify("initialized", {})
    text = "import os\\n\\nname = \\n"
    where = {"textDocument": {"uri": "file:///a.py"}, "position": {"line": 2, "character": 7}}
    client.notify("textDocument/didOpen", {"textDocument": {
        "uri": "file:///a.py", "languageId": "python", "version": 0, "text": text}})
    print(client.call("textDocument/inlineCompletion", {**where, "context": {"triggerKind": 1}}))
"""


@pytest.fixture
def without_torch(tmp_path: Path) -> Path:
    """A folder whose sitecustomize makes every optional package one that is not installed, here and in children."""
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({BLOCKED}))\n")
    return tmp_path


def run(folder: Path, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command of ours in such a Python."""
    path = os.pathsep.join([str(folder), str(DEMO.parents[1])])
    return subprocess.run(
        [sys.executable, *(argv if argv[0] == "-c" else ["-m", "lsp_server.cli", *argv])],
        env={**os.environ, "PYTHONPATH": path, **environment}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_the_block_works(without_torch: Path) -> None:
    done = run(without_torch, "-c", "import torch")
    assert "ModuleNotFoundError" in done.stderr


@NATIVE
def test_a_completion_needs_no_torch(without_torch: Path) -> None:
    done = run(without_torch, "complete", f"{DEMO}:16:21")
    assert (done.returncode, done.stderr) == (0, "")


@NATIVE
def test_a_completion_with_an_adapter_needs_no_torch(without_torch: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the adapter is made with torch, and used without")
    from tests.models import SMALL
    from tests.test_adapter import adapter

    made = adapter(tmp_path / "adapter")
    done = run(without_torch, "complete", f"{DEMO}:16:21", "--model", str(SMALL), "--adapter", str(made))
    assert (done.returncode, done.stderr) == (0, "")


@NATIVE
def test_doctor_needs_no_torch(without_torch: Path) -> None:
    done = run(without_torch, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MISSING" not in done.stdout


def test_doctor_says_that_nothing_can_run_the_model(without_torch: Path) -> None:
    done = run(without_torch, "doctor", MEZZOTINT_NATIVE="0")
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if "MISSING" in line]
    assert line.startswith("model") and "pip install 'mezzotint[torch]'" in line


def test_without_either_backend_one_sentence_says_what_to_install(without_torch: Path) -> None:
    done = run(without_torch, "complete", f"{DEMO}:16:21", MEZZOTINT_NATIVE="0")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"mezzotint complete: {extras.no_backend('switched off by MEZZOTINT_NATIVE=0')}\n"


@NATIVE
def test_the_server_needs_no_torch(without_torch: Path) -> None:
    done = run(without_torch, "-c", SERVE)
    assert "items" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (["train", "run", "--corpus", "nowhere"], "train"),
        (["train", "corpus", "--texts", "nowhere", "--out", "nowhere"], "train"),
        (["adapt", "nowhere"], "train"),
        (["bench", "loop"], "torch"),
        (["models", "get", "smollm2-135m"], "hub"),
    ],
)
def test_other_commands_name_the_extra_that_they_want(command: list[str], extra: str, without_torch: Path) -> None:
    (without_torch / "nowhere").mkdir()
    done = run(without_torch, *command)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.endswith(f"pip install 'mezzotint[{extra}]'\n")
    assert "Traceback" not in done.stderr
