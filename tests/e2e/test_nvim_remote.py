"""A real Neovim whose language server asks a model server: what is pleasant with the local model is so here."""

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
from test_nvim import Neovim, init, pytestmark, started  # noqa: E402, F401

HERE = "here(path)]"  # what the model on this machine says
RULES = (*inventory.RULES, goes_on("slowly = "))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Service]:
    (tmp_path / "there").mkdir()
    script = Script(tmp_path / "there")
    script.says(*RULES)
    with local(script.options) as running:
        yield running


@pytest.fixture
def editor(tmp_path: Path, served: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Neovim]:
    monkeypatch.setenv("MEZZOTINT_REMOTE_TOKEN", served.token)
    remote = f'server = {{ remote = "{served.url}", encodeAhead = false,'
    neovim = started(tmp_path, init(tmp_path).replace("server = {", remote))
    Script(tmp_path).says(sharpens("sizes = [os.path.", HERE))
    try:
        neovim.until(lambda: "idle" in neovim.status(), "the server")
        yield neovim
    finally:
        neovim.close()


def shows(editor: Neovim, text: str) -> None:
    editor.until(lambda: editor.ghost().get("text") == text and not editor.ghost()["masked"], text)


def begun(editor: Neovim) -> None:
    """Type a new last line; what the model server suggests, once it is there."""
    editor.type("Gosizes = [os.path.")
    shows(editor, SIZES)
    editor.answered()


def test_drafts_of_the_model_server_sharpen_on_screen_and_the_status_says_who_answered(editor: Neovim) -> None:
    editor.lua("""
        local ghost = require("mezzotint.ghost")
        vim.g.drafts = {}
        local show = ghost.show
        ghost.show = function(buffer, one)
          show(buffer, one)
          local drafts = vim.g.drafts
          drafts[#drafts + 1] = { one.text, one.masked }
          vim.g.drafts = drafts
        end""")
    begun(editor)
    half = len(SIZES) // 2
    assert editor.lua("return vim.g.drafts")[:2] == [[SIZES, [[0, len(SIZES)]]], [SIZES, [[half, len(SIZES)]]]]
    assert editor.marks() == [[SIZES, ["MezzotintGhost"]]]
    editor.until(lambda: editor.status() == "mezzotint: idle (answered by 127.0.0.1)", "who answered")


def test_typing_something_else_stops_the_loop_on_the_replica_within_one_pass(editor: Neovim, served: Service) -> None:
    editor.type("Goslowly = ")
    editor.until(lambda: editor.ghost(), "a draft")
    editor.type("~")
    editor.until(lambda: served.count("cancelled_total") >= 1, "the replica to see it")
    assert served.count("most_passes_after_cancel") <= 1
    assert served.count("forward_passes_total") < 500


def test_typing_through_and_accepting_by_word_and_by_line_ask_the_model_server_nothing(
    editor: Neovim, served: Service
) -> None:
    begun(editor)
    before, text = served.count("requests_total"), editor.text()
    editor.type(SIZES[0])
    shows(editor, SIZES[1:])
    editor.type("<M-Right>")
    shows(editor, SIZES.removeprefix("getsize"))
    assert editor.text() == text[:-1] + "getsize\n"
    editor.answered()
    assert served.count("requests_total") == before
    editor.type("<M-Down>")
    editor.until(lambda: editor.text() == text[:-1] + SIZES + "\n", "the accepted line")


def test_the_model_on_this_machine_takes_over_while_the_model_server_is_gone(editor: Neovim, served: Service) -> None:
    served.process.kill()
    served.process.wait()
    editor.type("Gosizes = [os.path.")
    shows(editor, HERE)
    editor.until(lambda: editor.status().startswith("mezzotint: warning (127.0.0.1: "), "the warning")
    assert editor.status().endswith("; the model on this machine answers)")
    assert editor.nvim.command_output("messages") == ""


def test_a_model_server_that_dies_while_drafts_are_on_screen_leaves_no_error(editor: Neovim, served: Service) -> None:
    editor.type("Goslowly = ")
    editor.until(lambda: editor.ghost(), "a draft")
    served.process.kill()
    editor.answered()
    assert editor.nvim.command_output("messages") == ""
