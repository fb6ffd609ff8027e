"""diffusion/engine.py: the context cache is exact, and bad weights are one clear error."""

import dataclasses
import gc
import inspect
import json
import random
import shutil
import textwrap
import weakref
from pathlib import Path

import pytest
import torch

from cuda_ext import native
from cuda_ext.rules import Policy, Verdict
from diffusion.canvas import Canvas
from diffusion.confidence import chance
from diffusion.denoise import denoise
from diffusion.engine import Engine, common_prefix
from diffusion.layout import lay_out
from diffusion.model.card import open_folder, write_card
from diffusion.model.transformer import ContextCache, Transformer, sdpa
from diffusion.recall import recalled
from diffusion.request import Draft, Hole, InfillRequest, Start
from diffusion.vocabulary import OURS
from tests.models import SMALL

SOURCE = inspect.getsource(textwrap)


NONE = torch.tensor([[OURS.end]])  # the neighbour where there is none


class Uncached:
    """The same model without any cache: every step is one forward pass over context and canvas together."""

    def __init__(self, model: Transformer, context: tuple[int, ...]) -> None:
        self.model, self.context = model, torch.tensor([context])
        self.logits = model.logits

    def denoise(self, canvas_ids: torch.Tensor, cache: ContextCache) -> torch.Tensor:
        n_context, n_rows = self.context.shape[1], self.context.shape[1] + canvas_ids.shape[1]
        rows = torch.arange(n_rows)
        canvas = (rows >= n_context)[None]
        mask = (rows[None, :] <= rows[:, None]) | canvas[0][:, None]
        ids = torch.cat((self.context, canvas_ids), dim=1)
        left, right = (torch.cat(pair, dim=1) for pair in ((NONE, ids[:, :-1]), (ids[:, 1:], NONE)))
        hidden = self.model(ids, rows[None], left, right, canvas, lambda layer, q, k, v: sdpa(q, k, v, mask))
        return hidden[:, n_context:]


def without_any_cache(engine: Engine, request: InfillRequest) -> list[Draft]:
    """The loop over the uncached model."""
    context = lay_out(engine.tokenizer, engine.layout, request.prefix, request.suffix, ())
    canvas = Canvas.blank(engine.tokenizer, request.middle, context.left, context.right)
    unused = ContextCache(engine.backend.config, 1, torch.float32)
    return list(denoise(Uncached(engine.backend.model, context.ids), unused, canvas, engine.policy, lambda: False))


def random_edit(rng: random.Random, prefix: str, suffix: str) -> tuple[str, str]:
    """Type, delete, or move the cursor."""
    kind = rng.choice(["type", "type", "type", "delete", "move", "line"])
    if kind == "type":
        return prefix + rng.choice("abc =(.x1"), suffix
    if kind == "line":
        return prefix + "\n    ", suffix
    if kind == "delete":
        return prefix[: -rng.randint(1, 12)], suffix
    whole, cut = prefix + suffix, max(1, len(prefix) + rng.randint(-300, 300))
    return whole[:cut], whole[cut:]


def test_cached_context_gives_the_same_tokens_as_no_cache_after_random_edits(engine: Engine) -> None:
    rng = random.Random(0)
    prefix, suffix = SOURCE[:4000], SOURCE[4000:]
    for _ in range(12):
        prefix, suffix = random_edit(rng, prefix, suffix)
        request = InfillRequest(prefix, suffix, (Hole(8),))
        cached = list(engine.infill(request, lambda: False))
        fresh = without_any_cache(engine, request)
        assert [(d.text, d.masked) for d in cached] == [(d.text, d.masked) for d in fresh]


def test_typing_one_character_encodes_only_the_tokens_that_changed(engine: Engine) -> None:
    typed = SOURCE[3000:3080]
    previous: tuple[int, ...] = ()
    for count in range(len(typed)):
        request = InfillRequest(SOURCE[:3000] + typed[:count], SOURCE[3100:])
        before = engine.encoded_tokens
        engine.prepare(request, lambda: False)
        ids = lay_out(engine.tokenizer, engine.layout, request.prefix, request.suffix, ()).ids
        assert engine.encoded_tokens - before == len(ids) - common_prefix(list(previous), ids)
        if count:
            assert engine.encoded_tokens - before <= 4  # a word may be split anew while it grows
        assert ids[: len(previous) - 8] == previous[:-8] or not previous
        previous = ids


def test_going_back_and_forth_between_two_files_encodes_each_once(engine: Engine) -> None:
    requests = [InfillRequest(SOURCE[:3000], ""), InfillRequest("import os\n" * 50, "\n")]
    for request in requests:
        engine.prepare(request, lambda: False)
    encoded = engine.encoded_tokens
    for request in requests * 3:
        engine.prepare(request, lambda: False)
    assert engine.encoded_tokens == encoded


def test_a_cancelled_request_encodes_at_most_one_more_piece(engine: Engine) -> None:
    assert list(engine.infill(InfillRequest(SOURCE[:3000], ""), lambda: True)) == []
    assert engine.encoded_tokens == 0


def test_the_deadline_is_for_the_context_as_well(any_engine: Engine) -> None:
    request = InfillRequest(SOURCE[:3000], "", deadline_ms=0.0)
    [draft] = any_engine.infill(request, lambda: False)
    assert (draft.done, draft.reason, draft.text, draft.forward_passes) == (True, "deadline", "", 0)
    assert any_engine.encoded_tokens == any_engine.forward_passes == 0


def test_what_encoding_took_is_taken_from_the_loop(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("diffusion.engine.time.perf_counter", lambda: next(clock) / 1000)
    given: list[float | None] = []

    def denoise(
        cache: object, canvas: object, policy: object, request: InfillRequest, cancelled: object
    ) -> list[Draft]:
        given.append(request.deadline_ms)
        return []

    monkeypatch.setattr(engine.backend, "denoise", denoise)
    list(engine.infill(InfillRequest("x = ", "", deadline_ms=500.0), lambda: False))
    [left] = given
    assert left is not None and left <= 480  # the clock was looked at before a piece, and behind it


def test_a_context_of_blocks_is_encoded_anew_from_the_block_that_changed(engine: Engine) -> None:
    engine.backend.model.config = dataclasses.replace(engine.backend.config, context_sees=16)
    engine.prepare(InfillRequest(SOURCE[:3000], ""), lambda: False)
    before = engine.encoded_tokens
    engine.prepare(InfillRequest(SOURCE[:3000] + " = (", ""), lambda: False)
    kept = before - before % 16
    assert before - kept < engine.encoded_tokens - before <= before - kept + 16 + 4


def test_the_card_says_how_a_model_is_decoded(tmp_path: Path) -> None:
    assert isinstance(Engine.load(SMALL).policy, Policy)
    path, folder = copy_of_weights(tmp_path), open_folder(SMALL)
    write_card(dataclasses.replace(folder, policy="verdict"), path)
    engine = Engine.load(path)
    assert isinstance(engine.policy, Verdict)
    assert list(engine.infill(InfillRequest("def f(x):\n    return ", "\n"), lambda: False))[-1].done


def copy_of_weights(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SMALL, tmp_path / "weights"))


def test_truncated_weights_are_one_clear_error(tmp_path: Path) -> None:
    path = copy_of_weights(tmp_path)
    data = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="cannot read .*model.safetensors"):
        Engine.load(path)


def test_weights_of_another_shape_are_one_clear_error(tmp_path: Path) -> None:
    path = copy_of_weights(tmp_path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"n_layers": config["n_layers"] + 1}))
    with pytest.raises(ValueError, match="does not fit its config.json"):
        Engine.load(path)


@pytest.mark.parametrize("content", ["", "[]", '{"layers": 3}'])
def test_a_wrong_config_is_one_clear_error(tmp_path: Path, content: str) -> None:
    path = copy_of_weights(tmp_path)
    (path / "config.json").write_text(content)
    with pytest.raises(ValueError, match="config.json"):
        Engine.load(path)


def test_a_missing_folder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="config.json"):
        Engine.load(tmp_path / "nothing")


def test_an_empty_file_gets_a_completion(engine: Engine) -> None:
    assert list(engine.infill(InfillRequest("", ""), lambda: False))[-1].done


@pytest.mark.parametrize("backend", ["torch", "native"])
def test_a_start_without_doubts_costs_one_pass_and_stays(backend: str) -> None:
    if backend == "native" and native.why_not("cpu"):
        pytest.skip(native.why_not("cpu"))
    engine = Engine.load(SMALL, backend=backend)
    engine.policy = dataclasses.replace(engine.policy, revise_below=0.0)
    request = InfillRequest(
        "def area(width, height):\n    ret", "\n", (Hole(16),), start=Start((("urn width * height", 0.6),))
    )
    [draft] = engine.infill(request, lambda: False)
    assert (draft.text, draft.forward_passes, draft.done) == ("urn width * height", 1, True)
    assert chance(draft.tokens) == pytest.approx(0.6)


def test_a_hole_starts_from_what_the_text_at_hand_said_before() -> None:
    request = InfillRequest("logger = logging.getLogger(__name__)\n" * 3 + "logger = log", "\n", (Hole(32),))
    assert recalled(request).starts(0.02)[0].text == "ging.getLogger(__name__)"
    assert recalled(request).starts(1.0) == []
    assert recalled(InfillRequest("", "", (Hole(8), ")", Hole(8)))).starts(0.0) == []


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_an_engine_is_gone_without_the_garbage_collector(backend: str) -> None:
    """It is hundreds of megabytes, and another is loaded when the settings change."""
    if backend == "native" and native.why_not("cpu"):
        pytest.skip(f"native backend: {native.why_not('cpu')}")
    engine = Engine.load(SMALL, backend=backend, threads=1)
    assert list(engine.infill(InfillRequest("a = ", "\n"), lambda: False))
    gone = weakref.ref(engine)
    gc.collect()
    gc.disable()
    try:
        del engine
        assert gone() is None
    finally:
        gc.enable()
