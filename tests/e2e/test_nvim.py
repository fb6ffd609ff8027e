"""The Neovim plugin in a real Neovim: real keys, the real server; what is asserted is extmarks and buffer text."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import inventory
import pynvim
import pytest
from inventory import BODY, SIZES, SOURCE
from scripts import Script, prefixes, sharpens

ROOT = Path(__file__).parents[2]
NVIM = Path(os.environ.get("MEZZOTINT_EDITORS", ROOT / ".editors")) / "bin" / "nvim"
pytestmark = [
    pytest.mark.editors,
    pytest.mark.skipif(not NVIM.exists(), reason="SKIPPED Neovim: not installed (editors/nvim/install.sh)"),
]

PATIENCE_S = 60
INIT = """
vim.g.loaded_python3_provider = 0
vim.o.swapfile = false
vim.opt.rtp:append({plugin!r})
vim.g.shown = {{}}
vim.lsp.config("mezzotint", {{ cmd_env = {{ SET_BY_THE_USER = "1" }} }})
require("mezzotint").setup({{
  cmd = {{ {python!r}, "-m", "lsp_server", "--log-level", "error", {engine} }},
  server = {{ draftDelayMs = {delay}, minConfidencePercent = 0, candidates = 3 }},
}})
"""
RULES = (
    *inventory.RULES,
    sharpens("names = os.", "listdir()", pass_ms=40),
    sharpens("join(", "os.curdir, value", pass_ms=40),
    sharpens("port = 80", "80"),
)


class Neovim:
    """A Neovim that a test types into."""

    def __init__(self, argv: Sequence[str], file: Path) -> None:
        self.file = file
        self.nvim = pynvim.attach("child", argv=[*argv, "-n", "--headless", "--embed", str(file)])

    def lua(self, code: str, *args: Any) -> Any:
        return self.nvim.exec_lua(code, *args)

    def type(self, keys: str) -> None:
        self.nvim.input(keys)

    def until(self, what: Callable[[], Any], why: str) -> Any:
        """Wait for something to be true; its value."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if found := what():
                return found
            time.sleep(0.01)
        raise AssertionError(f"waited in vain: {why}; messages: {self.nvim.command_output('messages')}")

    def ghost(self) -> dict[str, Any]:
        """The plugin's own record of what is on screen."""
        return dict(self.lua("return require('mezzotint.ghost').get(0) or vim.empty_dict()"))

    def marks(self) -> list[Any]:
        """The extmarks: the text of each, and the highlights in it."""
        return list(
            self.lua("""
            local found = {}
            local namespace = require("mezzotint.ghost").namespace
            for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, {details = true})) do
              local text, groups = "", {}
              local rows = { mark[4].virt_text, unpack(mark[4].virt_lines or {}) }
              for i, row in ipairs(rows) do
                text = text .. (i > 1 and "\\n" or "")
                for _, piece in ipairs(row) do text = text .. piece[1]; groups[#groups + 1] = piece[2] end
              end
              found[#found + 1] = { text, groups }
            end
            return found""")
        )

    def final(self) -> str:
        """The text of the suggestion once it is the server's answer."""

        def settled() -> str | None:
            ghost, status = self.ghost(), self.status()
            return ghost["text"] if ghost and status.endswith("idle") and not ghost["masked"] else None

        return str(self.until(settled, "a final suggestion"))

    def shows(self, text: str) -> None:
        """Wait for a suggestion that is the server's answer."""
        self.until(lambda: self.ghost() and self.final() == text, f"the suggestion {text!r}")

    def answered(self) -> None:
        """Wait until the server has answered all that was asked."""
        self.until(lambda: self.lua("return vim.tbl_isempty(require('mezzotint.client').get().requests)"), "answers")

    def n_requests(self) -> int:
        """Completions that the server was asked for, the last one included."""
        return int(self.stats()["requests"])

    def stats(self) -> dict[str, Any]:
        """The server's statistics."""
        ask = "require('mezzotint.client').get():request_sync('mezzotint/stats', {}, 60000)"
        return dict(self.lua(f"return {ask}.result"))

    def status(self) -> str:
        return str(self.lua("return require('mezzotint').status()"))

    def text(self) -> str:
        return "\n".join(self.nvim.current.buffer[:]) + "\n"

    def ready(self) -> None:
        self.until(lambda: self.status().endswith("idle"), "the server")

    def server_pid(self) -> int:
        found = subprocess.run(["pgrep", "-P", str(self.lua("return vim.fn.getpid()"))], capture_output=True, text=True)
        return int((found.stdout.split() or ["0"])[0])

    def close(self) -> None:
        with contextlib.suppress(OSError, EOFError):  # it ends without an answer
            self.nvim.command("qa!")
        self.nvim.close()


def started(folder: Path, init: str, text: str = SOURCE) -> Neovim:
    """A Neovim with this configuration and a file of this text, whose scripted server says RULES."""
    Script(folder).says(*RULES)
    (folder / "inventory.py").write_text(text)
    (folder / "init.lua").write_text(init)
    env = {f"XDG_{kind}_HOME": str(folder / kind.lower()) for kind in ("STATE", "CACHE", "DATA", "CONFIG")}
    os.environ.update(env, PYTHONPATH=str(ROOT))
    return Neovim([str(NVIM), "--clean", "-u", str(folder / "init.lua")], folder / "inventory.py")


def init(folder: Path, delay: int = 0, engine: str = "script") -> str:
    """The user's configuration, of a server that says RULES or, with another engine, what the model says."""
    engine = ", ".join(map(json.dumps, Script(folder).options)) if engine == "script" else ""
    return INIT.format(plugin=str(ROOT / "editors" / "nvim"), python=sys.executable, delay=delay, engine=engine)


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[Neovim]:
    neovim = started(tmp_path, init(tmp_path))
    try:
        neovim.ready()
        yield neovim
    finally:
        neovim.close()


def suggested(editor: Neovim, line: str = "sizes = [os.path.", text: str = SIZES) -> str:
    """Type a new last line; the suggestion behind it, once it is there."""
    editor.type("Go" + line)
    editor.shows(text)
    return text


def test_drafts_sharpen_on_screen_until_the_final_text(editor: Neovim) -> None:
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
    final, half = suggested(editor), len(SIZES) // 2
    drafts = editor.lua("return vim.g.drafts")
    assert drafts[:2] == [[final, [[0, len(final)]]], [final, [[half, len(final)]]]]
    assert [final, []] in drafts and all(draft == [final, []] for draft in drafts[2:])
    assert editor.marks() == [[final, ["MezzotintGhost"]]]


def test_where_the_cursor_rests_is_read_before_the_first_key(editor: Neovim, tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    Script(tmp_path).says(*RULES, prepared=str(prepared))
    editor.type("ggjj0")
    seen = "".join(SOURCE.splitlines(keepends=True)[:2])
    editor.until(lambda: seen in prefixes(prepared), "what stands at the cursor")
    assert editor.n_requests() == 0


def test_accepting_all_puts_the_text_there_and_undo_takes_it_away(editor: Neovim) -> None:
    final = suggested(editor)
    before = editor.text()
    editor.type("<Tab>")
    editor.until(lambda: editor.text() != before, "the accepted text")
    assert editor.text() == before[:-1] + final + "\n"
    editor.type("<Esc>u")
    editor.until(lambda: editor.text() == before, "the undone text")


def test_accepting_by_word_and_by_line_leaves_the_rest_on_screen(editor: Neovim) -> None:
    final = suggested(editor)
    before = editor.text()
    editor.type("<M-Right>")
    editor.until(lambda: editor.text() == before[:-1] + "getsize\n", "the accepted word")
    editor.until(lambda: editor.ghost().get("text") == final.removeprefix("getsize"), "the rest")
    editor.type("<M-Down>")
    editor.until(lambda: editor.text() == before[:-1] + final + "\n", "the accepted line")


def test_after_a_word_is_accepted_the_rest_needs_no_forward_pass_with_text_to_the_right(editor: Neovim) -> None:
    editor.type("Gojoin()<Left>")
    editor.shows("os.curdir, value)")
    before, text = editor.stats(), editor.text()
    for word, rest in (("os", ".curdir, value)"), (".", "curdir, value)"), ("curdir", ", value)")):
        editor.type("<M-Right>")
        editor.shows(rest)
        editor.answered()
        text = text.removesuffix(")\n") + word + ")\n"
        assert editor.text() == text
    assert editor.stats()["forwardPasses"] == before["forwardPasses"]
    assert editor.stats()["requests"] > before["requests"]


@pytest.mark.parametrize(
    ("text", "line_end"),
    [(SOURCE.replace("\n", "\r\n"), "\r\n"), (SOURCE.replace("\n", "\r\n", 1), "\n")],
    ids=["CRLF", "mixed"],
)
def test_an_accepted_text_gets_the_line_ends_with_which_neovim_writes_the_file(
    text: str, line_end: str, tmp_path: Path
) -> None:
    """A file of mixed line ends is one of LF for Neovim: what was there stays as it was."""
    editor = started(tmp_path, init(tmp_path), text)
    try:
        editor.ready()
        editor.type("Godef main():<CR>")
        editor.shows(BODY)
        editor.type("<Tab>")
        editor.until(lambda: editor.text().endswith(BODY + "\n"), "the accepted text")
        editor.nvim.command("write")
        assert editor.file.read_bytes().decode() == text + f"def main():\n    {BODY}\n".replace("\n", line_end)
    finally:
        editor.close()


def test_a_key_asks_by_hand_where_nothing_is_suggested(editor: Neovim) -> None:
    editor.type("Goport = 80")
    editor.until(lambda: editor.text().endswith("port = 80\n"), "the typed line")
    editor.answered()
    assert editor.ghost() == {}
    editor.type("<M-\\>")
    editor.shows("80")


def test_typing_what_the_suggestion_says_never_takes_it_off_the_screen(editor: Neovim) -> None:
    final = suggested(editor)
    editor.lua("""
        local ghost = require("mezzotint.ghost")
        vim.g.cleared = 0
        local clear = ghost.clear
        ghost.clear = function(buffer) vim.g.cleared = vim.g.cleared + 1; clear(buffer) end""")
    for n in range(1, 4):
        editor.type(final[n - 1].replace("<", "<lt>"))
        editor.until(lambda n=n: editor.ghost().get("text") == final[n:], f"{n} characters typed through")  # type: ignore[misc]
    editor.answered()
    assert editor.ghost()["text"] == final[3:]
    assert editor.lua("return vim.g.cleared") == 0


def test_typing_something_else_takes_the_suggestion_away(editor: Neovim) -> None:
    suggested(editor)
    editor.type("~")
    editor.until(lambda: editor.text().endswith("~\n") and not editor.ghost(), "the old suggestion to go")
    editor.answered()
    assert editor.marks() == []


def test_cycling_goes_round_the_candidates(editor: Neovim) -> None:
    suggested(editor, "x = os.", "curdir")
    for key, text in (("<M-]>", "sep"), ("<M-[>", "curdir"), ("<M-[>", "name"), ("<M-]>", "curdir")):
        editor.type(key)
        editor.until(lambda text=text: editor.ghost().get("text") == text, text)  # type: ignore[misc]
    assert list(editor.ghost()["items"]) == ["curdir", "sep", "name"]


def test_dismissing_takes_it_away_and_keys_then_do_what_they_did(editor: Neovim) -> None:
    suggested(editor)
    editor.type("<C-]>")
    editor.until(lambda: not editor.marks(), "the dismissed suggestion to go")
    before = editor.text()
    editor.type("<Tab>")
    editor.until(lambda: editor.text() != before, "an ordinary tab")
    assert editor.text().rstrip() == before.rstrip()


def test_leaving_insert_mode_takes_it_away(editor: Neovim) -> None:
    suggested(editor)
    editor.type("<Esc>")
    editor.until(lambda: not editor.marks(), "the suggestion to go")


@pytest.mark.parametrize("keys", ["<C-c>", "<F2>", "<C-o>:split<CR>", "<C-o><C-w>w", "<C-o>:enew!<CR>"])
def test_no_way_out_leaves_ghost_text_behind(editor: Neovim, keys: str) -> None:
    """zbirenbaum/copilot.lua #179, #268, #482, saghen/blink.cmp #1581, codota/tabnine-nvim #45."""
    editor.nvim.command("imap <F2> <Esc>:wa<CR>")
    editor.nvim.command("set hidden | split | wincmd w")
    suggested(editor)
    buffer = editor.nvim.current.buffer.number
    editor.type(keys)
    left = "return vim.api.nvim_buf_get_extmarks(..., require('mezzotint.ghost').namespace, 0, -1, {})"
    editor.until(lambda: not editor.lua(left, buffer), "the ghost text to go")


def test_moving_the_cursor_in_insert_mode_asks_nothing(editor: Neovim) -> None:
    """saghen/blink.cmp #1425."""
    editor.type("Go")
    editor.answered()
    asked = editor.n_requests()
    editor.type("<Up><Left><Left><Right><Down>")
    editor.answered()
    assert editor.n_requests() == asked
    assert editor.marks() == []


def test_typing_all_of_a_suggestion_leaves_just_that(editor: Neovim) -> None:
    """copilot-emacs/copilot.el #133: the last character came once more."""
    final = suggested(editor)
    line = editor.nvim.current.line
    for char in final:
        editor.type("<lt>" if char == "<" else char)
    editor.until(lambda: editor.nvim.current.line == line + final, "the typed text")
    editor.answered()
    assert editor.nvim.current.line == line + final
    assert editor.marks() == []


def test_the_users_own_mapping_is_used_where_nothing_is_suggested(tmp_path: Path) -> None:
    editor = started(tmp_path, 'vim.keymap.set("i", "<Tab>", "own")\n' + init(tmp_path))
    try:
        editor.ready()
        editor.type("Go# <Tab>.")
        editor.until(lambda: editor.text().endswith("# own.\n"), "the user's mapping")
    finally:
        editor.close()


@pytest.mark.parametrize(
    ("mapping", "typed"),
    [
        (
            'vim.keymap.set("i", "<Tab>", "<Plug>(own)", { remap = true }) vim.keymap.set("i", "<Plug>(own)", "own")',
            "own",
        ),
        ('vim.keymap.set("i", "<Tab>", function() return "o<Space>n" end, { expr = true })', "o n"),
        ('vim.keymap.set("i", "<Tab>", [["o" . "wn"]], { expr = true })', "own"),
        ("", "   "),  # Neovim's own mapping, which jumps in snippets
    ],
)
def test_every_kind_of_mapping_does_what_it_did_while_nothing_is_suggested(
    mapping: str, typed: str, tmp_path: Path
) -> None:
    editor = started(tmp_path, mapping + "\n" + init(tmp_path))
    try:
        editor.ready()
        editor.nvim.command("Mezzotint toggle")  # the keys stay, and nothing is suggested
        editor.type("Go#<Tab>.")
        editor.until(lambda: editor.text().endswith(".\n"), "what was typed")
        assert editor.text().endswith(f"#{typed}.\n")
    finally:
        editor.close()


def test_a_server_that_cannot_be_run_is_said_once_and_in_the_status(tmp_path: Path) -> None:
    own = init(tmp_path).replace(repr(sys.executable), '"no-such-program"')
    editor = started(tmp_path, own)
    try:
        editor.until(lambda: editor.status() == "mezzotint: error (cannot run no-such-program)", "the reason")
        editor.nvim.command("edit! other.py")
        assert editor.nvim.command_output("messages").count("no-such-program") == 1
        editor.type("ix")
        editor.until(lambda: editor.text() == "x\n", "typing to work")
    finally:
        editor.close()


def test_a_plugin_that_is_loaded_late_finds_the_open_file(tmp_path: Path) -> None:
    append, rest = init(tmp_path).split("vim.g.shown", 1)
    late = append.replace("vim.opt.rtp", "-- vim.opt.rtp")
    editor = started(tmp_path, late)
    try:
        editor.lua(f"vim.opt.rtp:append({str(ROOT / 'editors' / 'nvim')!r}); vim.g.shown{rest}")
        editor.nvim.command("runtime plugin/mezzotint.lua")
        editor.ready()
    finally:
        editor.close()


def test_the_status_says_why_nothing_is_offered_in_this_buffer(editor: Neovim) -> None:
    editor.type("Go# a note")
    editor.until(lambda: "comments are completed when asked by hand only" in editor.status(), "the reason")
    assert editor.status().startswith("mezzotint: off (")
    editor.nvim.command("stopinsert")
    editor.nvim.command("hide edit other.py")
    assert editor.status() == "mezzotint: idle"


def test_a_snooze_takes_suggestions_away_and_ends(editor: Neovim) -> None:
    suggested(editor)
    editor.nvim.command("Mezzotint snooze 5")
    editor.until(lambda: "paused until" in editor.status(), "the pause")
    assert editor.marks() == []
    editor.type("x<BS>")
    editor.until(lambda: editor.text().endswith("os.path.\n"), "the typed text")
    editor.answered()
    assert editor.marks() == []
    editor.nvim.command("Mezzotint snooze 0")
    editor.ready()
    editor.type("x<BS>")
    editor.shows(SIZES)


def test_settings_change_while_the_server_runs(editor: Neovim) -> None:
    suggested(editor)
    pid = editor.server_pid()
    change = "require('mezzotint.client').get():notify('workspace/didChangeConfiguration', {settings = ...})"
    editor.lua(change, {"mezzotint": {"disabledLanguages": ["python"]}})
    editor.type("x<BS>")
    editor.until(lambda: "language 'python' is disabled" in editor.status(), "the reason")
    editor.lua(change, {"mezzotint": {}})
    editor.type("x<BS>")
    editor.shows(SIZES)
    assert editor.server_pid() == pid


def test_no_ghost_text_while_the_popup_menu_is_open(editor: Neovim) -> None:
    suggested(editor)
    editor.type("<C-n>")
    editor.until(lambda: editor.nvim.funcs.pumvisible(), "the popup menu")
    assert editor.marks() == []


def test_a_killed_server_leaves_the_editor_usable_and_comes_back(tmp_path: Path) -> None:
    editor = started(tmp_path, init(tmp_path))
    try:
        editor.ready()
        editor.type("Gototal = sum(")
        editor.until(editor.marks, "a draft")
        os.kill(editor.server_pid(), signal.SIGKILL)
        editor.until(lambda: not editor.marks(), "the ghost text to go")
        assert "error" in editor.status()
        editor.type("x")
        editor.until(lambda: "x\n" in editor.text(), "typing to work")
        editor.until(lambda: editor.status().endswith("idle"), "the server to come back")
        editor.type("<Esc>Gonames = os.")
        editor.shows("listdir()")
        assert "Traceback" not in editor.nvim.command_output("messages")
        assert editor.nvim.command_output("messages").count("\n") <= 3
    finally:
        editor.close()


def test_what_the_user_set_by_lsp_config_reaches_the_client(editor: Neovim) -> None:
    config = "return vim.lsp.get_clients({name = 'mezzotint'})[1].config"
    assert editor.lua(f"{config}.cmd_env.SET_BY_THE_USER") == "1"
    assert editor.lua(f"{config}.init_options.minConfidencePercent") == 0


def test_restart_and_disable(editor: Neovim) -> None:
    pid = editor.server_pid()
    editor.nvim.command("Mezzotint restart")
    editor.until(lambda: editor.status().endswith("idle") and editor.server_pid() not in (0, pid), "another server")
    suggested(editor)
    editor.type("<Esc>")
    editor.nvim.command("Mezzotint disable")
    editor.until(lambda: not editor.lua("return #vim.lsp.get_clients({name = 'mezzotint'})"), "the client to end")
    assert editor.marks() == []
    assert editor.status() == "mezzotint: off"
    mapping = editor.nvim.funcs.maparg("<Tab>", "i", False, True)
    assert "Mezzotint" not in (mapping.get("desc", "") if mapping else "")


def test_a_buffer_can_be_switched_off(editor: Neovim) -> None:
    editor.nvim.command("Mezzotint toggle")
    asked = editor.n_requests()
    editor.type("Gonames = os.")
    editor.until(lambda: editor.text().endswith("names = os.\n"), "what was typed")
    assert editor.n_requests() == asked
    assert editor.marks() == []
    assert editor.status() == "mezzotint: off"


def test_checkhealth_finds_everything(editor: Neovim) -> None:
    editor.nvim.command("checkhealth mezzotint")
    report = "\n".join(editor.nvim.current.buffer[:])
    assert "ERROR" not in report
    assert "positions in utf-8" in report


def test_the_plugin_by_itself(tmp_path: Path) -> None:
    """The tests in Lua."""
    homes = {f"XDG_{kind}_HOME": str(tmp_path / kind.lower()) for kind in ("STATE", "CACHE", "DATA", "CONFIG")}
    run = [NVIM, "--clean", "-l", ROOT / "editors/nvim/test/logic.lua"]
    done = subprocess.run(run, env={**os.environ, **homes}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " tests, 0 failed" in done.stdout + done.stderr


NATIVE = """
vim.o.swapfile = false
vim.g.loaded_python3_provider = 0
vim.lsp.config("mezzotint", {{
  cmd = {{ {python!r}, "-m", "lsp_server", "--log-level", "error", {engine} }},
  filetypes = {{ "python" }},
  init_options = {{ minConfidencePercent = 0 }},
}})
vim.lsp.enable("mezzotint")
vim.lsp.inline_completion.enable(true)
"""


def test_neovims_own_inline_completion_works_without_the_plugin(tmp_path: Path) -> None:
    engine = ", ".join(map(json.dumps, Script(tmp_path).options))
    editor = started(tmp_path, NATIVE.format(python=sys.executable, engine=engine))
    try:
        ready = "local c = vim.lsp.get_clients({bufnr = 0})[1]; return c ~= nil and c.initialized"
        editor.until(lambda: editor.lua(ready), "the client")
        after = editor.text()[:-1] + "\nsizes = [os.path." + SIZES + "\n"
        editor.type("Gosizes = [os.path.")
        accepted = "return vim.lsp.inline_completion.get()"
        editor.until(lambda: editor.lua(accepted), "a suggestion to accept")
        editor.until(lambda: editor.text() == after, "the accepted text")
    finally:
        editor.close()


@pytest.mark.skipif(not os.environ.get("MEZZOTINT_PICTURES"), reason="pictures are taken with MEZZOTINT_PICTURES=docs")
@pytest.mark.skipif(not shutil.which("tmux"), reason="SKIPPED pictures: no tmux")
def test_pictures(tmp_path: Path) -> None:
    from terminal_picture import Terminal

    status_line = "vim.o.laststatus = 2\nvim.o.statusline = \"%f %=%{v:lua.require'mezzotint'.status()}\"\n"
    (tmp_path / "init.lua").write_text(init(tmp_path, delay=700, engine="model") + status_line)
    (tmp_path / "inventory.py").write_text(SOURCE)
    here = f"{tmp_path}/nvim.sock"  # an editor, and a terminal for it: unpacked, Neovim cannot start its own
    edit = f"{NVIM} --clean -n --headless --listen {here} -u {tmp_path}/init.lua {tmp_path}/inventory.py"
    command = f"{edit} & sleep 1; {NVIM} --server {here} --remote-ui; wait"
    with Terminal(command, tmp_path, {"PYTHONPATH": str(ROOT)}) as terminal:
        terminal.until("idle")
        terminal.keys("G", "o", "def total(values):", "Enter", "    ")
        terminal.until("denoising")
        time.sleep(1.6)
        folder = ROOT / os.environ["MEZZOTINT_PICTURES"]
        terminal.picture(folder / "nvim-draft.svg", "Neovim: an early draft")
        terminal.until("idle")
        terminal.picture(folder / "nvim-final.svg", "Neovim: the suggestion")
