"""Checkpoints that go on token by token, by the same engine: a baseline, with their markers to fill in the middle."""

from __future__ import annotations

import inspect
import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cuda_ext.rules import SPECIAL
from diffusion.backends.torch import TorchBackend
from diffusion.engine import Engine
from diffusion.evaluate.run import main
from diffusion.model.card import open_folder
from diffusion.model.load import load_weights
from diffusion.request import Hole, InfillRequest
from diffusion.tokenizer import Tokenizer
from tests.foreign import CAUSAL, write
from tests.test_evaluate_run import holdout

pytest.importorskip("transformers")

SOURCE = inspect.getsource(textwrap)
PREFIX, SUFFIX = SOURCE[:600] + "\n\nx = 12", "\n" + SOURCE[600:900]  # a digit at the end: no token is given back
ORDER = {
    "qwen2.5-coder": ("<|fim_prefix|>", "P", "<|fim_suffix|>", "S", "<|fim_middle|>"),
    "seed-coder": ("<[fim-suffix]>", "S", "<[fim-prefix]>", "P", "<[fim-middle]>"),
}


def prompt(name: str, engine: Engine) -> list[int]:
    """What the family was trained on, from the texts of its markers."""
    if name not in ORDER:
        return engine.tokenizer.encode(PREFIX)
    sides = {"P": PREFIX, "S": SUFFIX}
    return [
        token
        for part in ORDER[name]
        for token in (
            engine.tokenizer.encode(sides[part]) if part in sides else [engine.tokenizer._bpe.token_to_id(part)]
        )
    ]


@pytest.mark.parametrize("name", ORDER)
def test_markers_in_the_tokenizer_put_prefix_and_suffix_in_the_order_that_was_trained(
    name: str, tmp_path: Path
) -> None:
    write(name, tmp_path / "tiny")
    engine = Engine.load(tmp_path / "tiny", backend="torch")
    request = InfillRequest(PREFIX, SUFFIX)
    assert list(engine._lay_out(request).ids) == prompt(name, engine)
    assert engine.info["other_tokens"] == 0 and engine.info["policy"] == "verdict"
    assert "middle" in dict(vars(engine.tokenizer.vocabulary)) and engine.tokenizer.vocabulary.mask < 0


def greedy(model: Any, ids: list[int], tokenizer: Tokenizer, n: int) -> str:
    """What transformers writes behind `ids`, the likeliest token each time, special tokens left out."""
    ends, written = {tokenizer.vocabulary.end, *tokenizer.vocabulary.also_ends}, list[int]()
    flags = tokenizer.flags
    allowed = torch.from_numpy((flags != SPECIAL) | np.isin(np.arange(len(flags)), list(ends)))
    for _ in range(n):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids + written]), use_cache=False).logits[0, -1]
        token = int(logits.masked_fill(~allowed, -torch.inf).argmax())
        if token in ends:
            break
        written.append(token)
    return tokenizer.decode(written)


@pytest.mark.parametrize("name", CAUSAL)
def test_the_text_is_what_transformers_writes_greedily(name: str, tmp_path: Path) -> None:
    model = write(name, tmp_path / "tiny")
    folder = open_folder(tmp_path / "tiny")
    engine = Engine(TorchBackend(load_weights(folder)), folder.tokenizer(), folder.verdict, {})
    ids = prompt(name, engine) if name in ORDER else list(engine._lay_out(InfillRequest(PREFIX, SUFFIX)).ids)
    request = InfillRequest(PREFIX, SUFFIX, (Hole(8, multiline=True),))
    for decode in (engine.autoregress, engine.infill):
        assert list(decode(request, lambda: False))[-1].text == greedy(model, ids, engine.tokenizer, 8)


@pytest.mark.parametrize("name", ["sdar", "stable-diffcoder"])
@pytest.mark.parametrize("canvas_sees", [0, 32])
def test_where_the_context_is_causal_a_card_has_the_canvas_draft_and_causal_rows_decide(
    name: str, canvas_sees: int, tmp_path: Path
) -> None:
    """As in Nemotron-Labs-Diffusion: whatever the canvas drafts, the text is that of transformers, token by token."""
    model = write(name, tmp_path / "tiny")
    tokens = {"mask": 505, "end": 500, "near_suffix": 504, "near_prefix": 502, "middle": 503}
    card = {"format": 1, "tokens": tokens, "context_sees": 1, "canvas_sees": canvas_sees, "policy": "verdict"}
    (tmp_path / "tiny/mezzotint.json").write_text(json.dumps(card))
    folder = open_folder(tmp_path / "tiny")
    engine = Engine(TorchBackend(load_weights(folder)), folder.tokenizer(), folder.verdict, {})
    request = InfillRequest(PREFIX, SUFFIX, (Hole(16, multiline=True),))
    ids = list(engine._lay_out(request).ids)
    assert (ids[0], ids[-1]) == (504, 503)
    *_, last = engine.infill(request, lambda: False)
    assert last.text == greedy(model, ids, engine.tokenizer, 16)


def test_without_markers_the_prefix_stands_alone(tmp_path: Path) -> None:
    write("smollm2", tmp_path / "tiny")
    folder = open_folder(tmp_path / "tiny")
    assert (folder.vocabulary.middle, folder.vocabulary.near_suffix) == (-1, -1)
    ids = Engine.load(tmp_path / "tiny", backend="torch")._lay_out(InfillRequest("x = 12", "\ny = 2\n")).ids
    assert folder.tokenizer().decode(list(ids)) == "x = 12"


def test_every_mark_of_a_file_ends_what_is_filled_in(tmp_path: Path) -> None:
    write("qwen2.5-coder", tmp_path / "tiny")
    folder = open_folder(tmp_path / "tiny")
    tokenizer = folder.tokenizer()
    texts = {tokenizer._bpe.id_to_token(i) for i in (folder.vocabulary.end, *folder.vocabulary.also_ends)}
    assert texts == {"<|endoftext|>", "<|im_end|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"}
    assert not tokenizer.specials & set(tokenizer.encode("<|fim_prefix|>x<|fim_middle|>"))


CARDS: dict[str, tuple[dict[str, Any], str]] = {
    "alone": ({"end": 500, "middle": 503}, "middle needs near_suffix and near_prefix beside it"),
    "order": ({"end": 500, "prefix_first": 1}, "prefix_first must be true or false, not 1"),
}


@pytest.mark.parametrize("fault", CARDS)
def test_a_card_that_names_half_of_the_markers_is_one_sentence(fault: str, tmp_path: Path) -> None:
    write("qwen2.5-coder", tmp_path / "tiny")
    tokens, message = CARDS[fault]
    (tmp_path / "tiny/mezzotint.json").write_text(json.dumps({"format": 1, "tokens": tokens}))
    with pytest.raises(ValueError, match=message):
        open_folder(tmp_path / "tiny")


def test_a_card_sets_the_order(tmp_path: Path) -> None:
    write("smollm2", tmp_path / "tiny")
    tokens = {"end": 500, "near_suffix": 530, "near_prefix": 531, "middle": 532, "prefix_first": True}
    (tmp_path / "tiny/mezzotint.json").write_text(json.dumps({"format": 1, "tokens": tokens}))
    ids = Engine.load(tmp_path / "tiny", backend="torch")._lay_out(InfillRequest("x = 12", "\ny = 2\n")).ids
    assert ids[0] == 531 and ids[-1] == 532 and 530 in ids


@pytest.mark.parametrize("name", ["qwen2.5-coder", "smollm2"])
def test_eval_runs_it_token_by_token_with_drafts_and_without(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(name, tmp_path / "tiny")
    argv = ["--holdout", str(holdout(tmp_path)), "--rest-of-line", "2", "--multi-line", "1", "--others", "0"]
    assert main([*argv, "--model", str(tmp_path / "tiny")]) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    for kind in ("rest_of_line", "multi_line"):
        assert list(results[kind]) == ["autoregressive with drafts", "recall alone", "autoregressive"]
        alone, drafted = results[kind]["autoregressive"], results[kind]["autoregressive with drafts"]
        assert (alone["exact"], alone["edit_similarity"]) == (drafted["exact"], drafted["edit_similarity"])


def test_eval_shows_it_as_a_baseline_beside_a_diffusion_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("qwen2.5-coder", tmp_path / "coder")
    write("open-dcoder", tmp_path / "tiny")
    argv = ["--holdout", str(holdout(tmp_path)), "--rest-of-line", "2", "--multi-line", "0", "--others", "0"]
    assert main([*argv, "--model", str(tmp_path / "tiny"), "--baseline", str(tmp_path / "coder")]) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])["rest_of_line"]
    assert list(results) == ["diffusion", "diffusion from masks", "recall alone", "coder, token by token"]
    assert results["coder, token by token"]["forward_passes"] >= 1
