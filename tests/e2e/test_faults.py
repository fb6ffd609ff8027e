"""What a user sees when files, libraries and threads fail under the real server: one sentence, and then completions."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from editor import PATIENCE_S
from raw import RawClient
from scripts import VALUE, Script, sharpens

from cuda_ext import native
from lsp_server.worker import MAX_DEATHS

SMALL = Path(__file__).parents[1] / "data/small"
WEIGHTS = "model.safetensors"
SERVER = """
import sys
{fault}
from lsp_server.cli import main
sys.exit(main(["lsp"]))
"""
needs_native = pytest.mark.skipif(bool(native.why_not("cpu")), reason=f"native backend: {native.why_not('cpu')}")


class Client(RawClient):
    """Asks for a completion, and keeps what the user is told meanwhile."""

    def start(self, **options: Any) -> None:
        self.told: list[str] = []
        given = {"minConfidencePercent": 0, "encodeAhead": False, "liveCanvas": False, **options}
        self.request("initialize", {"capabilities": {}, "initializationOptions": given})
        self.notify("initialized", {})
        document = {"uri": "file:///a.py", "languageId": "python", "version": 1, "text": "import os\n\nname = \n"}
        self.notify("textDocument/didOpen", {"textDocument": document})

    def ask(self) -> None:
        where = {"textDocument": {"uri": "file:///a.py"}, "position": {"line": 2, "character": 7}}
        self.send_request("ask", "textDocument/inlineCompletion", {**where, "context": {"triggerKind": 2}})

    def answer(self) -> list[Any]:
        while (heard := self.receive()).get("id") != "ask":
            if heard.get("method") == "window/showMessage":
                self.told.append(heard["params"]["message"])
        return list(heard["result"]["items"])

    def completions(self) -> list[Any]:
        self.ask()
        return self.answer()

    def end(self) -> None:
        assert self.request("shutdown", None)["result"] is None
        self.notify("exit", None)
        assert self.process.wait(PATIENCE_S) == 0


@contextmanager
def serving(folder: Path, fault: str = "", **options: Any) -> Iterator[Client]:
    """A server with a model of its own and a fault, that ends as it should."""
    shutil.copytree(SMALL, folder, dirs_exist_ok=True)
    with Client(command=[sys.executable, "-c", SERVER.format(fault=fault)]) as client:
        client.start(model=str(folder), **options)
        yield client
        client.end()


@pytest.mark.parametrize("loss", ["cut off", "gone", "another"])
def test_a_model_that_is_loaded_needs_its_files_no_more(loss: str, tmp_path: Path) -> None:
    with serving(tmp_path / "model") as client:
        assert client.completions()
        weights = tmp_path / "model" / WEIGHTS
        if loss == "cut off":
            os.truncate(weights, 0)
        elif loss == "gone":
            shutil.rmtree(tmp_path / "model")
        else:
            weights.write_bytes(b"x" * weights.stat().st_size)
        assert client.completions()
        assert client.told == []


SHRINK = """
import os
from diffusion.model import card
weights = card.weights
def shrink(stored, config, path):
    found = weights(stored, config, path)
    os.truncate(path / "model.safetensors", 100_000)  # what is in it was checked just now
    return found
card.weights = shrink
"""


def test_a_model_that_shrinks_while_it_is_loaded_is_an_error(tmp_path: Path) -> None:
    with serving(tmp_path / "model", SHRINK) as client:
        assert client.completions() == []
        assert client.completions() == []
        (told,) = client.told
        assert "cannot be loaded" in told and "has become shorter while it was read" in told


RAISE = """
from {module} import {owner}
work, calls = {owner}.{name}, []
class PanicException(BaseException): pass
def fail(*arguments, **named):
    calls.append(1)
    if len(calls) <= {times}:
        raise {error}("of a library")
    return work(*arguments, **named)
{owner}.{name} = fail
"""


@needs_native
def test_a_native_library_that_raises_fails_one_completion(tmp_path: Path) -> None:
    fault = RAISE.format(module="cuda_ext.native", owner="NativeModel", name="encode", times=1, error="ValueError")
    with serving(tmp_path / "model", fault) as client:
        assert client.completions() == []
        assert client.told == ["Mezzotint: Completion failed: ValueError; see the server's log."]
        assert client.completions()


TOKENIZER = {"module": "diffusion.tokenizer", "owner": "Tokenizer", "name": "encode", "error": "PanicException"}


def test_a_tokenizer_that_panics_fails_one_completion_and_the_model_is_loaded_again(tmp_path: Path) -> None:
    with serving(tmp_path / "model", RAISE.format(**TOKENIZER, times=1)) as client:
        assert client.completions() == []
        assert client.told == ["Mezzotint: The model thread has ended: PanicException; see the server's log."]
        assert client.completions()


def test_a_model_thread_that_keeps_dying_is_left_and_the_server_goes_on(tmp_path: Path) -> None:
    with serving(tmp_path / "model", RAISE.format(**TOKENIZER, times=MAX_DEATHS)) as client:
        for _ in range(MAX_DEATHS + 2):
            assert client.completions() == []
        assert "requests" in client.request("mezzotint/stats", None)["result"]
        assert client.told == [
            "Mezzotint: The model thread has ended: PanicException; see the server's log.",
            "Mezzotint: The model thread has ended; see the server's log.",
        ]


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs POSIX signals")
def test_a_process_that_was_stopped_answers_when_it_goes_on(script: Script) -> None:
    script.says(sharpens("name = ", VALUE))
    with Client(options=script.options) as client:
        client.start(deadlineMs=0)
        assert client.completions()
        client.process.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(client.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        change = {"range": {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 0}}, "text": "#\n#"}
        for version in range(2, 40):
            named = {"uri": "file:///a.py", "version": version}
            client.notify("textDocument/didChange", {"textDocument": named, "contentChanges": [change]})
            client.notify(
                "textDocument/didChange", {"textDocument": named, "contentChanges": [{"text": "\n\nname = "}]}
            )
        client.ask()
        client.process.send_signal(signal.SIGCONT)
        assert [item["insertText"] for item in client.answer()] == [VALUE]
        assert client.told == []
        client.end()
