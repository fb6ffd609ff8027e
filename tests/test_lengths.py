"""diffusion/lengths: how many rows a hole has where the model is told; parser and confidence choose."""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import replace
from typing import Any

import pytest

from diffusion.engine import Engine
from diffusion.lengths import LENGTHS, LINE_ROWS, MOST_DECODED, Usual, ends_with_its_line
from diffusion.model.transformer import Transformer
from diffusion.request import FROM_MASKS, Hole, InfillRequest, Start
from tests.foreign import write

pytest.importorskip("transformers")

SOURCE = inspect.getsource(textwrap)
CALL = InfillRequest(SOURCE[:1500] + "\nx = f(", ")\n" + SOURCE[1500:2000], (Hole(32),), start=FROM_MASKS)
LINE = replace(CALL, suffix="\n")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """A random model that is told how long a hole is."""
    path = tmp_path_factory.mktemp("lengths") / "tiny-mdlm"
    write("mdlm", path)
    return Engine.load(path)


def never() -> bool:
    return False


def test_a_text_that_breaks_nothing_is_of_the_likeliest_length(engine: Engine) -> None:
    asked: list[str] = []

    def breaks(text: str) -> bool:
        asked.append(text)
        return False

    alone = list(engine.infill(CALL, never))
    drafts = list(engine.infill(replace(CALL, breaks=breaks), never))
    assert drafts == alone and asked == [drafts[-1].text]


def test_where_a_text_breaks_the_file_the_next_length_is_tried(engine: Engine) -> None:
    asked: list[str] = []

    def breaks(text: str) -> bool:
        asked.append(text)
        return len(asked) < 2

    before = engine.forward_passes
    drafts = list(engine.infill(replace(CALL, breaks=breaks), never))
    assert [draft.done for draft in drafts] == [False] * (len(drafts) - 1) + [True]
    assert len(asked) == 2 and asked[0] != asked[1] == drafts[-1].text
    assert sorted(draft.forward_passes for draft in drafts) == [draft.forward_passes for draft in drafts]
    assert [draft.step for draft in drafts] == sorted({draft.step for draft in drafts})
    assert engine.forward_passes - before == drafts[-1].forward_passes


def test_where_every_text_breaks_the_file_the_first_is_given(engine: Engine) -> None:
    first = list(engine.infill(CALL, never))[-1]
    asked: list[str] = []

    def breaks(text: str) -> bool:
        asked.append(text)
        return True

    *_, last = engine.infill(replace(CALL, breaks=breaks), never)
    assert len(asked) == MOST_DECODED and last.text == asked[0] == first.text and last.done
    assert last.forward_passes > first.forward_passes


def test_a_run_that_is_cancelled_between_two_lengths_ends_without_a_done_draft(engine: Engine) -> None:
    asked: list[str] = []

    def breaks(text: str) -> bool:
        asked.append(text)
        return True

    drafts = list(engine.infill(replace(CALL, breaks=breaks), lambda: bool(asked)))
    assert len(asked) == 1 and not any(draft.done for draft in drafts)


@pytest.mark.parametrize("n_looks", range(4))
def test_no_pass_follows_once_the_run_is_stopped(n_looks: int, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped while the context is encoded, while lengths are tried, or later."""
    passes, looks, forward = 0, 0, Transformer.forward

    def counted(self: Transformer, *args: Any) -> Any:
        nonlocal passes
        passes += 1
        assert looks <= n_looks, "the run was stopped"
        return forward(self, *args)

    def cancelled() -> bool:
        nonlocal looks
        looks += 1
        return looks > n_looks

    monkeypatch.setattr(Transformer, "forward", counted)
    assert not any(draft.done for draft in engine.infill(CALL, cancelled))
    assert bool(passes) == bool(n_looks)


def test_a_hole_whose_line_ends_behind_it_is_not_tried_with_lengths(engine: Engine) -> None:
    assert ends_with_its_line(LINE) and ends_with_its_line(replace(LINE, suffix="  \n)"))
    assert not ends_with_its_line(CALL)
    assert not ends_with_its_line(replace(LINE, middle=(Hole(32, multiline=True),)))
    rows = [len(draft.tokens) for draft in engine.infill(LINE, never)]
    assert max(rows) <= LINE_ROWS and LINE_ROWS < 32


@pytest.mark.parametrize("closed", [True, False])
def test_a_text_to_start_from_tells_the_length(closed: bool, engine: Engine) -> None:
    start = Start((("a", 0.9), (", ", 0.0), ("b", 0.9)), closed)
    *_, last = engine.infill(replace(CALL, start=start), never)
    assert last.done and 2 <= len(last.tokens) <= 4 and last.text.startswith("a")


def test_no_length_is_longer_than_the_hole(engine: Engine) -> None:
    *_, last = engine.infill(replace(CALL, middle=(Hole(3),)), never)
    assert last.done and len(last.tokens) <= 3 < max(LENGTHS)


def test_a_length_is_worth_what_the_model_is_surer_of_it_than_usual() -> None:
    usual = Usual()
    assert usual.better({8: 0.5, 4: 0.9, 16: 0.2}) == [8, 4, 16]  # nothing is known yet
    assert usual.better({8: 0.5, 4: 0.8, 16: 0.4}) == [16, 8, 4]
    assert usual.better({8: 0.9, 4: 0.9}) == [8, 4]


def test_two_runs_give_the_same(engine: Engine) -> None:
    assert list(engine.infill(CALL, never)) == list(engine.infill(CALL, never))
