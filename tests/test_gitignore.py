"""The lines of .gitignore files, which anyone may have written, as git reads them."""

from __future__ import annotations

import logging
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsp_server.text import git
from lsp_server.text.gitignore import MAX_BYTES, MAX_LINE_CHARS, MAX_LINES, glob_of, is_named, parse, read_rules

ATOMS = [
    *("a", "b", "ab", "c", "a.b", ".x", "\u00e9", " ", "!", "#", "*", "?", "**", "a*", "*b", "a**b", "[ab]", "[!a]"),
    *("[a", "[^b]", "[a-c]", "[a-]", "[]a]", "[!]b]", "[\\]]", "[z-a]", "[[:alpha:]]", "[[:no:]]", "\\a", "\\*", "\\"),
]  # fmt: skip
NAMES = ["a", "b", "ab", "c", "aa", "axb", "a.b", ".x", "\u00e9", " ", "*", "!", "#", "a b", "]", "-", "[a", "ab "]


def ignored(text: str, path: str) -> bool:
    return is_named(lambda parts: parse(text) if not parts else (), (), tuple(path.split("/")))


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("*.log\n!keep.log", "logs/a.log", True), ("*.log\n!keep.log", "logs/keep.log", False),
        ("build/", "build/a.py", True), ("build/", "src/build/a.py", True), ("build/", "build", False),
        ("/build", "src/build/a.py", False), ("build/\n!build/keep.py", "build/keep.py", True),
        ("build/*\n!build/keep.py", "build/keep.py", False), ("a/**/z.py", "a/z.py", True),
        ("a/**/z.py", "a/b/c/z.py", True), ("a/**", "a", False), ("*\n!*.py\n!*/", "src/a.py", False),
        ("*\n!src\n", "src/a.txt", True), ("\\#a\n\\!b", "#a", True), ("\\#a\n\\!b", "!b", True), ("# a", "# a", False),
        ("a\\ ", "a ", True), ("a   ", "a", True), ("[a-c]?.py", "bx.py", True), ("[!a]b", "ab", False),
        ("\ufeffa.py\r\nb.py\r\n".encode().decode("latin-1")[3:], "a.py", True), ("caf?", "caf\u00e9", False),
    ],
)  # fmt: skip
def test_patterns_mean_what_git_says_they_mean(text: str, path: str, expected: bool) -> None:
    assert ignored(text, path) == expected


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@pytest.mark.parametrize("seed", range(4))
def test_what_is_read_is_what_git_says(tmp_path: Path, seed: int) -> None:
    """Random patterns in two folders, random paths, git as the judge."""
    choose = random.Random(seed)

    def pattern() -> str:
        parts = ["".join(choose.choices(ATOMS, k=choose.choice([1, 1, 2]))) for _ in range(choose.choice([1, 1, 2, 3]))]
        line = (
            choose.choice(["", "", "", "!", "/", "!/"]) + "/".join(parts) + choose.choice(["", "", "", "/", "  ", "\r"])
        )
        return line.replace("\\/", "/")

    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "q").mkdir()
    for _ in range(30):
        for folder in (tmp_path, tmp_path / "q"):
            (folder / ".gitignore").write_bytes("\n".join(pattern() for _ in range(choose.randint(1, 5))).encode())
        paths = {
            "/".join([*choose.choices(["q"], k=choose.randint(0, 1)), *choose.choices(NAMES, k=choose.randint(1, 3))])
            for _ in range(30)
        }
        said = git.ignored_by(tmp_path, sorted(paths))
        for path in sorted(paths):
            read = is_named(
                lambda parts: read_rules(tmp_path.joinpath(*parts, ".gitignore")), (), tuple(path.split("/"))
            )
            files = [(folder / ".gitignore").read_bytes() for folder in (tmp_path, tmp_path / "q")]
            assert read == said[path], (path, files)


@pytest.mark.parametrize(
    "odd", ["!", "\\", "ends in\\", "! ", "/\\", "[z-a]", "[a-\\]", "caf\xe9", "x" * (MAX_LINE_CHARS + 1)]
)
def test_an_odd_line_matches_nothing_and_the_others_hold(odd: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    text = f"secret.py\n{odd}\n*.gen\n"
    expected = {"secret.py": True, "a.gen": True, "a.py": False, "src/secret.py": True}
    assert {path: ignored(text, path) for path in expected} == expected
    assert len({record.message for record in caplog.records}) <= 1


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("!\\/[]*?^-az:# {}()|&~\t\r\0\xe9"), max_size=12) | st.text(max_size=12))
def test_no_line_raises(line: str) -> None:
    ignored(line, "a/b.py")


def test_stars_are_never_tried_again() -> None:
    """Each star becomes an atomic group; the n-th power of the length would not end in the age of the universe."""
    assert glob_of("*a" * 60 + "*b").match("a" * 4000) is None
    assert ignored("/".join(["**", "a"] * 60) + "/b", "/".join(["a"] * 90)) is False


def test_only_so_many_lines_count(caplog: pytest.LogCaptureFixture) -> None:
    text = "first.py\n" + "x\n" * MAX_LINES + "last.py\n"
    assert ignored(text, "first.py")
    assert not ignored(text, "last.py")
    assert f"only the first {MAX_LINES}" in caplog.text


def test_a_file_that_is_too_large_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / ".gitignore").write_bytes(b"*.py\n" + b"#" * MAX_BYTES)
    assert read_rules(tmp_path / ".gitignore") == ()
    assert "over 1000000 bytes" in caplog.text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX files")
@pytest.mark.parametrize("kind", ["fifo", "link to a device", "link", "folder"])
def test_what_is_no_regular_file_is_never_opened(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".gitignore"
    (tmp_path / "patterns").write_text("*\n")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "link to a device" else "patterns")

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("it was opened")

    for module, name in (("os", "open"), ("io", "open"), ("builtins", "open")):
        monkeypatch.setattr(f"{module}.{name}", opened)
    assert read_rules(path) == ()
