"""lsp_server/user_config: the user's own configuration; whatever is wrong with it is said and ignored."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lsp_server import user_config
from lsp_server.options import Options, from_client


def test_no_file_means_defaults(tmp_path: Path) -> None:
    assert user_config.read(tmp_path / "config.json") == (Options(), [])


def test_the_file_makes_the_defaults_and_a_client_goes_before_it(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"model": "smollm2-135m", "maxTokens": 32, "disabledLanguages": ["c"]}')
    mine, problems = user_config.read(path)
    assert problems == []
    assert mine == Options(model="smollm2-135m", max_tokens=32, disabled_languages=("c",))
    both, problems = from_client({"maxTokens": 16, "threads": "many"}, mine)
    assert both == Options(model="smollm2-135m", max_tokens=16, disabled_languages=("c",))
    assert problems == ["Option 'threads' must be a whole number from 0 to 1024; the default 0 is used."]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{broken", "is ignored: Expecting property name"),
        (b"[1]", "is ignored: it holds no JSON object"),
        (b"\xff\xfe{", "is ignored: "),
        (b"[" * 90_000, "is ignored: it is nested without end"),
        (b" " * 200_000, "is ignored: it is larger than 100000 bytes"),
        (b'{"maxTokens": "x"}', ": Option 'maxTokens' must be a whole number"),
        (b'{"noSuch": 1}', ": Unknown option 'noSuch'"),
        (b'{"drafts": true}', ": drafts is the editor's to set."),
    ],
)
def test_bad_content_is_said_once_and_the_defaults_hold(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    options, problems = user_config.read(path)
    assert options == Options()
    assert len(problems) == 1 and problems[0].startswith(f"{path}") and said in problems[0]


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    options, problems = user_config.read(tmp_path / "config.json")
    assert options == Options() and "it is not a regular file" in problems[0]


def test_a_relative_configuration_folder_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server may be started in any folder, and the one that the user opened does not configure it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "here")
    assert user_config.settings_file() == Path.home() / ".config/mezzotint/config.json"
