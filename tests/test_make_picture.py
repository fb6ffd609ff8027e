import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lsp_server.tools.drawing import Around

PICTURE = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "make_picture.py"))
DRAFTS = [
    {"step": 1, "text": "a + a", "masked": [[0, 5]]},
    {"step": 2, "text": "a + a", "masked": [[0, 5]]},
    {"step": 3, "text": "a + b", "masked": [[2, 5]]},
    {"step": 4, "text": "a <b>", "masked": [[3, 5]]},
    {"step": 5, "text": "a < b & c", "masked": [[8, 9]]},
    {"step": 6, "text": "a < b & d", "masked": []},
]


def test_stages_differ_and_begin_with_the_first_and_end_with_the_last() -> None:
    steps = [draft["step"] for draft in PICTURE["chosen"](DRAFTS)]
    assert (len(steps), steps[0], steps[-1]) == (4, 1, 6)


@pytest.mark.parametrize("n_drafts", [1, 2, 6])
def test_picture_is_well_formed_with_undecided_spans_shaded(n_drafts: int) -> None:
    answer = {"drafts": DRAFTS[:n_drafts], "steps": 6, "forward_passes": 7, "ms": 41.8}
    svg = PICTURE["picture"](answer, Around(["def f():"], "    return ", "", [], 2))
    root = ElementTree.fromstring(svg)
    assert "6 steps, 7 forward passes, 42 ms" in "".join(root.itertext())
    assert f'fill="{PICTURE["SHADE"]}"' in svg
