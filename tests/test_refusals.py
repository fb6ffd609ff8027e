"""Which documents are refused, and that nothing of them is shown to the model for another."""

from __future__ import annotations

import json
import random
import re
import string
from pathlib import Path

import pytest

from lsp_server.options import Options
from lsp_server.suggest.reasons import ALLOWED
from lsp_server.suggest.refusals import NO_FILES, SCHEMES, may_be_context, name_refusal, refusal
from lsp_server.text.documents import Snapshot, snapshot

ROOT = Path(__file__).parents[1]


def doc(uri: str, text: str = "x = 1\n", language: str = "python") -> Snapshot:
    return snapshot(uri, text, language, 1)


@pytest.mark.parametrize(
    "uri",
    ["file:///p/a.py", "FILE:///p/a.py", "untitled:Untitled-1", "vscode-notebook-cell:/p/n.ipynb#W0", "vscode-vfs://github/a.py",
     "vscode-remote://ssh-remote%2Bh/p/a.py"],
)  # fmt: skip
def test_documents_that_somebody_edits_are_served(uri: str) -> None:
    assert name_refusal(uri, "python", Options()) == ALLOWED


@pytest.mark.parametrize(
    "uri",
    ["vscode-scm:git/scm0/input?rootUri", "git:/p/a.py?ref", "output:extension-output-1", "comment://1", "fugitive:///p//0/a.py",
     "gitsigns:///p/.git/a.py", "vscode-chat-input:1", "chat-editing-text-model:/a.py", "debug:/a.py", "walkThrough:/a",
     "search-editor:x", "http://h/a.py", "/p/a.py", "C:\\a.py", "", ":", "term://x"],
)  # fmt: skip
def test_other_schemes_are_refused_in_a_sentence_that_names_them(uri: str) -> None:
    said = name_refusal(uri, "python", Options()).message
    assert "scheme" in said
    assert repr(uri.partition(":")[0].lower() if re.match(r"[\w-]{2,}:", uri) else "") in said
    assert not may_be_context(doc(uri), Options())


def test_the_option_adds_schemes() -> None:
    options = Options(schemes=("Zed", "fugitive"))
    assert name_refusal("zed:///a.py", "python", options) == ALLOWED
    assert name_refusal("fugitive:///p//0/a.py", "python", options) == ALLOWED
    assert name_refusal("git:/a.py", "python", options)


@pytest.mark.parametrize("language", [*sorted(NO_FILES), "Log", "Git-Commit"])
def test_commit_messages_logs_and_inputs_are_refused_with_any_scheme(language: str) -> None:
    for uri in ("file:///p/COMMIT_EDITMSG", "untitled:Untitled-1"):
        assert repr(language) in name_refusal(uri, language, Options()).message
        assert not may_be_context(doc(uri, language=language), Options())


def test_the_users_options_refuse(tmp_path: Path) -> None:
    options = Options(disabled_languages=("markdown",), secret_patterns=("*.vault.py",))
    assert name_refusal("file:///p/a.md", "markdown", options)
    assert name_refusal("file:///p/a.vault.py", "python", options)
    assert not may_be_context(doc((tmp_path / "a.vault.py").as_uri()), options)


def test_a_text_that_holds_a_key_is_neither_completed_nor_context(tmp_path: Path) -> None:
    uri = (tmp_path / "a.py").as_uri()
    drawn = "".join(random.Random(0).choices(string.ascii_letters, k=64))
    text = f"KEY = '''-----BEGIN PRIVATE KEY-----\n{drawn}\n'''\n"
    assert name_refusal(uri, "python", Options()) == ALLOWED
    assert refusal(doc(uri, text), Options()).message == "it holds a private key"
    assert not may_be_context(doc(uri, text), Options())
    assert may_be_context(doc(uri), Options())


def test_what_git_ignores_is_completed_when_asked_by_hand_and_no_context(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("a.py\n")
    uri = (tmp_path / "a.py").as_uri()
    assert refusal(doc(uri), Options()).reason == "ignored"
    assert refusal(doc(uri), Options(), invoked=True) == ALLOWED
    assert not may_be_context(doc(uri), Options())


def test_the_extension_and_the_documents_know_the_same_schemes_and_languages() -> None:
    config = (ROOT / "editors/vscode/src/config.ts").read_text(encoding="utf-8")
    [listed] = re.findall(r"const SCHEMES = (\[.*?\]);", config)
    assert tuple(json.loads(listed)) == SCHEMES
    refused = (
        (ROOT / "docs/protocol.md").read_text(encoding="utf-8").partition("## What is refused")[2].partition("\n## ")[0]
    )
    for name in (*SCHEMES, *NO_FILES):
        assert f"`{name}`" in refused, name
