"""tests/soak: what an editor has, and one short soak."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.soak import __main__ as soak
from tests.soak.curve import curve
from tests.soak.page import Page
from tests.soak.world import files

TEXT = "ab\r\n😀c\rd\n\u2028e"


@pytest.mark.parametrize("offset", [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11])
def test_an_offset_has_a_position_and_a_position_its_offset(offset: int) -> None:
    page = Page("file:///a.py", "python", TEXT)
    assert page.offset(page.position(offset)) == offset


def test_positions_are_utf_16_and_lines_end_as_lsp_says() -> None:
    page = Page("file:///a.py", "python", TEXT)
    assert page.position(5) == {"line": 1, "character": 2}
    assert page.position(7) == {"line": 2, "character": 0}
    assert page.position(len(TEXT)) == {"line": 3, "character": 2}


def test_a_change_is_of_the_text_before_it() -> None:
    page = Page("file:///a.py", "python", TEXT)
    assert page.edit(5, 7, "x") == {
        "range": {"start": {"line": 1, "character": 2}, "end": {"line": 2, "character": 0}},
        "text": "x",
    }
    assert page.text == "ab\r\n😀xd\n\u2028e"


def test_there_are_fifty_files_in_five_languages() -> None:
    assert len(files()) == 50 and len({language for language, _ in files()}) == 5


def test_the_curve_is_a_picture() -> None:
    picture = ElementTree.fromstring(curve({"a<b": [(0.0, 1.0), (60.0, 2.0)]}, [(30.0, "burst & more")]))
    assert picture.tag.endswith("svg") and "a<b" in [one.text for one in picture.iter()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_short_soak_ends_with_every_document_equal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So short a one says nothing of growth."""
    soak.main(["--minutes", "0.1", "--no-model", "--svg", str(tmp_path / "soak.svg")])
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [fault for fault in report["faults"] if "grew" not in fault] == []
    assert all(user["keys"] and user["checks"] for user in report["users"].values())
    assert (tmp_path / "soak.svg").exists()
