"""A real Emacs whose language server asks a model server: drafts, cancelling and the model on this machine instead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import inventory
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from inventory import SIZES  # noqa: E402
from scripts import Script, goes_on, sharpens  # noqa: E402
from service import Service, local  # noqa: E402
from test_emacs import INIT, Emacs, pytestmark, suggested  # noqa: E402, F401

HERE = "here(path)]"  # what the model on this machine says


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Service]:
    (tmp_path / "there").mkdir()
    script = Script(tmp_path / "there")
    script.says(*inventory.RULES, goes_on("slowly = "))
    with local(script.options) as running:
        yield running


@pytest.fixture
def editor(tmp_path: Path, served: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emacs]:
    token = tmp_path / "token"
    token.write_text(served.token)
    token.chmod(0o600)
    remote = f'(:remote "{served.url}" :remoteTokenFile "{token}" :encodeAhead :json-false :draftDelayMs'
    emacs = Emacs(tmp_path, init_text=INIT.replace("(:draftDelayMs", remote))
    Script(tmp_path).says(sharpens("sizes = [os.path.", HERE))
    try:
        emacs.until(lambda: emacs.status() == "idle" and emacs.eval("mezzotint-mode") == "t", "the server")
        yield emacs
    finally:
        emacs.terminal.__exit__()


def test_what_the_model_server_suggests_is_on_screen_and_typing_through_it_asks_nothing(
    editor: Emacs, served: Service
) -> None:
    suggested(editor)
    before = served.count("requests_total")
    assert before >= 1
    editor.type(SIZES[0])
    editor.until(lambda: editor.ghost() == SIZES[1:], "the rest")
    editor.answered()
    assert served.count("requests_total") == before


def test_typing_something_else_stops_the_loop_on_the_replica_within_one_pass(editor: Emacs, served: Service) -> None:
    editor.eval("(goto-char (point-max))")
    editor.type("slowly = ")
    editor.until(lambda: editor.ghost(), "a draft")
    editor.type("~")
    editor.until(lambda: served.count("cancelled_total") >= 1, "the replica to see it")
    assert served.count("most_passes_after_cancel") <= 1
    assert served.count("forward_passes_total") < 500


def test_the_model_on_this_machine_takes_over_while_the_model_server_is_gone(editor: Emacs, served: Service) -> None:
    served.process.kill()
    served.process.wait()
    suggested(editor, text=HERE)
    editor.until(lambda: editor.string("(car (mezzotint--look))") == "warning", "the warning in the mode line")
    assert editor.string("(cdr (mezzotint--look))").endswith("; the model on this machine answers")
