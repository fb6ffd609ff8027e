"""required.py, and that the editors' tests give their reasons so that it sees them."""

from __future__ import annotations

from pathlib import Path

import pytest
from required import MISSING, judged

HERE = Path(__file__).parent


def report(reason: str) -> pytest.TestReport:
    where = ("test_nvim.py", 1, f"Skipped: {reason}")
    return pytest.TestReport("test_nvim.py::test", ("test_nvim.py", 1, "test"), {}, "skipped", where, "setup")


def test_a_missing_editor_is_a_failure_and_other_skips_are_none() -> None:
    assert judged(report("SKIPPED Neovim: not installed")).failed
    assert judged(report("pictures are taken with MEZZOTINT_PICTURES=docs")).skipped


@pytest.mark.parametrize("name", ["test_nvim.py", "test_emacs.py", "test_vscode.py"])
def test_every_editors_tests_say_what_they_miss(name: str) -> None:
    text = (HERE / name).read_text(encoding="utf-8")
    assert f'"{MISSING} ' in text
    assert "importorskip" not in text
