"""Public diffusion checkpoints in the format they are published in: families.py, inplace.py, blocks.py, resizing.py."""

from __future__ import annotations

import inspect
import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cuda_ext.rules import SPECIAL, Policy
from diffusion import inplace
from diffusion.around import in_front, in_place
from diffusion.backends.torch import TorchBackend
from diffusion.blocks import Blocks, in_turn
from diffusion.canvas import Canvas
from diffusion.engine import Engine
from diffusion.healing import NO_EDGE
from diffusion.inplace import InPlace, turn_suffix
from diffusion.lengths import fitted
from diffusion.model.card import open_folder
from diffusion.model.load import load_weights
from diffusion.model.transformer import ContextCache
from diffusion.request import Hole, InfillRequest, Start
from diffusion.resizing import Predicted, decide
from diffusion.tokenizer import Tokenizer
from tests.foreign import IN_BLOCKS, IN_PLACE, N_TOKENS, PUBLISHED, SOURCES, theirs, write

pytest.importorskip("transformers")

SOURCE = inspect.getsource(textwrap)
PREFIX, SUFFIX = list(range(300, 340)), list(range(340, 377))  # ids of text
CANVAS = list(range(400, 411))


def opened(name: str, tmp_path: Path, **changes: Any) -> tuple[Any, Any, Path]:
    """The reference, our model of the same files, and the folder."""
    path = tmp_path / PUBLISHED[name].folder
    reference = write(name, path, **changes)
    return reference, load_weights(open_folder(path)), path


def cached(model: Any, ids: list[int], behind: int = 0) -> ContextCache:
    cache = ContextCache(model.config, 256, torch.float32)
    cache.ids, cache.behind = list(ids), behind
    return cache


def shifted(logits: torch.Tensor, rows: range, shift: bool) -> torch.Tensor:
    """The logits that predict `rows`."""
    return logits[rows.start - int(shift) : rows.stop - int(shift)]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_files_alone_tell_the_family(name: str, tmp_path: Path) -> None:
    _, model, path = opened(name, tmp_path)
    folder = open_folder(path)
    published = PUBLISHED[name]
    assert folder.family == (published.family or name) and folder.policy == "threshold" and folder.only_torch
    assert folder.config.in_place == (name in IN_PLACE) and folder.config.on_grid == (name in IN_BLOCKS)
    assert folder.config.max_context == 2048
    tokenizer = folder.tokenizer()
    ids = {token: N_TOKENS + i for i, token in enumerate(published.tokens)}
    masks = [at for token, at in ids.items() if "mask" in token.lower() or token == "<M>"]
    assert [folder.vocabulary.mask] == masks
    assert folder.vocabulary.end == ids.get("<|endoftext|>", ids.get("<[end▁of▁sentence]>"))
    assert (folder.vocabulary.middle >= 0) == (name in IN_BLOCKS)
    assert folder.vocabulary.expand == ids.get("<|expand|>", -1)
    assert not tokenizer.specials & set(tokenizer.encode(SOURCE[:2000] + "".join(published.tokens)))
    assert tokenizer.decode(tokenizer.encode(SOURCE)) == SOURCE


@pytest.mark.parametrize("name", IN_PLACE)
def test_a_full_pass_is_that_of_transformers_where_every_row_sees_every_row(name: str, tmp_path: Path) -> None:
    """The canvas is twice as long at first: then the suffix moves up. Rows that hold the end are not there."""
    reference, model, _ = opened(name, tmp_path)
    end = N_TOKENS
    placed, cache = InPlace(model, end, refresh=1), cached(model, PREFIX + SUFFIX, len(SUFFIX))
    for canvas in (CANVAS * 2, [*CANVAS[:5], end, *CANVAS[5:], end]):
        there = [token for token in canvas if token != end]
        ids = PREFIX + there + SUFFIX
        expected = theirs(reference, ids, torch.ones(len(ids), len(ids), dtype=torch.bool))
        rows = range(len(PREFIX), len(PREFIX) + len(there))
        found = model.logits(placed.denoise(torch.tensor([canvas]), cache)[0])[torch.tensor(canvas) != end]
        torch.testing.assert_close(found, shifted(expected, rows, model.config.shift), atol=1e-4, rtol=1e-4)
    assert placed.full_passes == placed.passes == 2


@pytest.mark.parametrize("name", IN_PLACE)
def test_every_pass_of_a_run_at_refresh_1_is_what_transformers_gives_for_its_rows(name: str, tmp_path: Path) -> None:
    reference, model, path = opened(name, tmp_path)
    tokenizer = open_folder(path).tokenizer()
    tokenizer.flags[sorted(tokenizer.specials)] = SPECIAL  # no end, no growth: whatever the weights say, 6 passes
    engine = Engine(TorchBackend(model, refresh=1), tokenizer, Policy(threshold=1.0, max_steps=6), {})
    engine.recall_above = 1.0
    seen: list[tuple[list[int], torch.Tensor, int]] = []
    run = InPlace.denoise

    def watched(self: InPlace, canvas: torch.Tensor, cache: ContextCache) -> torch.Tensor:
        hidden = run(self, canvas, cache)
        there, n_prefix = canvas[0] != self.end_id, len(cache.ids) - cache.behind
        ids = [*cache.ids[:n_prefix], *canvas[0][there].tolist(), *cache.ids[n_prefix:]]
        seen.append((ids, model.logits(hidden[0])[there], n_prefix))
        return hidden

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InPlace, "denoise", watched)
        request = InfillRequest("def f(x):\n    return ", "\n\nprint(f(1))\n", (Hole(8, multiline=True),))
        drafts = list(engine.infill(request, lambda: False))
    assert drafts[-1].done and len(seen) > 1
    for ids, logits, first in seen:
        expected = theirs(reference, ids, torch.ones(len(ids), len(ids), dtype=torch.bool))
        rows = range(first, first + len(logits))
        torch.testing.assert_close(logits, shifted(expected, rows, model.config.shift), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", IN_BLOCKS)
@pytest.mark.parametrize("n_context", [40, 64, 77])
def test_a_canvas_goes_on_in_the_blocks_of_its_context_as_in_transformers(
    name: str, n_context: int, tmp_path: Path
) -> None:
    reference, model, _ = opened(name, tmp_path)
    context, size = (PREFIX + SUFFIX)[:n_context], model.config.context_sees
    ids, rows = context + CANVAS * 3, torch.arange(n_context + 3 * len(CANVAS))
    seen = rows[None] // size <= rows[:, None] // size
    expected = shifted(theirs(reference, ids, seen), range(n_context, len(ids)), model.config.shift)
    cache, whole = cached(model, []), n_context // size * size
    model.encode(context[:whole], cache)
    if whole < n_context:
        model.encode(context[whole:], cache)
    for _ in range(2):  # what a pass leaves in the cache is no part of the next
        found = model.logits(Blocks(model).denoise(torch.tensor([CANVAS * 3]), cache)[0])
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["dream", "mdlm, qwen3"])
def test_a_pass_over_the_neighbourhood_is_exact_while_the_canvas_is_the_same(name: str, tmp_path: Path) -> None:
    _, model, _ = opened(name, tmp_path)
    placed, cache = InPlace(model, N_TOKENS, refresh=2), cached(model, PREFIX + SUFFIX, len(SUFFIX))
    full, near = (placed.denoise(torch.tensor([CANVAS]), cache) for _ in range(2))
    assert (placed.passes, placed.full_passes) == (2, 1)
    torch.testing.assert_close(near, full, atol=1e-5, rtol=1e-5)
    again = placed.denoise(torch.tensor([CANVAS[::-1]]), cache)  # a full pass
    near = placed.denoise(torch.tensor([CANVAS]), cache)  # keys further away are those of the other canvas
    assert placed.full_passes == 2 and not torch.allclose(near, full, atol=1e-3)
    assert not torch.allclose(again, full, atol=1e-3)


def test_keys_of_a_suffix_that_moves_are_turned_exactly(tmp_path: Path) -> None:
    """Of the first layer, whose keys depend on a token and its position alone."""
    _, model, _ = opened("open-dcoder", tmp_path)
    caches = [cached(model, PREFIX + SUFFIX, len(SUFFIX)) for _ in range(2)]
    for cache, n in zip(caches, (11, 7), strict=True):
        InPlace(model, N_TOKENS, refresh=1).denoise(torch.tensor([CANVAS[:n]]), cache)
    turn_suffix(caches[0], 7 - 11, model.config.rope_base)
    slots = slice(len(PREFIX), len(PREFIX) + len(SUFFIX))
    torch.testing.assert_close(caches[0].k[0, :, :, slots], caches[1].k[0, :, :, slots], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["dream", "llada"])
@pytest.mark.parametrize("at_once", [2, 3])
def test_lengths_tried_in_a_batch_are_what_each_alone_gives(
    name: str, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, model, _ = opened(name, tmp_path)
    cache = cached(model, PREFIX + SUFFIX, len(SUFFIX))
    canvases = [CANVAS[:3], CANVAS, CANVAS[:7]]
    monkeypatch.setattr(inplace, "BATCH_ROWS", at_once * (len(PREFIX + SUFFIX) + len(CANVAS)))
    placed = InPlace(model, N_TOKENS, refresh=1)
    together = placed.try_all(canvases, cache, lambda: False)
    assert placed.passes == (1 if at_once == 3 else 2)
    for found, canvas in zip(together, canvases, strict=True):
        alone = model.logits(InPlace(model, N_TOKENS, refresh=1).denoise(torch.tensor([canvas]), cache)[0])
        torch.testing.assert_close(found, alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["dream", "llada"])
def test_lengths_tried_in_their_neighbourhood_are_exact_for_the_canvas_of_the_full_pass(
    name: str, tmp_path: Path
) -> None:
    _, model, _ = opened(name, tmp_path)
    placed, cache = InPlace(model, N_TOKENS, refresh=8), cached(model, PREFIX + SUFFIX, len(SUFFIX))
    canvases = [CANVAS[:7], CANVAS[:3], CANVAS]
    found = placed.try_all(canvases, cache, lambda: False)
    assert (placed.passes, placed.full_passes) == (2, 1)
    exact = InPlace(model, N_TOKENS, refresh=1).try_all(
        canvases, cached(model, PREFIX + SUFFIX, len(SUFFIX)), lambda: False
    )
    torch.testing.assert_close(found[0], exact[0], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found[1], exact[1], atol=1e-3)  # its keys further away are those of seven rows


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each family."""
    root = tmp_path_factory.mktemp("families")
    folders = {name: root / name / published.folder for name, published in PUBLISHED.items()}
    for name, path in folders.items():
        write(name, path)
    return folders


def tokenizer_of(path: Path) -> Tokenizer:
    return open_folder(path).tokenizer()


def test_in_place_the_suffix_follows_and_only_a_whole_one_is_closed(written: dict[str, Path]) -> None:
    tokenizer = tokenizer_of(written["dream"])
    ids = tokenizer.vocabulary
    short = in_place(tokenizer, 2048, "x = \n", "\ny = 2\n")
    assert short.ids[0] == ids.file and short.ids[-1] == ids.eof == ids.end
    assert tokenizer.decode(list(short.ids[-short.behind :])) == "\ny = 2\n"
    long = in_place(tokenizer, 512, SOURCE[:9000], SOURCE[9000:])
    assert len(long.ids) + 128 <= 512 and 64 < long.behind <= 128 and long.ids[-1] != ids.eof
    whole = tokenizer.decode(list(long.ids[: -long.behind]))
    assert SOURCE[:9000].endswith(whole + long.left.text)
    assert in_place(tokenizer_of(written["mdlm"]), 512, "", "x").ids[0] == N_TOKENS  # something in front of the canvas


def test_for_blocks_the_suffix_comes_first_and_typing_leaves_it(written: dict[str, Path]) -> None:
    tokenizer = tokenizer_of(written["sdar"])
    ids = tokenizer.vocabulary
    contexts = [in_front(tokenizer, 2048, SOURCE[:n], SOURCE[9000:]).ids for n in (2000, 2040)]
    first, second = contexts
    assert first[0] == ids.near_suffix and first[-1] == ids.middle and ids.near_prefix in first
    at = first.index(ids.near_prefix)
    assert second[: at + 100] == first[: at + 100]
    assert tokenizer.decode(list(first[1:at])) in SOURCE[9000:]


def test_a_block_is_decided_before_the_next(written: dict[str, Path]) -> None:
    tokenizer = tokenizer_of(written["sdar"])
    canvas = Canvas.blank(tokenizer, (Hole(12, multiline=True),), NO_EDGE, NO_EDGE)
    wanted = np.arange(400, 412)
    assert in_turn(canvas, wanted, n_context=6, size=4).tolist() == [400, 401, *[canvas.mask_id] * 10]
    canvas.ids[:2] = 400, 401
    assert (in_turn(canvas, wanted, n_context=6, size=4) != canvas.mask_id).sum() == 6
    ending = np.array([400, 401, 402, *[canvas.end_id] * 9])
    assert in_turn(canvas, ending, n_context=6, size=4).tolist() == ending.tolist()


def test_a_long_file_is_cut_at_line_breaks_and_both_sides_have_a_share(written: dict[str, Path]) -> None:
    tokenizer = tokenizer_of(written["dream"])
    lines = "".join(f"name_{i} = value({i})\n" for i in range(2000))
    context = in_place(tokenizer, 1024, lines, lines)
    before = tokenizer.decode(list(context.ids[: -context.behind]))
    after = tokenizer.decode(list(context.ids[-context.behind :]))
    assert len(context.ids) + 128 <= 1024
    assert lines.endswith(before + context.left.text) and before.startswith("name_")
    assert lines.startswith(context.right.text + after) and after.endswith("\n") and context.behind > 150
    assert tokenizer.vocabulary.eof not in context.ids
    short = in_place(tokenizer, 1024, "x = ", lines)
    assert short.behind > 600


def test_a_tokenizer_of_vocabulary_and_merges_is_the_one_of_tokenizer_json(written: dict[str, Path]) -> None:
    texts = [path.read_text(encoding="utf-8") for path in SOURCES]
    whole = tokenizer_of(written["mdlm"])
    assert not (written["dream"] / "tokenizer.json").exists()
    assert [tokenizer_of(written["dream"]).encode(text) for text in texts] == [whole.encode(text) for text in texts]


def test_an_added_token_that_does_not_follow_the_vocabulary_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "tiny"
    write("dream", path)
    added = json.loads((path / "added_tokens.json").read_text())
    (path / "added_tokens.json").write_text(json.dumps(added | {"<|mask|>": 530}))
    (path / "config.json").write_text((path / "config.json").read_text().replace('"mask_token_id"', '"was"'))
    with pytest.raises(ValueError, match=r"added token <\|mask\|> has the id 530, which does not follow"):
        open_folder(path).tokenizer()


def predicted(canvas: Canvas, **rows: tuple[int, float]) -> Predicted:
    """What rows say: text, EXPAND or an end, and how sure; the others nothing."""
    n, ids = len(canvas.ids), canvas.tokenizer.vocabulary
    best, probability, end = np.full(n, 400), np.zeros(n), np.zeros(n)
    for row, (token, sure) in rows.items():
        at = int(row.removeprefix("row"))
        (end if token == ids.end else probability)[at] = sure
        best[at] = token
    text = type("Stats", (), {"best": torch.full((n,), 400)})
    return Predicted(text, best, probability, end, np.zeros(n, dtype=bool))  # type: ignore[arg-type]


def test_a_hole_grows_and_shrinks_by_what_its_rows_say(written: dict[str, Path]) -> None:
    tokenizer = tokenizer_of(written["dreamon"])
    mask, end, expand = tokenizer.vocabulary.mask, tokenizer.vocabulary.end, tokenizer.vocabulary.expand
    canvas = Canvas.blank(tokenizer, (Hole(6, multiline=True), "x", Hole(2)), NO_EDGE, NO_EDGE)
    [x] = tokenizer.encode("x")
    canvas = fitted(canvas, 3)
    decide(canvas, predicted(canvas, row0=(401, 0.9), row1=(expand, 0.8), row2=(402, 0.95)), 0.7)
    assert canvas.ids.tolist() == [401, mask, mask, 402, end, end, x, mask, mask]
    decide(canvas, predicted(canvas, row1=(end, 0.9), row2=(403, 0.6)), 0.7)
    assert canvas.ids.tolist() == [401, mask, 402, end, end, end, x, mask, mask]
    decide(canvas, predicted(canvas, row1=(403, 0.2), row7=(expand, 0.3)), 0.7)  # the surest alone; there is no room
    assert canvas.ids.tolist() == [401, mask, 402, end, end, end, x, mask, mask]
    decide(canvas, predicted(canvas, row1=(403, 0.2), row7=(404, 0.1)), 0.7)
    assert canvas.ids.tolist() == [401, 403, 402, end, end, end, x, mask, mask]
    assert canvas.probability[:3].tolist() == pytest.approx([0.9, 0.2, 0.95])


def test_a_line_break_takes_the_masks_behind_it_away(written: dict[str, Path]) -> None:
    tokenizer = tokenizer_of(written["dreamon"])
    mask, end = tokenizer.vocabulary.mask, tokenizer.vocabulary.end
    canvas = Canvas.blank(tokenizer, (Hole(6),), NO_EDGE, NO_EDGE)
    what = predicted(canvas, row2=(end, 0.9))
    what.breaks[2] = True
    decide(canvas, what, 0.7)
    assert canvas.ids.tolist() == [mask, mask, end, end, end, end]


def test_holes_are_fitted_each_to_its_room(written: dict[str, Path]) -> None:
    tokenizer = tokenizer_of(written["mdlm"])
    canvas = Canvas.blank(tokenizer, (Hole(4), "x", Hole(8)), NO_EDGE, NO_EDGE)
    assert (fitted(canvas, 6).ids == canvas.end_id).tolist() == [False] * 11 + [True] * 2


REQUESTS = {
    "the rest of a line": ("\n", (Hole(32),)),
    "inside a call": (")\n", (Hole(16),)),
    "a block": ("\n", (Hole(48, multiline=True),)),
    "two holes": ("\n", (Hole(8), "):", Hole(16, multiline=True))),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_kind_of_hole_is_filled(name: str, written: dict[str, Path]) -> None:
    engine = Engine.load(written[name])
    assert engine.info["backend"] == "torch" and engine.info["torch_because"] and engine.info["other_tokens"] == 0
    for suffix, middle in REQUESTS.values():
        request = InfillRequest(SOURCE[:3000], suffix + SOURCE[3000:5000], middle)
        before = engine.forward_passes
        drafts = list(engine.infill(request, lambda: False))
        last = drafts[-1]
        assert last.done and not last.masked and last.reason in ("complete", "length")
        assert engine.forward_passes - before == last.forward_passes
        assert "\n" not in last.text or any(isinstance(part, Hole) and part.multiline for part in middle)
        assert list(engine.infill(request, lambda: True)) == []
        [late] = engine.infill(InfillRequest(request.prefix, suffix, middle, deadline_ms=0.0), lambda: False)
        assert late.done and late.reason == "deadline"
    start = Start((("urn 1", 1.0),))
    *_, whole = engine.infill(InfillRequest("def f():\n    ret", "\n", (Hole(16),), start=start), lambda: False)
    assert whole.done and not whole.masked


def test_refresh_1_is_exact_and_the_card_or_an_option_sets_it(tmp_path: Path) -> None:
    path = tmp_path / "tiny"
    write("open-dcoder", path)
    assert Engine.load(path).info["cache"] == "approximate"
    (path / "mezzotint.json").write_text(json.dumps({"format": 1, "family": "open-dcoder", "refresh": 1}))
    engine = Engine.load(path)
    assert (engine.info["cache"], engine.info["refresh"], engine.info["family"]) == ("exact", 1, "open-dcoder")
    assert isinstance(engine.policy, Policy)
    engine = Engine.load(path, refresh=4)
    assert (engine.info["cache"], engine.info["refresh"], engine.backend.refresh) == ("approximate", 4, 4)  # type: ignore[attr-defined]


FAULTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "bd3lm or mdlm": ("mdlm", {}, 'mdlm and bd3lm have the same files; say "family"'),
    "no norms": ("dreamreasoner", {"model_type": "CoDA_"}, "model_type 'CoDA_' is none of llama"),
    "mask id": ("dream", {"mask_token_id": 7}, "mask_token_id is 7, but in the tokenizer it is"),
    "expand id": ("dream", {"expand_token_id": 7}, "expand_token_id is 7, but in the tokenizer it is None"),
    "alibi": ("llada", {"alibi": True}, "alibi True is not supported, only False"),
    "a bias": ("llada", {"include_qkv_bias": True}, "include_qkv_bias True is not supported"),
    "no such mask": (
        "coda",
        {"model_type": "llada"},
        r"model_type 'llada' with <\|mask\|> .* is no checkpoint of llada",
    ),
    "plain": ("sdar", {"model_type": "qwen3"}, r"mask token <\|MASK\|> but no mezzotint.json"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_files_that_contradict_one_another_are_one_sentence(fault: str, tmp_path: Path) -> None:
    name, change, message = FAULTS[fault]
    write(name, tmp_path / "tiny", **change)
    with pytest.raises(ValueError, match=message):
        open_folder(tmp_path / "tiny").weights()


def test_a_card_tells_apart_what_the_files_do_not(tmp_path: Path) -> None:
    path = tmp_path / "tiny"
    write("mdlm", path)
    for card, message in (
        ({"format": 1, "family": "gpt"}, "family 'gpt' is none of dream"),
        ({"format": 1, "family": "llada"}, r"the tokenizer has no <\|mdm_mask\|>, the mask of llada"),
        ({"format": 1, "family": "bd3lm", "shift": True}, "with a family has format 1 and only"),
        ({"format": 1, "family": "bd3lm", "refresh": 0}, "refresh must be a whole number"),
        ({"format": 1, "family": "bd3lm", "max_context": 100}, "max_context 100 is less than"),
    ):
        (path / "mezzotint.json").write_text(json.dumps(card))
        with pytest.raises(ValueError, match=message):
            open_folder(path)
    (path / "mezzotint.json").write_text(json.dumps({"format": 1, "family": "bd3lm", "max_context": 1024}))
    folder = open_folder(path)
    assert (folder.family, folder.config.context_sees, folder.config.max_context) == ("bd3lm", 32, 1024)


def test_llada_tensors_are_all_used_and_all_there(tmp_path: Path) -> None:
    path = tmp_path / "tiny"
    write("llada", path)
    tensors = load_file(path / "model.safetensors")
    save_file(tensors | {"model.transformer.blocks.2.q_proj.weight": torch.zeros(2)}, path / "model.safetensors")
    with pytest.raises(ValueError, match="nothing uses model.transformer.blocks.2.q_proj.weight"):
        open_folder(path).weights()
    del tensors["model.transformer.blocks.1.ff_out.weight"]
    save_file(tensors, path / "model.safetensors")
    with pytest.raises(ValueError, match="model.transformer.blocks.1.ff_out.weight missing"):
        open_folder(path).weights()


def test_the_native_backend_says_why_it_does_not_run_them(written: dict[str, Path]) -> None:
    for name, why in (("dream", "every row sees every row"), ("sdar", "context and canvas share their blocks")):
        with pytest.raises(ValueError, match=f"native backend cannot run .*: {why}"):
            Engine.load(written[name], backend="native")
