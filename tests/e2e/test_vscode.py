"""The extension in a real VS Code: drafts, ghost text, keys, the popup, a dying server."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripts import prefixes, rule, sharpens
from vscode import ACCEPT_LINE, ASKED, EXTENSION, ROOT, Code, Seen, missing, server_command, vscode

pytestmark = pytest.mark.editors

EDITORS = Path(os.environ.get("MEZZOTINT_EDITORS", ROOT / ".editors"))
PICTURES = os.environ.get("MEZZOTINT_PICTURES", "")
DEMO = (ROOT / "docs/demo.py").read_text()
LINE, COLUMN = 11, 14  # "        self." in the demo
WHOLE = DEMO.replace("self.\n", "self.currency = currency\n").replace("for item in \n", "for item in self.items:\n")
MAIN = WHOLE + "\n\ndef main():\n"
SELF, SECOND = "currency = currency", "total = 0"
BODY = ('cart = Cart("Ann")', "print(cart.total())")
SLOW = sharpens("self.", SELF, pass_ms=600)  # to press a key while a draft is on screen
RULES = (
    sharpens("self.", SELF, pass_ms=60),
    rule("self.", [[SECOND, 0.8]], candidate=1),
    sharpens("self.t", SECOND[1:], pass_ms=60),
    sharpens("def main():\n    ", "\n    ".join(BODY), pass_ms=60),
)
NEXT_WORD, BY_HAND = "Control+ArrowRight", "Alt+Backslash"
NEXT_CANDIDATE, PREVIOUS_CANDIDATE = "Alt+BracketRight", "Alt+BracketLeft"
ACCEPTED = "Notification 'mezzotint/didAccept'"
CHANGED = "workspace/didChangeConfiguration"
STILL_MS = 300  # of a screen that shows the server's last answer


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Code]:
    """VS Code with a file of its own for every test."""
    if why := missing(EDITORS):
        pytest.skip(f"SKIPPED VS Code: {why}")
    files = {f"{item.name}.py": DEMO for item in request.session.items}
    files |= {
        "first.py": DEMO,
        "main.py": MAIN,
        "crlf.py": MAIN.replace("\n", "\r\n"),
        "lines.py": MAIN,
        "draft.py": MAIN,
        "notes.txt": "one two three\n",
        "cells.ipynb": notebook("import os\nnames = os.listdir()", "print(names)\nvalue = "),
    }
    with vscode(EDITORS, tmp_path_factory.mktemp("vscode"), files) as one:
        one.script.says(*RULES)
        one.ready()
        one.open("first.py", LINE, COLUMN)
        asks(one)
        yield one


def notebook(*cells: str) -> str:
    """A notebook with code cells, as Jupyter writes it."""
    kept = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    language = {"language_info": {"name": "python"}}
    return json.dumps(
        {
            "cells": [{**kept, "source": cell} for cell in cells],
            "metadata": language,
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )


def asks(code: Code) -> None:
    """Wait until VS Code asks for inline completions: it loads what does when it has been idle."""
    for _ in range(60):
        code.press("Backspace")
        code.type(".")
        with contextlib.suppress(AssertionError):
            code.until(lambda seen: seen["ghost"], 1)
            break
    code.press("Escape")
    assert code.text("first.py") == DEMO


@pytest.fixture
def name(code: Code, request: pytest.FixtureRequest) -> Iterator[str]:
    """A file with the demo's text, open, the cursor where the engine has something to say."""
    name = f"{request.node.name}.py"
    code.script.says(*RULES)
    code.open(name, LINE, COLUMN)
    code.press("Backspace")
    code.until(lambda seen: seen["dirty"])
    code.frames()
    yield name
    code.press("Escape")
    code.text(name)
    code.press("Control+Home")


def ghost(code: Code) -> str:
    """Type the "." after which the engine goes on, and wait for the final text."""
    code.type(".")
    code.until(lambda seen: seen["ghost"] == SELF)
    return SELF


def with_line(line: str) -> str:
    return DEMO.replace("        self.\n", f"        {line}\n")


def seen_suggestion(frame: Seen) -> str:
    return str(frame["draft"] + frame["ghost"])


def nothing_follows(code: Code, n_asked: int) -> None:
    """Wait for the server's answer; nothing of it is drawn."""
    code.answered(n_asked)
    time.sleep(STILL_MS / 1000)
    assert not any(map(seen_suggestion, code.frames()))


@pytest.mark.skipif(not (EXTENSION / "node_modules").exists(), reason="SKIPPED VS Code: editors/vscode/install.sh")
@pytest.mark.parametrize("script", ["test", "lint"])  # install.sh has checked the types
def test_the_extension_by_itself(script: str) -> None:
    """The tests in TypeScript, and its style."""
    done = subprocess.run(["npm", "run", "-s", script], cwd=EXTENSION, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_drafts_become_ghost_text_with_no_blank_frame_and_no_doubled_one(code: Code, name: str) -> None:
    final = ghost(code)
    frames = code.frames()
    assert {frame["draft"] for frame in frames if frame["draft"]} == {final}
    assert {frame["shaded"] for frame in frames if frame["draft"]} == {True}
    begun = [frame for frame in frames if seen_suggestion(frame)]
    assert begun == frames[frames.index(begun[0]) :], "a blank frame after the first draft"
    assert not any(frame["draft"] and frame["ghost"] for frame in frames), "both in one frame"
    assert frames[-1]["ghost"] == final


def test_where_the_cursor_rests_is_read_before_the_first_key(code: Code, name: str) -> None:
    prepared = code.folder / "prepared"
    code.script.says(*RULES, prepared=str(prepared))
    time.sleep(STILL_MS / 1000)  # VS Code asks for the change that was made just now
    code.press("ArrowUp")
    above = DEMO.splitlines(keepends=True)[: LINE - 1]
    seen = "".join(above)[: COLUMN - 2 - len(above[-1])]
    code.until(lambda _: seen in prefixes(prepared))


def test_tab_accepts_all_and_undo_takes_it_back_in_one_step(code: Code, name: str) -> None:
    final = ghost(code)
    code.press("Tab")
    code.until(lambda seen: not seen["ghost"])
    assert code.text(name) == with_line("self." + final)
    code.press("Control+Z")
    assert code.text(name) == DEMO
    assert ACCEPTED in code.server_log(code.server_pid())


def test_the_next_word_is_accepted_and_the_rest_stays(code: Code, name: str) -> None:
    final = ghost(code)
    code.frames()
    code.press(NEXT_WORD)
    code.until(lambda seen: seen["ghost"] == final.removeprefix("currency"))
    assert all(seen_suggestion(frame) for frame in code.frames())
    assert code.text(name) == with_line("self.currency")


def test_next_and_previous_go_through_the_candidates(code: Code, name: str) -> None:
    first = ghost(code)
    code.press(NEXT_CANDIDATE)
    code.until(lambda seen: seen["ghost"] == SECOND)
    code.press(PREVIOUS_CANDIDATE)
    code.until(lambda seen: seen["ghost"] == first)
    code.press(NEXT_CANDIDATE)
    code.until(lambda seen: seen["ghost"] == SECOND)
    code.press("Tab")
    assert code.text(name) == with_line("self." + SECOND)


def test_typing_what_the_ghost_says_keeps_it_in_every_frame(code: Code, name: str) -> None:
    final = ghost(code)
    code.frames()
    code.do("type", final[:3], 60)
    code.until(lambda seen: seen["ghost"] == final[3:])
    assert all(frame["ghost"] and final.endswith(frame["ghost"]) for frame in code.frames())
    assert code.text(name) == with_line("self." + final[:3])


def test_typing_what_the_second_candidate_says_draws_no_draft_over_it(code: Code, name: str) -> None:
    ghost(code)
    code.press(NEXT_CANDIDATE)
    code.until(lambda seen: seen["ghost"] == SECOND)
    code.frames()
    asked = code.n_asked()
    code.type(SECOND[0])
    code.answered(asked)
    code.until(lambda seen: seen["ghost"] == SECOND[1:])
    assert not any(frame["draft"] and frame["ghost"] for frame in code.frames())


def test_typing_something_else_takes_the_ghost_away(code: Code, name: str) -> None:
    ghost(code)
    code.type("Q")
    code.until(lambda seen: not seen["ghost"])
    assert code.text(name) == with_line("self.Q")


def test_escape_dismisses_the_ghost(code: Code, name: str) -> None:
    ghost(code)
    code.press("Escape")
    code.until(lambda seen: not seen["ghost"])
    assert code.text(name) == DEMO


def test_escape_dismisses_a_draft_and_nothing_follows(code: Code, name: str) -> None:
    code.script.says(SLOW)
    asked = code.n_asked()
    code.type(".")
    code.do("pressAt", "draft", "Escape")
    code.until(lambda seen: not seen_suggestion(seen))
    code.frames()
    nothing_follows(code, asked)
    assert code.text(name) == DEMO


def test_tab_on_a_draft_inserts_what_is_drawn(code: Code, name: str) -> None:
    seen = "currency = None"
    code.script.says(rule("self.", [[seen, 0]], SELF, pass_ms=600))  # the final text is another one
    code.type(".")
    n_accepted = code.server_log(code.server_pid()).count(ACCEPTED)
    code.until(lambda now: now["draft"] == seen)
    code.press("Tab")
    code.until(lambda now: f"        self.{seen}" in now["lines"])
    assert code.text(name) == with_line("self." + seen)
    code.until(lambda now: code.server_log(code.server_pid()).count(ACCEPTED) == n_accepted + 1)
    code.press("Control+Z")
    assert code.text(name) == DEMO


def test_tab_on_a_draft_of_several_lines_inserts_the_first_which_is_drawn(code: Code) -> None:
    code.script.says(sharpens("def main():\n    ", "\n    ".join(BODY), pass_ms=600))
    code.open("draft.py", len(MAIN.splitlines()), 1)
    code.press("End")
    code.press("Enter")
    code.until(lambda now: now["draft"] == BODY[0] + "  …")
    code.press("Tab")
    code.until(lambda now: f"    {BODY[0]}" in now["lines"])
    assert code.text("draft.py") == MAIN + f"    {BODY[0]}\n"


def test_leaving_the_editor_takes_the_draft_away(code: Code, name: str) -> None:
    code.script.says(SLOW)
    code.type(".")
    code.do("pressAt", "draft", "F1")
    code.until(lambda seen: not seen_suggestion(seen))
    code.press("Escape")


def test_no_draft_is_drawn_under_the_popup(code: Code, name: str) -> None:
    code.write_settings(wordBasedSuggestions="currentDocument")
    try:
        code.type(".")
        popup(code)
        code.frames()
        asked = code.n_asked()
        code.type("t")
        code.answered(asked)
        time.sleep(STILL_MS / 1000)
        assert code.look()["popup"]
        assert not any(frame["draft"] for frame in code.frames())
    finally:
        code.press("Escape")
        code.write_settings()


def popup(code: Code) -> None:
    """Open the popup menu, which has words when VS Code has read its settings."""
    for _ in range(30):
        code.press("Control+Space")
        with contextlib.suppress(AssertionError):
            code.until(lambda seen: seen["popup"], 1)
            return
        code.press("Escape")
    raise AssertionError("no popup menu")


def test_a_body_of_several_lines_is_ghost_text_below_the_cursor(code: Code) -> None:
    code.script.says(*RULES)
    code.open("main.py", len(MAIN.splitlines()), 1)
    code.press("End")
    code.frames()
    code.press("Enter")
    code.until(lambda seen: seen["ghost"] == BODY[0] and [line.strip() for line in seen["ghostBelow"]] == [BODY[1]])
    assert {frame["draft"] for frame in code.frames() if frame["draft"]} == {BODY[0] + "  …"}
    code.press("Tab")
    code.until(lambda seen: not seen["ghost"] and not seen["ghostBelow"])
    assert code.text("main.py") == MAIN + "".join(f"    {line}\n" for line in BODY)


def below_main(code: Code, name: str) -> None:
    """Open a file that ends with a header, and wait for the body below it."""
    code.open(name, len(MAIN.splitlines()), 1)
    code.press("End")
    code.press("Enter")
    code.until(lambda seen: seen["ghost"] == BODY[0] and [line.strip() for line in seen["ghostBelow"]] == [BODY[1]])


def test_an_accepted_text_gets_the_line_ends_of_its_file(code: Code) -> None:
    code.script.says(*RULES)
    below_main(code, "crlf.py")
    code.press("Tab")
    code.until(lambda seen: not seen["ghost"] and not seen["ghostBelow"])
    code.text("crlf.py")
    on_disk = (code.workspace / "crlf.py").read_bytes().decode()
    assert on_disk == (MAIN + "".join(f"    {line}\n" for line in BODY)).replace("\n", "\r\n")


def test_after_a_word_is_accepted_the_rest_needs_no_forward_pass_with_text_to_the_right(code: Code, name: str) -> None:
    log = code.folder / "asked-word"
    code.script.says(sharpens("(", "name, items, currency", pass_ms=20), rule("", "~"), asked=str(log))
    code.type(".items = dict(")  # VS Code closes the bracket
    code.until(lambda seen: seen["ghost"] == "name, items, currency")
    n_runs = n_lines(log)
    for rest in (", items, currency", "items, currency", ", currency"):
        asked = code.n_asked()
        code.press(NEXT_WORD)
        code.until(lambda seen, rest=rest: seen["ghost"] == rest)  # type: ignore[misc]
        code.until(lambda seen, asked=asked: code.n_asked() > asked)  # type: ignore[misc]
        time.sleep(STILL_MS / 1000)
        assert code.look()["ghost"] == rest
    assert n_lines(log) == n_runs
    assert code.text(name) == with_line("self.items = dict(name, items)")


def test_after_a_line_is_accepted_the_rest_needs_no_forward_pass(code: Code) -> None:
    log = code.folder / "asked-line"
    code.script.says(*RULES, rule("", "~"), asked=str(log))
    below_main(code, "lines.py")
    n_runs, asked = n_lines(log), code.n_asked()
    code.press(ACCEPT_LINE)
    code.until(lambda seen: seen["ghost"].strip() == BODY[1] and not seen["ghostBelow"])
    code.until(lambda seen: code.n_asked() > asked)
    time.sleep(STILL_MS / 1000)
    assert code.look()["ghost"].strip() == BODY[1]
    assert n_lines(log) == n_runs
    code.press("Escape")


def test_a_line_is_accepted_with_text_to_the_right_and_that_stays(code: Code, name: str) -> None:
    log = code.folder / "asked-line-right"
    code.script.says(sharpens("(", "name, items", pass_ms=20), rule("", "~"), asked=str(log))
    code.type(".items = dict(")  # VS Code closes the bracket
    code.until(lambda seen: seen["ghost"] == "name, items")
    n_runs = n_lines(log)
    code.press(ACCEPT_LINE)
    code.until(lambda seen: not seen["ghost"] and "        self.items = dict(name, items)" in seen["lines"])
    time.sleep(STILL_MS / 1000)
    assert not seen_suggestion(code.look())
    assert n_lines(log) == n_runs
    assert code.text(name) == with_line("self.items = dict(name, items)")


def test_moving_away_and_back_shows_nothing_once_more(code: Code, name: str) -> None:
    """microsoft/vscode #235977: it came again, and then nothing took it away."""
    ghost(code)
    code.press("ArrowUp")
    code.until(lambda seen: not seen_suggestion(seen))
    code.frames()
    code.press("ArrowDown")
    time.sleep(STILL_MS / 1000)
    assert not any(map(seen_suggestion, code.frames()))
    code.press("Escape")
    assert not seen_suggestion(code.look())


def test_a_notebooks_cell_is_completed_and_the_model_sees_the_cells_above(code: Code) -> None:
    log = code.folder / "asked-cell"
    code.script.says(sharpens("value = ", "compute(names)", pass_ms=20), rule("", "~"), asked=str(log))
    code.do("open", "cells.ipynb")
    code.do("click", '.notebookOverlay .view-line:has-text("value")')
    code.press("Control+End")
    code.press("Backspace")
    code.type(" ")
    code.until(lambda seen: seen["ghost"] == "compute(names)")
    code.press("Tab")
    code.until(lambda seen: "value = compute(names)" in seen["lines"])
    cells = json.loads(code.text("cells.ipynb"))["cells"]
    assert ["".join(cell["source"]) for cell in cells] == [
        "import os\nnames = os.listdir()", "print(names)\nvalue = compute(names)",
    ]  # fmt: skip
    asked = [json.loads(line)["prefix"] for line in log.read_text().splitlines()]
    assert "import os\nnames = os.listdir()\n\nprint(names)\nvalue = " in asked
    code.do("command", "View: Close Editor")  # its lines are on the page as long as it is open


def n_lines(log: Path) -> int:
    """How often the engine was asked."""
    return len(log.read_text().splitlines())


def test_the_server_is_started_in_the_extensions_storage_and_not_in_the_folder(code: Code) -> None:
    started_in = (code.folder / "cwd").read_text().strip()
    assert started_in == f"{code.folder}/data/User/globalStorage/mezzotint.mezzotint"


def test_a_file_is_turned_off_and_on(code: Code, name: str) -> None:
    code.do("command", "Mezzotint: Turn On or Off for This File")
    code.until(lambda seen: seen["status"] == "Mezzotint, off: off for this file")
    code.frames()
    asked = code.n_asked()
    code.type(".")
    time.sleep(STILL_MS / 1000)
    assert code.n_asked() == asked
    assert not any(map(seen_suggestion, code.frames()))
    code.do("command", "Mezzotint: Turn On or Off for This File")
    code.ready()
    code.press("Backspace")
    ghost(code)


def test_a_language_that_is_off_says_so(code: Code) -> None:
    code.open("notes.txt", 1, 14)
    code.until(lambda seen: seen["status"] == "Mezzotint, off: off for plaintext")


def test_killing_the_server_clears_the_draft_and_it_comes_back_quietly(code: Code, name: str) -> None:
    killed = code.server_pid()
    code.script.says(SLOW)
    code.type(".")
    code.do("pressAt", "draft", "Shift")
    os.kill(killed, signal.SIGKILL)
    seen = code.until(lambda seen: seen["status"].startswith("Mezzotint, error: the server stopped"))
    assert "started again" in seen["status"]
    code.until(lambda seen: not seen_suggestion(seen))
    code.type("x")
    assert code.text(name) == with_line("self.x")
    code.ready()
    assert code.server_pid() != killed
    code.script.says(*RULES)
    code.press("Backspace")
    code.press("Backspace")
    ghost(code)
    assert code.look()["messages"] == []


def test_restart_starts_another_server(code: Code, name: str) -> None:
    before = code.server_pid()
    code.do("command", "Mezzotint: Restart Server")
    code.new_server(before)
    ghost(code)
    assert not Path(f"/proc/{before}").exists()


def test_a_server_that_cannot_start_is_one_message(code: Code, name: str) -> None:
    before = code.server_pid()
    code.settings(command=["false"])
    code.until(lambda seen: seen["messages"], 60)
    seen = code.look()
    assert len(seen["messages"]) == 1 and "5 times" in seen["messages"][0]
    assert seen["status"].startswith("Mezzotint, error")
    code.type("x")
    assert code.text(name) == with_line("selfx")
    code.settings(command=server_command(code.folder))
    code.new_server(before)
    code.do("command", "Notifications: Clear All Notifications")


def test_typing_what_a_draft_says_keeps_the_rest_of_it_until_the_slow_answer_is_there(code: Code, name: str) -> None:
    """The answer takes longer than VS Code waits: 0.75 s behind a letter."""
    first, rest = SELF[0], SELF[1:]
    code.script.says(SLOW, sharpens("self." + first, rest, pass_ms=600))
    code.type(".")
    code.until(lambda seen: seen["draft"] == SELF)
    code.frames()
    asked = code.n_asked()
    code.type(first)
    code.until(lambda seen: seen["ghost"] == rest)
    assert all(seen_suggestion(frame) == rest for frame in code.frames())
    assert code.n_asked() == asked + 1
    assert not stopped(code)
    assert code.text(name) == with_line("self." + first)


def stopped(code: Code) -> bool:
    """Whether the request that was made last has been cancelled."""
    return "cancelRequest" in code.server_log(code.server_pid()).rpartition(ASKED)[2]


def test_a_slow_answer_to_a_text_that_changed_meanwhile_is_not_shown(code: Code, name: str) -> None:
    first, rest = SELF[0], SELF[1:]
    code.script.says(SLOW, sharpens("self." + first, rest, pass_ms=600), rule("", ""))
    asked = code.n_asked()
    code.do("type", "." + first, 100)
    code.until(lambda seen: seen["draft"] == rest and seen["shaded"])
    code.press("Home")
    code.until(lambda seen: stopped(code))
    nothing_follows_now(code)
    assert code.n_asked() >= asked + 1
    assert code.text(name) == with_line("self." + first)


def nothing_follows_now(code: Code) -> None:
    """Nothing is drawn, after the time that the slowest answer takes."""
    code.until(lambda seen: not seen_suggestion(seen))
    code.frames()
    time.sleep(STILL_MS / 1000)
    assert not any(map(seen_suggestion, code.frames()))


def setting(code: Code, **changed: object) -> None:
    """Change settings, and wait until the server has asked for them."""
    told = code.server_log(code.server_pid()).count(CHANGED)
    code.settings(**changed)
    code.until(lambda seen: code.server_log(code.server_pid()).count(CHANGED) > told)


def test_settings_change_while_the_server_runs(code: Code, name: str) -> None:
    pid = code.server_pid()
    setting(code, maxFileBytes=10)
    code.type(".")
    code.until(lambda seen: seen["status"] == "Mezzotint, off: it is larger than maxFileBytes")
    setting(code, maxFileBytes=1_000_000)
    assert code.server_pid() == pid
    assert code.look()["messages"] == []
    code.open("first.py", LINE, COLUMN)  # it has not been too large: its text was not dropped


def test_the_status_says_why_nothing_is_offered_and_for_this_file_alone(code: Code, name: str) -> None:
    code.type("  # a")
    code.until(lambda seen: seen["status"] == "Mezzotint, off: comments are completed when asked by hand only")
    code.open("first.py", LINE, COLUMN)
    code.until(lambda seen: seen["status"] == "Mezzotint, idle: ready")


def test_a_snooze_hides_suggestions_and_by_hand_they_come(code: Code, name: str) -> None:
    code.do("command", "Mezzotint: Snooze")
    code.do("pick", "5 minutes")
    code.until(lambda seen: seen["status"].startswith("Mezzotint, off: paused until "))
    asked = code.n_asked()
    code.type(".")
    code.until(lambda seen: code.n_asked() > asked)
    time.sleep(STILL_MS / 1000)
    assert not seen_suggestion(code.look())
    code.press(BY_HAND)
    code.until(lambda seen: seen["ghost"] == SELF)
    code.do("command", "Mezzotint: End Snooze")
    code.ready()


def test_with_an_entry_of_the_popup_selected_the_ghost_goes_on_behind_it(code: Code, name: str) -> None:
    code.script.says(sharpens("self.currency", " = currency", pass_ms=20), rule("", "~"))
    code.write_settings(wordBasedSuggestions="currentDocument")
    try:
        code.type(".cur")
        popup(code)
        code.press("Control+Space")
        code.until(lambda seen: seen["popup"] and "        self.currency = currency" in seen["lines"])
        assert code.text(name) == with_line("self.cur")
        code.until(lambda seen: seen["popup"])
        code.press("Tab")  # accepts the entry
        code.until(lambda seen: not seen["popup"] and seen["ghost"] == " = currency")
        assert code.text(name) == with_line("self.currency")
    finally:
        code.press("Escape")
        code.write_settings()


def test_without_drafts_the_plain_answer_is_shown(code: Code, name: str) -> None:
    pid = code.server_pid()
    setting(code, drafts=False)
    code.frames()
    ghost(code)
    frames = code.frames()
    setting(code, drafts=True)
    assert code.server_pid() == pid
    assert not [frame for frame in frames if frame["draft"]]


@pytest.mark.skipif(not PICTURES, reason="MEZZOTINT_PICTURES names no folder")
def test_pictures(code: Code, name: str) -> None:
    before = code.server_pid()
    code.settings(command=server_command(code.folder, "model"), draftDelayMs=1000)  # slow enough for a picture
    code.new_server(before)
    code.type(".")
    first = code.until(lambda seen: seen["draft"])["draft"]
    code.until(lambda seen: seen["draft"] not in ("", first))  # some of it is decided
    code.do("picture", str(Path(PICTURES).resolve() / "vscode-draft.png"))
    code.until(lambda seen: seen["ghost"])
    code.do("picture", str(Path(PICTURES).resolve() / "vscode-final.png"))


def test_a_closed_window_leaves_no_server(code: Code) -> None:
    """Last: the window is loaded anew, which ends the extension and its server."""
    old = code.server_pid()
    code.do("command", "Developer: Reload Window")
    for _ in range(300):
        if not Path(f"/proc/{old}").exists():
            return
        time.sleep(0.1)
    raise AssertionError("the old window's server still runs")
