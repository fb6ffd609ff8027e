"""diffusion/train: what gets into the corpus, which holes are cut, how sequences are packed, and a real short run."""

import json
from email.message import Message
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

from diffusion.model.config import ModelConfig
from diffusion.model.load import load_model
from diffusion.tokenizer import Tokenizer
from diffusion.train import corpus
from diffusion.train.batches import Batch, visible
from diffusion.train.cli import main, parse_settings
from diffusion.train.cuts import TokenTable, argument_span, block_span, choose_hole, rest_of_line
from diffusion.train.export import notice_of, with_earlier
from diffusion.train.feed import feed
from diffusion.train.loop import RunConfig, train
from diffusion.train.step import attention, block_mask, dense_masks, learning_rate
from diffusion.vocabulary import OURS
from tests.make_data import tiny_packer, write_corpus

CODE = "import os\n\n\ndef f(a, b):\n    x = g(a, [b, 1])\n\n    return x\n\n\nprint(f(1, 2))\n"


class FakeDistribution(metadata.Distribution):
    """A distribution that is nothing but its METADATA."""

    def __init__(self, **headers: str) -> None:
        self.text = "\n".join(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()) + "\n\n"

    def read_text(self, filename: str) -> str | None:
        return self.text if filename == "METADATA" else None

    def locate_file(self, path: object) -> Path:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ({"License_Expression": "MIT"}, True),
        ({"License_Expression": "Apache-2.0 OR BSD-3-Clause"}, True),
        ({"Classifier": "License :: OSI Approved :: BSD License"}, True),
        ({"License": "MIT License"}, True),
        ({"Classifier": "License :: OSI Approved :: GNU General Public License v3 (GPLv3)"}, False),
        ({"License_Expression": "MPL-2.0 AND MIT"}, False),
        ({"License": "LGPL-2.1"}, False),
        ({"Name": "nothing-declared"}, False),
    ],
)
def test_only_clearly_permissive_licences_are_kept(headers: dict[str, str], kept: bool) -> None:
    distribution = FakeDistribution(**headers)
    assert isinstance(corpus.message(distribution), Message)
    assert bool(corpus.licence_of(distribution)) == kept


def test_copies_near_copies_and_evaluation_problems_are_turned_away() -> None:
    problem = (
        "def first_repeated_char(str1):\n  for index, c in enumerate(str1):\n    if str1[:index+1].count(c) > 1:\n"
    )
    gate, looker = corpus.Filter(), corpus.Looker([problem])

    def admits(text: str) -> bool:
        return gate.admits(corpus.look(text, looker.problem_grams))

    text = Path(corpus.__file__).read_text(encoding="utf-8")
    assert admits(text)
    assert not admits(text.replace("\n\n", "\n\n\n"))
    assert not admits(text.replace("report", "summary", 1))
    assert not admits("x = 1\n" + problem)
    assert admits(Path(json.__file__).read_text(encoding="utf-8"))


def test_a_corpus_is_collected_by_several_processes(tmp_path: Path) -> None:
    written = {"one.py": "def f(value):\n    return value + 1\n" * 20, "short.py": "x = 1\n"}
    for name, text in written.items():
        (tmp_path / name).write_text(text)
    files = [("mine", "1", "MIT", tmp_path / name) for name in written]
    looks = [seen and seen.text for _, seen in corpus.look_at(files, [])]
    assert looks == [written["one.py"], None]


def test_generated_and_unparsable_files_are_not_read(tmp_path: Path) -> None:
    body = "def f(value):\n    return value + 1\n" * 20
    for name, text in {"good": body, "made": "# DO NOT EDIT\n" + body, "broken": body + "def ("}.items():
        (tmp_path / f"{name}.py").write_text(text)
    assert corpus.read_source(tmp_path / "good.py") == body
    assert corpus.read_source(tmp_path / "made.py") is None
    assert corpus.read_source(tmp_path / "broken.py") is None


def test_holes_are_what_they_are_called(tokenizer: Tokenizer) -> None:
    table, ids = TokenTable.of(tokenizer), np.array(tokenizer.encode(CODE))
    rng = np.random.default_rng(0)

    def text(span: tuple[int, int] | None) -> str:
        assert span is not None
        return tokenizer.decode(ids[slice(*span)].tolist())

    assert text(block_span(ids, 0, table)) == "x = g(a, [b, 1])\n\n    return x"
    assert text(argument_span(ids, 0, table)) == "a, b"
    index = len(tokenizer.encode(CODE[: CODE.index("g(a")]))
    assert "x = g(a, [b, 1])".endswith(text(rest_of_line(rng, ids, index, table)))


def test_every_hole_lies_inside_its_file(tokenizer: Tokenizer) -> None:
    table, ids = TokenTable.of(tokenizer), np.array(tokenizer.encode(CODE))
    rng = np.random.default_rng(1)
    for _ in range(500):
        start, stop = choose_hole(rng, ids, table, 0, len(ids))
        assert 0 <= start <= stop <= len(ids)


def test_a_packed_sequence_wastes_no_row_and_leaks_no_answer() -> None:
    packer = tiny_packer(rows=640)
    for _ in range(10):
        batch = packer.batch(1)
        assert batch.ids.shape == (1, 640)
        sees = visible(batch.branch, batch.canvas, batch.trunk_limit, batch.branch_limit)[0]
        canvas, branch = batch.canvas[0], batch.branch[0]
        assert bool(sees.any(dim=1).all())
        assert not bool(sees[:, canvas > 0][canvas == 0].any()), "context rows see no canvas"
        context = torch.nonzero(canvas == 0)[:, 0]
        future = torch.arange(640)[None, :] > torch.arange(640)[:, None]
        assert not bool((sees & future)[context].any()), "context rows see no later row"
        for row in torch.nonzero(canvas > 0)[:, 0].tolist():
            hidden = (branch == branch[row]) & (canvas == 0) & ~sees[row]
            assert int(hidden.sum()) >= 1, "the hole's own tokens are hidden from its canvases"


def test_masked_rows_weigh_one_in_all_and_fixed_rows_nothing() -> None:
    batch = tiny_packer(rows=640, seed=5).batch(4)
    masked = (batch.ids == OURS.mask) & (batch.canvas > 0)
    n_canvases = sum(len(set(canvas.tolist()) - {0}) for canvas in batch.canvas)
    assert float(batch.canvas_weight[masked].sum()) == pytest.approx(n_canvases, rel=1e-4)
    assert not bool((batch.targets[batch.canvas > 0] == OURS.mask).any())
    assert bool((batch.targets[batch.canvas > 0] == OURS.end).any())


def test_learning_rate_warms_up_holds_and_ends_at_zero() -> None:
    rates = [learning_rate(i / 100, 1.0) for i in range(101)]
    assert rates[0] < 0.1 and rates[30] == 1.0 and rates[100] == 0.0
    assert rates[61:] == sorted(rates[61:], reverse=True)


def test_a_short_run_learns_checkpoints_resumes_and_exports(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus")
    vocab = Tokenizer.load(tmp_path / "corpus" / "tokenizer.json").vocab_size
    shape = ModelConfig(vocab_size=vocab, d_model=32, n_layers=1, n_heads=2, n_kv_heads=1, d_ff=48)

    def run(max_steps: int) -> dict[str, object]:
        config = RunConfig(shape, max_steps=max_steps, rows=320, sequences=1, accumulate=1, compile=False, decay=0.1)
        return train(tmp_path / "corpus", tmp_path / "run", config)

    first, second = run(4), run(16)
    assert (first["step"], second["step"]) == (4, 16)
    assert float(second["held_out_diffusion_loss"]) < float(first["held_out_diffusion_loss"])  # type: ignore[arg-type]
    model, _ = load_model(tmp_path / "run" / "model")
    assert model.config == shape
    arguments = ["--run", str(tmp_path / "run"), "--corpus", str(tmp_path / "corpus"), "--to", str(tmp_path / "out")]
    assert main(["export", *arguments]) == 0
    assert json.loads((tmp_path / "out" / "training.json").read_text())["metrics"]["step"] == 16
    assert main(["export", *arguments, "--int8"]) == 0
    record = {"run": {"start_from": str(tmp_path / "out")}, "metrics": {}, "corpus": {"packages": {"new": {}}}}
    (tmp_path / "out" / "training.json").write_text(
        json.dumps({"run": {"lr": 1}, "metrics": {"step": 16}, "corpus": {"packages": {"old": {}}}})
    )
    merged = with_earlier(record)
    assert merged["corpus"]["packages"] == {"old": {}, "new": {}}
    assert merged["earlier"] == [{"run": {"lr": 1}, "metrics": {"step": 16}}]
    assert merged["run"]["start_from"] == "out"  # and no path of this machine
    stored = model.embed.weight
    read = load_model(tmp_path / "out")[0].embed.weight
    assert not torch.equal(read, stored)
    assert bool(((read - stored).abs() <= stored.abs().amax(1, keepdim=True) / 254 * 1.001).all())  # half a step


def test_the_notice_names_the_base_and_every_package() -> None:
    text = notice_of({"attrs": {"version": "1", "licence": "MIT"}}, "Made by somebody.\n")
    assert "Made by somebody." in text
    assert "  attrs 1: MIT" in text
    assert "began as" not in notice_of({}, "")


def test_training_without_a_corpus_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--corpus", str(tmp_path), "--out", str(tmp_path / "run")]) == 2
    assert "mezzotint train corpus" in capsys.readouterr().err


def test_settings_are_checked_by_name_and_value() -> None:
    assert parse_settings(["d_model=64", "recall_share=0.2"]) == ({"d_model": 64}, {"recall_share": 0.2})
    for wrong in ("width=64", "d_model=6.5", "recall_share=much", "canvas_rows=16"):
        with pytest.raises(ValueError, match="NAME one of vocab_size, d_model"):
            parse_settings([wrong])


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_the_blocks_of_a_gpu_see_what_the_dense_mask_sees(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    batch = next(feed(tmp_path, 320, 2, (1,)))
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, 320, 16, generator=generator) for heads in (4, 2, 2))
    parts = tuple(part.float() for part in dense_masks(batch))
    by_blocks, dense = (attention(q, k, v, mask) for mask in (block_mask(batch), parts))
    assert torch.allclose(by_blocks, dense, atol=1e-5)
    sees = visible(batch.branch, batch.canvas, batch.trunk_limit, batch.branch_limit)
    assert sum(int((part == 0).sum()) for part in parts) == int(sees.sum())


def test_worker_processes_draw_different_batches(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    batches = feed(tmp_path, 320, 1, (1, 7), workers=2)
    first, second = next(batches), next(batches)
    assert isinstance(first, Batch) and first.ids.shape == (1, 320)
    assert not torch.equal(first.ids, second.ids)
