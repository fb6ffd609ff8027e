"""The Emacs package in a real Emacs in a terminal: real keys, the real server, overlays and buffer text."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import inventory
import pytest
from inventory import BODY, SIZES, SOURCE
from scripts import Script, prefixes, sharpens
from terminal_picture import Terminal

ROOT = Path(__file__).parents[2]
EMACS = Path(os.environ.get("MEZZOTINT_EDITORS", ROOT / ".editors")) / "bin" / "emacs"
PACKAGE = ROOT / "editors" / "emacs" / "mezzotint.el"
pytestmark = [
    pytest.mark.editors,
    pytest.mark.skipif(not EMACS.exists(), reason="SKIPPED Emacs: not installed (editors/emacs/install.sh)"),
    pytest.mark.skipif(not shutil.which("tmux"), reason="SKIPPED Emacs: no tmux to run it in"),
]

PATIENCE_S = 60
RULES = (*inventory.RULES, sharpens("sizes = os.", "listdir()", pass_ms=40))
INIT = """;; -*- lexical-binding: t -*-
(setq make-backup-files nil create-lockfiles nil auto-save-default nil inhibit-startup-screen t
      eglot-sync-connect 30 python-indent-guess-indent-offset nil)
(load {package} nil t)
(setq mezzotint-command '({python} "-m" "lsp_server" "--log-level" "error" {engine})
      mezzotint-server-options '(:draftDelayMs {delay} :minConfidencePercent 0 :candidates 3))
(mezzotint-use-for '(python-mode python-ts-mode))
(add-hook 'python-mode-hook #'eglot-ensure)
(make-network-process
 :name "probe" :server t :family 'local :service {socket}
 :filter (lambda (process text)
           (process-send-string
            process (condition-case problem
                        (with-current-buffer (window-buffer) (format "%S" (eval (read text) t)))
                      (error (format "%S" (list 'error problem)))))
           (delete-process process)))
"""


class Emacs:
    """An Emacs that a test types into, and looks into."""

    def __init__(
        self, folder: Path, delay: int = 0, init_text: str = INIT, engine: str = "script", text: str = SOURCE
    ) -> None:
        """Start with a server that says RULES or, with another engine, what the model says."""
        script = Script(folder)
        script.says(*RULES)
        self.socket = str(folder / "probe")
        init = folder / "init.el"
        names = {"package": PACKAGE, "python": sys.executable, "socket": self.socket}
        values = {name: json.dumps(str(value)) for name, value in names.items()}
        engine = " ".join(map(json.dumps, script.options)) if engine == "script" else ""
        init.write_text(init_text.format(delay=delay, engine=engine, **values))
        (folder / "inventory.py").write_text(text)
        command = f"{EMACS} -nw -Q -l {init} {folder}/inventory.py"
        self.terminal = Terminal(command, folder, {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"})

    def eval(self, code: str) -> str:
        """The printed value of an expression in the window's buffer."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(PATIENCE_S)
            probe.connect(self.socket)
            probe.sendall(code.encode())
            found = b""
            while piece := probe.recv(65536):
                found += piece
        return found.decode()

    def string(self, code: str) -> str:
        """The value of an expression that is a string; "" for nil."""
        printed = self.eval(f'(let ((v {code})) (if v (mapconcat (lambda (c) (format "%x" c)) v " ") ""))')
        return "".join(chr(int(code, 16)) for code in printed.strip('"').split())

    def until(self, what: Callable[[], Any], why: str) -> Any:
        """Wait for something to be true; its value."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                if found := what():
                    return found
            except (FileNotFoundError, ConnectionError):
                pass
            time.sleep(0.02)
        raise AssertionError(f"waited in vain: {why}\n{self.terminal.text()}")

    def type(self, *keys: str) -> None:
        self.terminal.keys(*keys)

    def text(self) -> str:
        return self.string("(buffer-substring-no-properties 1 (point-max))")

    def ghost(self) -> str:
        """The overlay's text as it is on screen."""
        return self.string(
            "(and mezzotint--overlay (overlay-buffer mezzotint--overlay)"
            " (substring-no-properties (overlay-get mezzotint--overlay 'after-string)))"
        )

    def status(self) -> str:
        return self.string("(car mezzotint--status)")

    def final(self) -> str:
        def settled() -> str:
            quiet = self.status() == "idle" and self.eval("(mezzotint--suggestion-masked mezzotint--shown)") == "nil"
            return self.ghost() if quiet else ""

        return str(self.until(settled, "a final suggestion"))

    def shows(self, text: str) -> None:
        """Wait for a suggestion that is the server's answer."""
        self.until(lambda: self.ghost() == text and self.final() == text, f"the suggestion {text!r}")

    def answered(self) -> None:
        """Wait until the server has answered all that was asked."""
        self.until(lambda: self.eval("(jsonrpc-continuation-count (mezzotint--server))") == "0", "answers")

    def server_pid(self) -> int:
        return int(self.eval("(process-id (jsonrpc--process (eglot-current-server)))"))


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[Emacs]:
    emacs = Emacs(tmp_path)
    try:
        emacs.until(lambda: emacs.status() == "idle" and emacs.eval("mezzotint-mode") == "t", "the server")
        yield emacs
    finally:
        emacs.terminal.__exit__()


def suggested(editor: Emacs, line: str = "sizes = [os.path.", text: str = SIZES) -> str:
    """Type a new last line; the suggestion behind it, once it is there."""
    editor.eval("(goto-char (point-max))")
    editor.type(line)
    editor.until(lambda: line in editor.text(), "the typed line")
    editor.shows(text)
    return text


def test_drafts_sharpen_on_screen_until_the_final_text(editor: Emacs) -> None:
    editor.eval("""(progn (defvar seen nil) (advice-add 'mezzotint--draw :after (lambda ()
        (push (mezzotint--suggestion-masked mezzotint--shown) seen))))""")
    final, half = suggested(editor), len(SIZES) // 2
    assert editor.eval("(reverse seen)") == f"(((0 . {len(final)})) (({half} . {len(final)})) nil)"
    assert (
        editor.eval("(get-text-property 0 'face (overlay-get mezzotint--overlay 'after-string))") == "mezzotint-ghost"
    )


def test_where_point_rests_is_read_before_the_first_key(editor: Emacs, tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    Script(tmp_path).says(*RULES, prepared=str(prepared))
    editor.type("C-n", "C-n", "C-f")
    seen = editor.string("(buffer-substring-no-properties 1 (point))")
    editor.until(lambda: seen in prefixes(prepared), "what stands at point")


def test_accepting_all_puts_the_text_there_and_undo_takes_it_away(editor: Emacs) -> None:
    final = suggested(editor)
    before = editor.text()
    editor.type("Tab")
    editor.until(lambda: editor.text() == before + final, "the accepted text")
    editor.type("C-/")
    editor.until(lambda: editor.text() == before, "the undone text")


def test_accepting_by_word_and_by_line_leaves_the_rest_on_screen(editor: Emacs) -> None:
    final = suggested(editor)
    before = editor.text()
    editor.type("M-f")
    editor.until(lambda: editor.text() == before + "getsize", "the accepted word")
    editor.until(lambda: editor.ghost() == final.removeprefix("getsize"), "the rest")
    editor.type("M-Down")
    editor.until(lambda: editor.text() == before + final, "the accepted line")


def test_after_a_word_is_accepted_the_rest_needs_no_forward_pass_with_text_to_the_right(editor: Emacs) -> None:
    editor.eval('(progn (goto-char (point-max)) (save-excursion (insert ")")))')
    passes = "(plist-get (jsonrpc-request (mezzotint--server) :mezzotint/stats nil) :forwardPasses)"
    editor.type("sizes = [os.path.")
    editor.until(lambda: editor.ghost() and editor.final(), "a suggestion")
    before, rest = editor.eval(passes), editor.ghost()
    editor.type("M-f")
    editor.until(lambda: editor.text().endswith("getsize)"), "the accepted word")
    editor.answered()
    assert rest.startswith("getsize") and editor.ghost() == rest.removeprefix("getsize")
    assert editor.eval(passes) == before


def test_an_accepted_text_gets_the_line_ends_of_its_file(tmp_path: Path) -> None:
    text = SOURCE.replace("\n", "\r\n")
    editor = Emacs(tmp_path, text=text)
    try:
        editor.until(lambda: editor.status() == "idle" and editor.eval("mezzotint-mode") == "t", "the server")
        editor.eval("(goto-char (point-max))")
        editor.type("def main():", "Enter")
        editor.shows(BODY)
        editor.type("Tab")
        editor.until(lambda: editor.text().endswith(BODY), "the accepted text")
        editor.eval("(let ((require-final-newline t)) (save-buffer))")
        said = f"def main():\n    {BODY}\n".replace("\n", "\r\n")
        assert (tmp_path / "inventory.py").read_bytes().decode() == text + said
    finally:
        editor.terminal.__exit__()


def test_typing_what_the_suggestion_says_never_takes_it_off_the_screen(editor: Emacs) -> None:
    final = suggested(editor)
    editor.eval("(progn (defvar cleared 0) (advice-add 'mezzotint-clear :before (lambda (&rest _) (cl-incf cleared))))")
    for n in range(1, 4):
        editor.type(final[n - 1])
        editor.until(lambda n=n: editor.ghost() == final[n:], f"{n} characters typed through")  # type: ignore[misc]
    editor.answered()
    assert editor.ghost() == final[3:]
    assert editor.eval("cleared") == "0"


def test_typing_something_else_takes_the_suggestion_away(editor: Emacs) -> None:
    suggested(editor)
    editor.type("~")
    editor.until(lambda: editor.text().endswith("~") and not editor.ghost(), "the old suggestion to go")
    editor.answered()
    assert not editor.ghost()


def test_cycling_goes_round_the_candidates(editor: Emacs) -> None:
    suggested(editor, "x = os.", "curdir")
    for key, text in (("M-n", "sep"), ("M-p", "curdir"), ("M-p", "name"), ("M-n", "curdir")):
        editor.type(key)
        editor.until(lambda text=text: editor.ghost() == text, text)  # type: ignore[misc]
    assert editor.eval("(mezzotint--suggestion-items mezzotint--shown)") == '("curdir" "sep" "name")'


def test_dismissing_takes_it_away_and_keys_then_do_what_they_did(editor: Emacs) -> None:
    suggested(editor)
    editor.type("C-g")
    editor.until(lambda: not editor.ghost(), "the dismissed suggestion to go")
    assert editor.eval('(key-binding (kbd "M-n"))') != "mezzotint-next"


def test_moving_away_takes_it_away(editor: Emacs) -> None:
    suggested(editor)
    editor.type("C-a")
    editor.until(lambda: not editor.ghost(), "the suggestion to go")


def test_typing_all_of_a_suggestion_leaves_just_that(editor: Emacs) -> None:
    """copilot-emacs/copilot.el #133: the last character came once more."""
    final = suggested(editor)
    before = editor.text()
    for char in final:
        editor.type(char)
    editor.until(lambda: editor.text() == before + final, "the typed text")
    editor.answered()
    assert editor.text() == before + final
    assert not editor.ghost()


PREVIEW = """(progn
  (setq-local completion-preview-idle-delay nil
              completion-preview-minimum-symbol-length 1
              completion-at-point-functions
              (list (lambda () (list (- (point) 1) (point) '("get_preview")))))
  (completion-preview-mode 1))"""


def test_no_suggestion_stands_beside_emacss_own_preview(editor: Emacs) -> None:
    """copilot-emacs/copilot.el #377: two texts in grey behind the cursor."""
    if editor.eval("(fboundp 'completion-preview-mode)") == "nil":
        pytest.skip("this Emacs has no completion-preview-mode")
    suggested(editor)
    editor.eval(PREVIEW)
    editor.type(SIZES[0])  # our text says it too
    editor.until(lambda: editor.eval("(and completion-preview-active-mode t)") == "t", "Emacs's own preview")
    editor.until(lambda: not editor.ghost(), "the suggestion to give way")
    editor.eval("(completion-preview-mode -1)")
    editor.type(SIZES[1])
    editor.shows(SIZES[2:])


def lighter(editor: Emacs) -> tuple[str, str]:
    """The mode line's word for this buffer, and what the mouse shows."""
    return editor.string("(mezzotint--lighter)"), editor.string("(get-text-property 0 'help-echo (mezzotint--lighter))")


def test_the_mode_line_says_why_nothing_is_offered_in_this_buffer(editor: Emacs) -> None:
    editor.eval("(goto-char (point-max))")
    editor.type("# a note")
    editor.until(lambda: lighter(editor)[0] == " Mz[off]", "the reason")
    assert lighter(editor)[1] == "Mezzotint: comments are completed when asked by hand only"
    editor.eval('(find-file (expand-file-name "other.py"))')
    editor.until(lambda: lighter(editor)[0] == " Mz[idle]", "the other buffer's")


def test_a_snooze_takes_suggestions_away_and_ends(editor: Emacs) -> None:
    suggested(editor)
    editor.eval("(mezzotint-snooze 5)")
    editor.until(lambda: "paused until" in lighter(editor)[1], "the pause")
    assert editor.ghost() == ""
    editor.type("x", "BSpace")
    editor.until(lambda: editor.text().endswith("os.path."), "the typed text")
    editor.answered()
    assert editor.ghost() == ""
    editor.eval("(mezzotint-snooze 0)")
    editor.until(lambda: lighter(editor)[0] == " Mz[idle]", "the end of the pause")
    editor.type("x", "BSpace")
    editor.shows(SIZES)


def test_settings_change_while_the_server_runs(editor: Emacs) -> None:
    suggested(editor)
    pid = editor.server_pid()
    change = "(let ((eglot-workspace-configuration '(:mezzotint {})))" + (
        " (eglot-signal-didChangeConfiguration (eglot-current-server)))"
    )
    editor.eval(change.format('(:disabledLanguages ["python"])'))
    editor.type("x", "BSpace")
    editor.until(lambda: "is disabled" in lighter(editor)[1], "the reason")
    editor.eval(change.format('(:comments "on")'))
    editor.type("x", "BSpace")
    editor.shows(SIZES)
    assert editor.server_pid() == pid


def test_completion_at_point_works_with_eglot_alone(tmp_path: Path) -> None:
    head, _, rest = INIT.partition("(load ")
    server = '{python} "-m" "lsp_server" {engine}'
    alone = f"(require 'eglot)\n(setq eglot-server-programs `((python-mode . ({server}))))\n"
    editor = Emacs(tmp_path, init_text=head + alone + rest[rest.index("(add-hook") :])
    try:
        editor.until(lambda: editor.eval("(and (eglot-current-server) t)") == "t", "the server")
        editor.eval("(goto-char (point-max))")
        editor.type("sizes = os.")
        before = editor.until(lambda: editor.text().endswith("sizes = os.") and editor.text(), "the typed line")
        editor.type("C-M-i")
        editor.until(lambda: editor.text() == before + "listdir()", "the completed text")
        assert editor.eval("(featurep 'mezzotint)") == "nil"
    finally:
        editor.terminal.__exit__()


def test_a_killed_server_leaves_the_editor_usable_and_comes_back(tmp_path: Path) -> None:
    editor = Emacs(tmp_path)
    try:
        editor.until(lambda: editor.status() == "idle" and editor.eval("mezzotint-mode") == "t", "the server")
        editor.eval("(goto-char (point-max))")
        editor.type("total = sum(")
        editor.until(editor.ghost, "a draft")
        os.kill(editor.server_pid(), signal.SIGKILL)
        editor.until(lambda: not editor.ghost(), "the ghost text to go")
        editor.type("x")
        editor.until(lambda: editor.text().endswith("sum(x"), "typing to work")
        editor.until(lambda: editor.eval("(and (mezzotint--server) t)") == "t", "the server to come back")
        editor.type(" + x = os.")
        editor.shows("curdir")
        messages = editor.string('(with-current-buffer "*Messages*" (buffer-string))')
        assert messages.lower().count("error") <= 2, messages
    finally:
        editor.terminal.__exit__()


def test_restart_and_unload(editor: Emacs) -> None:
    pid = editor.server_pid()
    editor.eval("(mezzotint-restart)")
    editor.until(
        lambda: editor.eval("(and (mezzotint--server) t)") == "t" and editor.server_pid() != pid, "another server"
    )
    suggested(editor)
    editor.eval("(mezzotint-mode -1)")
    assert editor.ghost() == ""
    editor.eval("(progn (mezzotint-mode 1) (unload-feature 'mezzotint t))")
    assert editor.eval("(featurep 'mezzotint)") == "nil"
    assert editor.eval("(memq 'mezzotint--emulation emulation-mode-map-alists)") == "nil"


@pytest.mark.parametrize("eglot", ["", "1.12"])
def test_the_package_by_itself(eglot: str) -> None:
    """The tests in Emacs Lisp, also with the names of the eglot that Emacs 29 has."""
    run = ["-L", str(PACKAGE.parent), "-l", "mezzotint-tests", "-f", "ert-run-tests-batch-and-exit"]
    env = {**os.environ, "MEZZOTINT_EGLOT": eglot}
    done = subprocess.run([EMACS, "-Q", "--batch", *run], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("check", ["(setq byte-compile-error-on-warn t)", "checkdoc"])
def test_the_package_is_clean(check: str, tmp_path: Path) -> None:
    file = shutil.copy(PACKAGE, tmp_path)
    run = (
        ["--eval", f'(checkdoc-file "{file}")']
        if check == "checkdoc"
        else ["--eval", check, "-f", "batch-byte-compile", file]
    )
    done = subprocess.run([EMACS, "-Q", "--batch", *run], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr


@pytest.mark.skipif(not os.environ.get("MEZZOTINT_PICTURES"), reason="pictures are taken with MEZZOTINT_PICTURES=docs")
def test_pictures(tmp_path: Path) -> None:
    editor = Emacs(tmp_path, delay=700, engine="model")
    folder = ROOT / os.environ["MEZZOTINT_PICTURES"]
    try:
        editor.until(lambda: editor.status() == "idle" and editor.eval("mezzotint-mode") == "t", "the server")
        editor.eval("(progn (menu-bar-mode -1) (goto-char (point-max)) (message nil))")
        editor.type("total = sum(")
        editor.until(
            lambda: editor.ghost() and editor.eval("(mezzotint--suggestion-masked mezzotint--shown)") != "nil",
            "a draft",
        )
        time.sleep(1.0)
        editor.terminal.picture(folder / "emacs-draft.svg", "Emacs: an early draft")
        editor.final()
        editor.terminal.picture(folder / "emacs-final.svg", "Emacs: the suggestion")
    finally:
        editor.terminal.__exit__()
