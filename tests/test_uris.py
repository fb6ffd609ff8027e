"""One key per document, and the path behind a URI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lsp_server.text.uris import fs_path, key_of, path_of, scheme_of

SPELLINGS = {
    "file:///c:/x.py": ["file:///c%3A/x.py", "file:///c%3a/x.py", "file:///C:/x.py", "FILE:///c:/x.py", "file:/C:/x.py",
                        "file://c:/x.py", "file://localhost/C:/x.py", "file:///C|/x.py", "file:///C:\\x.py"],
    "file:///p/%C3%A9.py": ["file:///p/é.py", "file:///p/%c3%a9.py", "file:/p/é.py", "file:///p/%C3%A9%2Epy"],
    "file:///p/a%20b.py": ["file:///p/a b.py", "file:///%70/a%20b.py"],
    "file:///p/c%2B%2B.h": ["file:///p/c++.h", "file:///p/c%2b+.h"],
    "file:///p/@(x)~[1].py": ["file:///p/%40%28x%29%7E%5B1%5D.py", "file:///p/@(x)~[1].py"],
    "file://host/share/x.py": ["file://HOST/share/x.py", "file:////host/share/x.py", "file:///%5C%5Chost%5Cshare/x.py"],
    "untitled:Untitled-1": ["untitled:Untitled%2D1", "UNTITLED:Untitled-1"],
    "vscode-remote://ssh-remote+h/p.py": ["vscode-remote://ssh-remote%2Bh/p.py"],
    "vscode-notebook-cell:/p/n.ipynb#W0=": ["vscode-notebook-cell:/p/n.ipynb#W0%3D"],
}  # fmt: skip
DIFFERENT = [
    "file:///p/a.py", "file:///p/A.py", "file:///p/a%23.py", "file:///p/a#.py", "file:///p/a%3F.py", "file:///p/a?.py",
    "file:///p/%FF.py", "file:///p/%FE.py", "file:///p/a%5Cb.py", "file:///p/a/b.py", "untitled:/p/a.py", "/p/a.py",
    "vscode-notebook-cell:/p/n.ipynb#W1", "vscode-notebook-cell:/p/n.ipynb#W2", "file:///c:/a.py", "file:///d:/a.py",
    "file://h/p/a.py", "git:/p/a.py", "file:///p/e\u0301.py", "file:///p/\u00e9.py",
]  # fmt: skip


@pytest.mark.parametrize("one", SPELLINGS)
def test_all_spellings_of_a_document_have_one_key(one: str) -> None:
    assert {key_of(spelling) for spelling in SPELLINGS[one]} == {key_of(one)}


def test_different_documents_have_different_keys() -> None:
    assert len({key_of(uri) for uri in DIFFERENT}) == len(DIFFERENT)


@pytest.mark.parametrize(
    "uri", ["file:///a.py", "file:///home/me/src/x_1.test.py", "untitled:Untitled-1", "file:///c:/x"]
)
def test_a_plain_uri_is_its_own_key(uri: str) -> None:
    assert key_of(uri) == uri


@given(st.text(st.sampled_from("file:/\\%2FcC|?#.@ é\ud800[]+~5A\0"), max_size=24) | st.text(max_size=12))
@example("file:x")
@example("git:/%2Fx")
@example("file:////localhost//c%7C")
def test_every_string_has_a_key_that_is_its_own(uri: str) -> None:
    assert key_of(key_of(uri)) == key_of(uri)
    assert key_of(uri).isascii()
    for windows in (False, True):
        assert fs_path(uri, windows=windows) == fs_path(key_of(uri), windows=windows)


@pytest.mark.parametrize(
    ("uri", "posix", "windows"),
    [
        ("file:///p/%C3%A9%20b.py", "/p/é b.py", "\\p\\é b.py"),
        ("file:///c%3A/Users/x.py", "/c:/Users/x.py", "c:\\Users\\x.py"),
        ("file:///C:/Users/x.py", "/c:/Users/x.py", "c:\\Users\\x.py"),
        ("file://Host/share/x.py", None, "\\\\host\\share\\x.py"),
        ("file:////host/share/x.py", None, "\\\\host\\share\\x.py"),
        ("file://localhost/p/x.py", "/p/x.py", "\\p\\x.py"),
        ("file:///p/.env?x#y", "/p/.env", "\\p\\.env"),
        ("file:///p/a;b.py", "/p/a;b.py", "\\p\\a;b.py"),
        ("vscode-notebook-cell:/p/n.ipynb#W0", "/p/n.ipynb", "\\p\\n.ipynb"),
        ("vscode-notebook-cell://wsl%2Bu/c%3A/n.ipynb#W0", "/c:/n.ipynb", "c:\\n.ipynb"),
        ("untitled:Untitled-1", None, None), ("vscode-remote://ssh/p/x.py", None, None), ("C:\\x.py", None, None),
        ("file:///a%00b.py", None, None), ("", None, None),
    ],
)  # fmt: skip
def test_the_path_of_a_file_on_each_system(uri: str, posix: str | None, windows: str | None) -> None:
    assert (fs_path(uri, windows=False), fs_path(uri, windows=True)) == (posix, windows)


@pytest.mark.skipif(os.name == "nt", reason="names are not bytes there")
def test_a_name_that_is_no_utf_8_is_found_on_disk(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.py"))
    path.write_text("")
    assert path_of(tmp_path.as_uri() + "/caf%E9.py") == path
    assert path_of(path.as_uri()) == path


def test_schemes_are_in_lower_case_and_a_drive_is_none() -> None:
    assert [scheme_of(uri) for uri in ("FILE:///a", "vscode-scm:x", "c:\\x", "/x", "git+ssh://x", ":x")] == [
        "file", "vscode-scm", "", "", "git+ssh", "",
    ]  # fmt: skip
