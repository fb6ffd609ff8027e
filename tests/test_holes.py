"""The infill mask, on a table of cursor situations."""

from __future__ import annotations

import pytest

from diffusion.request import CANVAS_SIZES, Hole
from lsp_server.suggest.holes import Plan, plan_at
from lsp_server.text.documents import snapshot
from lsp_server.text.languages import BY_ID
from tests.cursor_situations import SITUATIONS


def plan(marked: str, language: str = "python", **options: object) -> tuple[Plan, str]:
    """The plan at the mark, and the text that it replaces."""
    offset = marked.index("¦")
    taken = snapshot("file:///a", marked.replace("¦", ""), language)
    found = plan_at(taken, offset, **options)  # type: ignore[arg-type]
    assert found is not None
    assert found.start == offset
    return found, taken.text[found.start : found.end]


@pytest.mark.parametrize(("language", "code", "kind", "replaced", "kept", "multiline"), SITUATIONS)
def test_the_mask_in_this_situation(
    language: str, code: str, kind: str, replaced: str, kept: str, multiline: bool
) -> None:
    found, text = plan(code, language)
    assert (text, found.kept, found.multiline) == (replaced, kept, multiline)
    assert found.kind in kind.split(" or ")
    sizes = {part.max_tokens for part in found.middle if isinstance(part, Hole)}
    assert sizes <= set(CANVAS_SIZES)
    assert max(sizes) == (
        64 if multiline else 32 if found.kind == "line" or (found.kind == "arguments" and not kept) else 16
    )


def test_the_table_covers_every_language_with_a_grammar() -> None:
    assert {language for language, *_ in SITUATIONS} >= set(BY_ID)
    assert len(SITUATIONS) >= 150


def test_options_limit_the_hole() -> None:
    found, _ = plan("def f(a):\n    ¦\n", multiline=False, max_tokens=16)
    assert found.middle == (Hole(16),)
