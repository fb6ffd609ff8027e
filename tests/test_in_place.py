"""Checkpoints that see everything, in their original formats, against transformers."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, models, pre_tokenizers, trainers
from torch import Tensor

from cuda_ext.rules import SPECIAL, Policy
from diffusion.backends.torch import TorchBackend
from diffusion.engine import Engine
from diffusion.in_place import lay_out_in_place
from diffusion.model.card import open_folder
from diffusion.model.load import load_weights
from diffusion.model.tensors import SINGLE
from diffusion.request import Hole, InfillRequest
from diffusion.tokenizer import QWEN_PRE_TOKEN, from_merges

transformers = pytest.importorskip("transformers")

ROOT = Path(__file__).parents[1]
SOURCES = [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("diffusion/*.py"))]
QWEN_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
WIDE = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64}
PLAIN = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
# family: (class of transformers that computes the same, its settings, model_type, the hub's name, mask, other specials)
FAMILIES: dict[str, tuple[str, dict[str, Any], str, str, str, tuple[str, ...]]] = {
    "Dream": ("Qwen2", {**PLAIN, "tie_word_embeddings": False}, "Dream", "Dream-org/DreamOn-v0-7B", "<|mask|>",
              ("<|beginoftext|>", "<|expand|>")),
    "Open-dCoder": ("Qwen2", {**PLAIN, "tie_word_embeddings": True}, "qwen2", "fredzzp/open-dcoder-0.5B", "<M>", ()),
    "mdlm": ("Qwen2", {**PLAIN, "tie_word_embeddings": False}, "a2d-qwen2",
             "dllm-hub/Qwen2.5-Coder-0.5B-Instruct-diffusion-mdlm-v0.1", "<|mask|>", ()),
    "mdlm of Qwen3, by a card": ("Qwen3", {**WIDE, "tie_word_embeddings": True}, "a2d-qwen3", "", "<|mask|>", ()),
}  # fmt: skip
SHIFTED = {"Dream", "Open-dCoder"}
N_ROWS = 2100  # of the embedding: more than there are tokens, as in Dream


@cache
def vocabulary() -> tokenizers.Tokenizer:
    """A BPE on this project's sources that splits as Qwen's does."""
    bpe = tokenizers.Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(QWEN_PRE_TOKEN), behavior="isolated")
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        SOURCES, trainers.BpeTrainer(vocab_size=2000, initial_alphabet=alphabet, show_progress=False)
    )
    return bpe


def write_tokenizer(folder: Path, specials: tuple[str, ...], merges_only: bool) -> dict[str, int]:
    """Qwen's files, with tokenizer.json or, as Dream has them, without; returns the ids of the added tokens."""
    bpe = tokenizers.Tokenizer.from_str(vocabulary().to_str())
    bpe.add_special_tokens(list(specials))
    added = {token: bpe.token_to_id(token) for token in specials}
    if merges_only:
        bpe.model.save(str(folder))
        (folder / "added_tokens.json").write_text(json.dumps(added))
    else:
        bpe.save(str(folder / "tokenizer.json"))
    return added


def checkpoint(family: str, root: Path) -> tuple[Any, Path]:
    """(the model of transformers, its folder as the hub's cache has it)."""
    kind, settings, model_type, repo, mask, more = FAMILIES[family]
    folder = root / f"models--{repo.replace('/', '--')}/snapshots/{'0' * 40}" if repo else root / "folder"
    torch.manual_seed(1)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=N_ROWS, num_hidden_layers=2, intermediate_size=96, max_position_embeddings=2048,
        attn_implementation="eager", rope_parameters={"rope_type": "default", "rope_theta": 1e6}, **settings,
    )  # fmt: skip
    model = getattr(transformers, f"{kind}ForCausalLM")(config).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.3 if parameter.dim() == 1 else 0.1)
    model.save_pretrained(folder)
    added = write_tokenizer(folder, (*QWEN_SPECIALS, mask, *more), family == "Dream")
    values = json.loads((folder / "config.json").read_text()) | {"model_type": model_type}
    values |= {"mask_token_id": added[mask]} if family == "Dream" else {}
    # dllm-hub's config says that the head is tied, and its files have one of its own
    values |= {"tie_word_embeddings": True} if family == "mdlm" else {}
    (folder / "config.json").write_text(json.dumps(values))
    if family == "mdlm of Qwen3, by a card":
        tokens = {"mask": added[mask], "end": added["<|endoftext|>"]}
        card = {"format": 1, "tokens": tokens, "in_place": True, "context_sees": 0, "policy": "threshold"}
        (folder / "mezzotint.json").write_text(json.dumps(card))
    return model, folder


def theirs(model: Any, ids: list[int]) -> Tensor:
    """Logits of transformers where every row sees every row."""
    mask = torch.zeros(1, 1, len(ids), len(ids))
    with torch.no_grad():
        logits: Tensor = model(input_ids=torch.tensor([ids]), attention_mask=mask, use_cache=False).logits[0]
    return logits


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_the_canvas_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    model, path = checkpoint(family, tmp_path)
    folder = open_folder(path)
    assert folder.config.in_place and folder.policy == "threshold" and folder.config.shift == (family in SHIFTED)
    ids = np.random.default_rng(3).integers(0, 2000, 40).tolist()
    ids[20:28] = [folder.vocabulary.mask] * 8
    loaded = load_weights(folder)
    found = loaded.logits(loaded.run_in_place(ids[:20], ids[20:28], ids[28:]))
    first = 19 if family in SHIFTED else 20
    torch.testing.assert_close(found, theirs(model, ids)[first : first + 8], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_pass_of_a_run_is_what_transformers_gives_for_its_rows(family: str, tmp_path: Path) -> None:
    model, path = checkpoint(family, tmp_path)
    folder = open_folder(path)
    loaded = load_weights(folder)
    tokenizer = folder.tokenizer()
    tokenizer.flags[tokenizer.vocabulary.end] = SPECIAL  # no end, no line that ends: whatever the weights say, 6 passes
    engine = Engine(TorchBackend(loaded), tokenizer, Policy(threshold=1.0, max_steps=6), {})
    engine.recall_above = 1.0
    seen: list[tuple[list[int], Tensor]] = []
    run = loaded.run_in_place

    def watched(before: list[int], canvas: list[int], after: tuple[int, ...]) -> Tensor:
        hidden: Tensor = run(before, canvas, after)
        seen.append(([*before, *canvas, *after], loaded.logits(hidden)))
        return hidden

    loaded.run_in_place = watched  # type: ignore[assignment]
    drafts = list(
        engine.infill(
            InfillRequest("def f(x):\n    return ", "\n\nprint(f(1))\n", (Hole(8, multiline=True),)), lambda: False
        )
    )
    assert drafts[-1].done and len(seen) == drafts[-1].forward_passes == 6
    before = len(engine.contexts.kept[-1].cache.ids)
    for ids, logits in seen:
        first = before - int(family in SHIFTED)
        torch.testing.assert_close(logits, theirs(model, ids)[first : first + len(logits)], atol=1e-4, rtol=1e-4)


def test_text_stands_around_the_canvas_with_the_marks_of_its_family(tmp_path: Path) -> None:
    _, path = checkpoint("Dream", tmp_path)
    tokenizer = open_folder(path).tokenizer()
    context = lay_out_in_place(tokenizer, 2048, "x = 1\r\ny = ", "\r\nz = 3\n")
    ids = tokenizer.vocabulary
    assert context.ids[0] == ids.file and context.after[-1] == ids.eof
    assert tokenizer.decode(list(context.ids)) + context.left.text == "x = 1\ny = "
    assert tokenizer.decode(list(context.after)) == "\nz = 3\n"
    empty = lay_out_in_place(tokenizer, 2048, "", "")
    assert (empty.ids, empty.after) == ((ids.file,), (ids.eof,))


def test_a_long_file_is_cut_at_line_breaks_and_both_sides_have_a_share(tmp_path: Path) -> None:
    _, path = checkpoint("Dream", tmp_path)
    tokenizer = open_folder(path).tokenizer()
    lines = "".join(f"name_{i} = value({i})\n" for i in range(2000))
    context = lay_out_in_place(tokenizer, 1024, lines, lines)
    before, after = tokenizer.decode(list(context.ids)), tokenizer.decode(list(context.after))
    assert len(context.ids) + len(context.after) + 128 <= 1024
    assert lines.endswith(before + context.left.text) and before.startswith("name_")
    assert lines.startswith(after) and after.endswith("\n") and len(context.after) > 150
    assert tokenizer.vocabulary.eof not in context.after
    short = lay_out_in_place(tokenizer, 1024, "x = ", lines)
    assert len(short.after) > 600


def test_a_tokenizer_of_vocabulary_and_merges_is_the_one_of_tokenizer_json(tmp_path: Path) -> None:
    _, path = checkpoint("Dream", tmp_path)
    folder = open_folder(path)
    rebuilt = folder.tokenizer()
    assert [rebuilt.encode(text) for text in SOURCES] == [vocabulary().encode(text).ids for text in SOURCES]
    (path / "added_tokens.json").write_text('{"<|endoftext|>": 2000, "<|mask|>": 2090}')
    with pytest.raises(ValueError, match=r"added_tokens.json: <\|mask\|> is 2001 by its order"):
        from_merges(path, folder.vocabulary, N_ROWS)


def test_what_a_folder_does_not_say_is_one_sentence(tmp_path: Path) -> None:
    _, dream = checkpoint("Dream", tmp_path)
    config = json.loads((dream / "config.json").read_text())
    (dream / "config.json").write_text(json.dumps(config | {"mask_token_id": 7}))
    with pytest.raises(ValueError, match="config.json says that the mask is 7, the tokenizer 2003"):
        open_folder(dream)
    (dream / "config.json").write_text(json.dumps(config))
    (dream / "added_tokens.json").write_text('{"<|endoftext|>": 2000}')
    with pytest.raises(ValueError, match=r"has no token <\|mask\|>, its family's mask"):
        open_folder(dream)
    tensors = load_file(dream / SINGLE)
    extra = {f"model.layers.0.self_attn.{part}_norm.weight": torch.ones(16) for part in "qk"}
    save_file(tensors | extra, dream / SINGLE)
    with pytest.raises(ValueError, match="sees blocks"):
        open_folder(dream)
    _, mdlm = checkpoint("mdlm", tmp_path)
    shutil.copytree(mdlm, tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"\(mdlm\) or blocks \(bd3lm\): only a mezzotint.json can say which"):
        open_folder(tmp_path / "elsewhere")


def test_it_is_run_by_torch_alone_and_never_token_by_token(tmp_path: Path) -> None:
    _, path = checkpoint("Dream", tmp_path)
    with pytest.raises(ValueError, match="it runs no model that sees everything"):
        Engine.load(path, backend="native")
    engine = Engine.load(path)
    assert engine.info["backend"] == "torch" and "refresh 1" in str(engine.info["cache"])
    with pytest.raises(ValueError, match="cannot decode token by token"):
        list(engine.autoregress(InfillRequest("x = ", ""), lambda: False))
