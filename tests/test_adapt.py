"""diffusion/adapt: the split, what learns, and a run that keeps the best and goes on, and its card."""

from __future__ import annotations

import json
import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffusion.adapt import data
from diffusion.adapt import run as runs
from diffusion.adapt.card import about, write_adapter
from diffusion.adapt.lora import grow, losses
from diffusion.adapt.run import AdaptRun, Run, held_out_batches, learn, recipe_of, refuse_unfit
from diffusion.evaluate.cases import SourceFile
from diffusion.model.adapter import CARD, open_adapter
from diffusion.model.card import open_folder, weights_hash
from diffusion.model.config import EVERYTHING
from diffusion.model.load import load_weights
from diffusion.train.step import attention_mask, compute_losses
from tests.models import SMALL
from tests.test_train_from_base import base

FOLDER = open_folder(SMALL)
TOKENIZER = FOLDER.tokenizer()
STDLIB = Path(sysconfig.get_path("stdlib"))
NAMES = ("bisect", "heapq", "queue", "shlex", "textwrap", "fnmatch", "glob", "sched", "stat", "colorsys")
FILES = [SourceFile(f"lib/{name}.py", (STDLIB / f"{name}.py").read_text(encoding="utf-8")) for name in NAMES]
CONFIG = AdaptRun(minutes=60, rank=2, lr=1e-2, max_steps=2, recipe=recipe_of(FOLDER))


def never() -> bool:
    return False


def adapted(out: Path, config: AdaptRun = CONFIG, belongs: str = "") -> tuple[Run, dict[str, torch.Tensor]]:
    learned, held_out = data.split(FILES)
    checks = held_out_batches(FOLDER, data.in_memory(held_out, TOKENIZER, least=0), config.recipe)[:1]
    return learn(FOLDER, data.in_memory(learned, TOKENIZER), checks, out, config, never, belongs)


def test_a_file_stays_on_its_side_when_others_come_and_go() -> None:
    many = [SourceFile(f"a/{i}.py", f"x = {i}\n") for i in range(200)]
    learned, held_out = data.split(many)
    assert 20 < len(held_out) < 60 and len(learned) + len(held_out) == 200
    fewer_learned, fewer_held_out = data.split(many[::2])
    assert set(fewer_learned) <= set(learned) and set(fewer_held_out) <= set(held_out)
    assert data.split(many[::-1]) == (learned, held_out)


def test_of_equal_texts_one_is_kept_so_that_no_copy_of_what_is_held_out_is_learned() -> None:
    copies = [SourceFile(f"{folder}/{i}.py", f"x = {i}\n") for folder in "abc" for i in range(20)]
    learned, held_out = data.split(copies)
    texts = [file.text for file in (*learned, *held_out)]
    assert len(texts) == len(set(texts)) == 20


def test_some_files_are_held_out_whatever_their_hashes_are() -> None:
    for first in range(0, 300, 10):
        _, held_out = data.split([SourceFile(f"{i}.py", f"{i}") for i in range(first, first + 8)])
        assert len(held_out) >= data.LEAST_HELD_OUT


def test_too_few_files_and_too_little_text_are_said_in_words() -> None:
    with pytest.raises(ValueError, match="3 files of source code are too few to learn from: it takes 8"):
        data.split(FILES[:3])
    with pytest.raises(ValueError, match=r"\d+ tokens in 1 files are too few"):
        data.in_memory([SourceFile("a.py", "x = 1\n")], TOKENIZER)


def test_a_language_without_a_grammar_for_training_is_learned_as_it_is() -> None:
    text = "// adds\nfunc add(a int) int { return a }\n"
    found = data.in_memory([SourceFile("a.go", text)], TOKENIZER, least=0)
    assert TOKENIZER.decode(found.file(0).tolist()) == text


def test_before_anything_is_learned_the_losses_are_the_bases() -> None:
    batch = held_out_batches(FOLDER, data.in_memory(FILES, TOKENIZER), CONFIG.recipe)[0]
    mask, model = attention_mask(batch), load_weights(FOLDER)
    expected = [float(loss) for loss in compute_losses(model, batch, mask)]
    learned = grow(model, rank=2)
    rows = torch.arange(batch.ids.numel())
    found = losses(model, batch, mask, rows)
    assert [float(loss.detach()) for loss in found] == pytest.approx(expected, rel=0.02)
    sum(found).backward()
    assert all(parameter.grad is not None for parameter in learned.values())
    trainable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert trainable == {id(parameter) for parameter in learned.values()}


def test_every_matrix_of_every_block_learns() -> None:
    learned = grow(load_weights(FOLDER), rank=2)
    matrices = {
        name for name, weight in load_weights(FOLDER).named_parameters() if "blocks" in name and weight.dim() == 2
    }
    assert set(learned) == {name + part for name in matrices for part in (".down", ".up")}


def test_a_step_makes_what_it_learned_from_likelier() -> None:
    batch = held_out_batches(FOLDER, data.in_memory(FILES, TOKENIZER), CONFIG.recipe)[0]
    model = load_weights(FOLDER)
    optimizer = torch.optim.AdamW(list(grow(model, 4).values()), lr=1e-2)
    first, *_, last = (
        runs.one_step(model, optimizer, batch, CONFIG, torch.Generator().manual_seed(0))[0] for _ in range(4)
    )
    assert last < first


def test_a_run_ends_by_its_steps_and_its_adapter_fits_the_base(tmp_path: Path) -> None:
    at, best = adapted(tmp_path)
    assert at.step == 2 and at.history[0][1] == 0 and at.history[-1][1] == 2
    learned, held_out = data.split(FILES)
    write_adapter(tmp_path, best, about(weights_hash(SMALL), at, CONFIG, learned, held_out, 7))
    found = open_adapter(tmp_path, FOLDER.config, weights_hash(SMALL))
    assert {name + part for name in found.pairs for part in (".down", ".up")} == set(best)


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    adapted(tmp_path)
    longer = replace(CONFIG, max_steps=3)
    at, _ = adapted(tmp_path, longer)
    assert at.step == 3 and [step for _, step, _, _ in at.history].count(0) == 1
    again, _ = adapted(tmp_path, longer)
    assert again.step == 3


def test_a_state_of_something_else_or_cut_off_is_not_gone_on_from(tmp_path: Path) -> None:
    adapted(tmp_path, belongs="a")
    with pytest.raises(ValueError, match="holds a run on other files, of another model or rank"):
        adapted(tmp_path, belongs="b")
    (tmp_path / runs.STATE).write_bytes((tmp_path / runs.STATE).read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot go on from .*state.pt"):
        adapted(tmp_path, belongs="a")


def test_the_best_is_kept_and_a_run_that_gets_no_better_ends_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "CHECK_SHARE", 0.1)
    at, best = adapted(tmp_path, replace(CONFIG, lr=30.0, max_steps=10))
    assert at.step < 10 and at.since_best >= runs.PATIENCE
    assert all(at.best < 2 * next_token + canvas for _, step, next_token, canvas in at.history if step)
    assert not any(bool(tensor.any()) for name, tensor in best.items() if name.endswith(".up"))  # that of step 0


def test_a_model_that_judges_its_drafts_is_kept_by_its_next_token_loss(tmp_path: Path) -> None:
    folder = open_folder(base(tmp_path / "base"))
    learned, held_out = data.split(FILES)
    config = replace(CONFIG, recipe=recipe_of(folder))
    checks = held_out_batches(folder, data.in_memory(held_out, TOKENIZER, least=0), config.recipe)[:1]
    at, best = learn(folder, data.in_memory(learned, TOKENIZER), checks, tmp_path, config, never)
    assert folder.policy == "verdict" and FOLDER.policy != "verdict"
    assert at.best == pytest.approx(min(next_token for _, _, next_token, _ in at.history), abs=1e-4)
    assert "blocks.1.gate_up.weight.up" in best


def test_the_card_holds_hashes_and_counts_and_neither_paths_nor_text(tmp_path: Path) -> None:
    learned, held_out = data.split(FILES)
    best = {"blocks.0.o.weight.down": torch.zeros(1, 256), "blocks.0.o.weight.up": torch.zeros(256, 1)}
    write_adapter(tmp_path, best, about("0" * 12, Run(), CONFIG, learned, held_out, 1234))
    text = (tmp_path / CARD).read_text()
    card = json.loads(text)
    assert card["base"] == "0" * 12 and card["learned"]["tokens"] == 1234
    assert card["learned"]["sha256"] == sorted(data.digest(file.text) for file in learned)
    assert len(card["held_out"]["sha256"]) == card["held_out"]["files"] == len(held_out)
    for word in ("lib", ".py", "bisect", "import", "def", str(tmp_path)):
        assert word not in text


def test_a_model_without_a_canvas_behind_a_context_cannot_be_adapted() -> None:
    refuse_unfit(FOLDER)
    for folder in (
        replace(FOLDER, config=replace(FOLDER.config, context_sees=EVERYTHING, canvas_sees=EVERYTHING)),
        replace(FOLDER, vocabulary=replace(FOLDER.vocabulary, mask=-1)),
    ):
        with pytest.raises(ValueError, match="cannot be adapted: it has no canvas behind a context"):
            refuse_unfit(folder)
