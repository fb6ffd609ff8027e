"""diffusion/denoise.py, and token by token (diffusion/verdict.py), driven through the engine on real source."""

import inspect
import textwrap

import pytest
import torch

from cuda_ext.rules import Policy
from diffusion.canvas import Canvas
from diffusion.denoise import denoise
from diffusion.engine import Engine
from diffusion.layout import lay_out
from diffusion.model.transformer import ContextCache
from diffusion.request import Draft, Hole, InfillRequest
from diffusion.vocabulary import OURS

SOURCE = inspect.getsource(textwrap)
CUTS = [SOURCE.index(mark) + len(mark) for mark in ("self.width", "chunks.rev", "if self.", "return ", "text = ")]


def request_at(cut: int, **options: object) -> InfillRequest:
    end = SOURCE.index("\n", cut)
    return InfillRequest(SOURCE[:cut], SOURCE[end:], **options)  # type: ignore[arg-type]


def drafts(engine: Engine, request: InfillRequest) -> list[Draft]:
    return list(engine.infill(request, lambda: False))


@pytest.mark.parametrize("cut", CUTS)
def test_undecided_spans_shrink_to_none(any_engine: Engine, cut: int) -> None:
    found = drafts(any_engine, request_at(cut))
    assert [draft.done for draft in found] == [False] * (len(found) - 1) + [True]
    assert found[-1].masked == ()
    assert [draft.step for draft in found] == list(range(1, len(found) + 1))
    for draft in found:
        assert all(0 <= a < b <= len(draft.text) for a, b in draft.masked)


@pytest.mark.parametrize("cut", CUTS)
def test_a_single_line_hole_never_holds_a_line_break(any_engine: Engine, cut: int) -> None:
    assert all("\n" not in draft.text for draft in drafts(any_engine, request_at(cut)))


def test_the_same_seed_gives_the_same_drafts_and_another_seed_others(any_engine: Engine) -> None:
    def run(seed: int) -> list[Draft]:
        return drafts(any_engine, request_at(CUTS[0], seed=seed, temperature=1.0))

    assert run(1) == run(1)
    assert any(run(1) != run(seed) for seed in (2, 3, 4))


def test_cancelling_costs_at_most_the_pass_that_is_running(any_engine: Engine) -> None:
    """The native loop runs ahead of its reader: passes are counted where they run, before and after it is told."""
    request = request_at(CUTS[0], middle=(Hole(32),))
    any_engine.prepare(request, lambda: False)
    seen: list[Draft] = []
    told: list[int] = []

    def cancelled() -> bool:
        if len(seen) >= 2:
            told.append(any_engine.forward_passes)
        return bool(told)

    for draft in any_engine.infill(request, cancelled):
        seen.append(draft)
    assert len(seen) == 2 and not seen[-1].done
    assert 2 <= told[0] <= any_engine.forward_passes <= told[0] + 1


def test_a_deadline_in_the_past_gives_a_whole_draft_after_one_step(any_engine: Engine) -> None:
    found = drafts(any_engine, request_at(CUTS[0], deadline_ms=0.0, middle=(Hole(32),)))
    assert len(found) == 1 and found[0].done and found[0].reason == "deadline" and found[0].masked == ()


def test_the_number_of_steps_is_bounded(any_engine: Engine) -> None:
    any_engine.policy = Policy(threshold=2.0, max_steps=5)
    assert len(drafts(any_engine, request_at(CUTS[0], middle=(Hole(64, multiline=True),)))) <= 5


def test_text_between_two_holes_stays(any_engine: Engine) -> None:
    request = InfillRequest("def area(", "\n", middle=(Hole(8), "):\n    return ", Hole(16)))
    for draft in drafts(any_engine, request):
        assert "):\n    return " in draft.text


@pytest.mark.parametrize("cut", range(SOURCE.index("def wrap"), SOURCE.index("def wrap") + 120, 17))
def test_whatever_the_cursor_cuts_text_joins_what_stands_before_it(any_engine: Engine, cut: int) -> None:
    """Token healing: prefix + text decodes from whole tokens that begin with the partial one."""
    for draft in drafts(any_engine, request_at(cut)):
        assert not draft.text.startswith("\ufffd")


def test_autoregressive_decoding_takes_a_forward_pass_per_token_and_ends(any_engine: Engine) -> None:
    found = list(any_engine.autoregress(request_at(CUTS[0]), lambda: False))
    assert found[-1].done and found[-1].masked == ()
    assert found[-1].forward_passes == len(found) <= 16


def test_autoregressive_decoding_leaves_the_context_cache_as_it_was(any_engine: Engine) -> None:
    request = request_at(CUTS[1])
    before = [(draft.text, draft.masked) for draft in drafts(any_engine, request)]
    list(any_engine.autoregress(request, lambda: False))
    encoded = any_engine.encoded_tokens
    assert [(draft.text, draft.masked) for draft in drafts(any_engine, request)] == before
    assert any_engine.encoded_tokens == encoded


def final_canvas(engine: Engine, prefix: str, suffix: str, hole: Hole) -> tuple[Canvas, Draft]:
    """The canvas as the loop leaves it, and the last draft."""
    context = lay_out(engine.tokenizer, engine.layout, prefix, suffix, ())
    cache = ContextCache(engine.backend.config, 512, torch.float32)
    with torch.no_grad():
        engine.backend.model.encode(list(context.ids), cache)
    canvas = Canvas.blank(engine.tokenizer, (hole,), context.left.as_one, context.right)
    last = list(denoise(engine.backend.model, cache, canvas, engine.policy, lambda: False))[-1]
    return canvas, last


@pytest.mark.parametrize("suffix", [")\n", "))\n", "name\n", "]:\n    pass\n"])
@pytest.mark.parametrize("prefix", ["print(", "x = foo(ba", "if items[", "    retu"])
def test_the_hole_begins_and_ends_with_the_partial_tokens_around_the_cursor(
    engine: Engine, prefix: str, suffix: str
) -> None:
    canvas, last = final_canvas(engine, prefix, suffix, Hole(16))
    ids = canvas.ids.tolist()
    tokens = [canvas.tokenizer.token_bytes[i] for i in (ids[: ids.index(OURS.end)] if OURS.end in ids else ids)]
    assert tokens[0].startswith(canvas.left.text.encode())
    if last.reason == "complete" and canvas.right.text:
        assert tokens[-1].endswith(canvas.right.text.encode())


def test_revising_is_bounded(any_engine: Engine) -> None:
    """With a rule that doubts every token, each of at most so many rows is denoised once more, and no more."""
    request = request_at(CUTS[0], middle=(Hole(16),))
    any_engine.policy = Policy(threshold=2.0, max_steps=64, revise_below=2.0, max_revisions=3)
    doubting = len(drafts(any_engine, request))
    assert doubting <= 16 + 3 + 1
