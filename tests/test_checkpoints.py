"""diffusion/model: Hugging Face checkpoints as they are, against transformers; what is wrong is one sentence."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cuda_ext.rules import Verdict
from diffusion.model.card import open_folder
from diffusion.model.config import EVERYTHING, ModelConfig
from diffusion.model.load import load_model, load_weights, save_model
from diffusion.model.tensors import INDEX, SINGLE, open_tensors
from diffusion.model.transformer import ContextCache, Transformer
from tests.models import SMALL

transformers = pytest.importorskip("transformers")

N_CONTEXT, N_CANVAS, VOCAB = 24, 8, 8192
SIZES: dict[str, Any] = {
    "vocab_size": VOCAB, "num_hidden_layers": 2, "intermediate_size": 96, "max_position_embeddings": 2048,
    "attn_implementation": "eager",
}  # fmt: skip
# name: (class, its settings). Heads of 64; three query heads on one, as nine on three; heads wider than d / n.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama, group of three": (
        "Llama",
        {"hidden_size": 192, "num_attention_heads": 3, "num_key_value_heads": 1, "rms_norm_eps": 1e-5},
    ),
    "llama, own head": (
        "Llama",
        {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2, "tie_word_embeddings": False},
    ),
    "qwen2, biases, tied": (
        "Qwen2",
        {"hidden_size": 128, "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True},
    ),
    "qwen3, wide heads": (
        "Qwen3",
        {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64},
    ),
}


def tiny(family: str, theta: float = 100_000.0) -> Any:
    """A model of transformers with random weights, biases and gains included."""
    kind, settings = FAMILIES[family]
    torch.manual_seed(1)
    config = getattr(transformers, f"{kind}Config")(
        **SIZES, **settings, rope_parameters={"rope_type": "default", "rope_theta": theta}
    )
    model = getattr(transformers, f"{kind}ForCausalLM")(config).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.3 if parameter.dim() == 1 else 0.1)
    return model


def checkpoint(family: str, path: Path, **card: Any) -> Any:
    """Save a tiny model to `path` with a tokenizer, and with our card if there is anything on it; returns the model."""
    model = tiny(family)
    model.save_pretrained(path)
    shutil.copy(SMALL / "tokenizer.json", path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"eos_token_id": 1}))
    if card:
        tokens = {"mask": 0, "end": 1}
        (path / "mezzotint.json").write_text(json.dumps({"format": 1, "tokens": tokens} | card))
    return model


def theirs(model: Any, ids: list[int], seen: Tensor, positions: list[int]) -> Tensor:
    """Logits (R, V) of transformers where row r sees the rows of `seen` (R, R)."""
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[None, None]
    with torch.no_grad():
        given = {"attention_mask": mask, "position_ids": torch.tensor([positions]), "use_cache": False}
        logits: Tensor = model(input_ids=torch.tensor([ids]), **given).logits[0]
    return logits


def ours(path: Path, context: list[int], canvas: list[int]) -> Tensor:
    """Logits of the context's rows, then of the canvas's."""
    model = load_weights(open_folder(path))
    cache = ContextCache(model.config, 64, torch.float32)
    rows = [model.encode(context[:10], cache), model.encode(context[10:], cache)]
    return model.logits(torch.cat([*rows, model.run([], canvas, cache)]))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("block", [1, 2, EVERYTHING], ids=["causal", "blocks of 2", "all"])
def test_logits_are_those_of_transformers(family: str, block: int, tmp_path: Path) -> None:
    """Context rows causal or in blocks, canvas rows that see everything; `all` reads the context as one canvas."""
    see = 1 if block == EVERYTHING else block
    model = checkpoint(family, tmp_path, context_sees=see, canvas_sees=0)
    rng = np.random.default_rng(3)
    ids = rng.integers(20, VOCAB, N_CONTEXT + N_CANVAS).tolist()
    n_context = 1 if block == EVERYTHING else N_CONTEXT
    rows = torch.arange(len(ids))
    seen = rows[None, :] < ((rows // see + 1) * see).clamp_max(n_context)[:, None]
    seen[n_context:] = True
    expected = theirs(model, ids, seen, rows.tolist())
    if block == EVERYTHING:
        loaded = load_weights(open_folder(tmp_path))
        cache = ContextCache(loaded.config, 64, torch.float32)
        found = loaded.logits(torch.cat([loaded.encode(ids[:1], cache), loaded.run([], ids[1:], cache)]))
    else:
        found = ours(tmp_path, ids[:N_CONTEXT], ids[N_CONTEXT:])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shifted_canvas_row_is_the_row_of_the_token_before(family: str, tmp_path: Path) -> None:
    """Rows c - 1 ... of transformers over context + canvas, their first one seeing the canvas as well."""
    model = checkpoint(family, tmp_path, shift=True)
    ids = np.random.default_rng(4).integers(20, VOCAB, N_CONTEXT + N_CANVAS).tolist()
    fed = [*ids, *ids[N_CONTEXT - 1 : -1]][:N_CONTEXT] + ids[N_CONTEXT - 1 : -1]
    positions = [*range(N_CONTEXT), *range(N_CONTEXT - 1, N_CONTEXT + N_CANVAS - 1)]
    rows = torch.arange(len(fed))
    seen = rows[None, :] <= rows[:, None]
    seen[N_CONTEXT:] = True
    expected = theirs(model, fed, seen, positions)
    found = ours(tmp_path, ids[:N_CONTEXT], ids[N_CONTEXT:])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_judging_and_drafting_in_one_pass_is_what_two_passes_give(tmp_path: Path) -> None:
    checkpoint("llama, group of three", tmp_path, shift=True)
    model = load_weights(open_folder(tmp_path))
    cache = ContextCache(model.config, 64, torch.float32)
    model.encode(list(range(100, 120)), cache)
    together = model.run([30, 31, 32], [40, 41, 42, 43], cache, decided=1)
    judged = model.run([30, 31, 32], [], cache)
    model.encode([30], cache)
    drafted = model.run([], [40, 41, 42, 43], cache)
    torch.testing.assert_close(together, torch.cat([judged, drafted]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
def test_shards_of_every_type_are_read_as_one_file_is(dtype: str, tmp_path: Path) -> None:
    model = checkpoint("qwen2, biases, tied", tmp_path)
    kind = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}[dtype]
    tensors = {name: tensor.to(kind) for name, tensor in load_file(tmp_path / SINGLE).items()}
    (tmp_path / SINGLE).unlink()
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, tmp_path / file)
    table = {name: file for file, part in parts.items() for name in part}
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": table}))
    read = load_weights(open_folder(tmp_path))
    wanted = model.model.layers[1].self_attn.q_proj.weight.to(kind).float()
    assert torch.equal(read.blocks[1].qkv.weight[: len(wanted)], wanted)


def test_our_int8_shards_with_a_card_come_back_as_they_were_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint("llama, own head", tmp_path / "hf", shift=True, name="tiny", licence="MIT", verdict={"patience": 1})
    folder = open_folder(tmp_path / "hf")
    monkeypatch.setattr("diffusion.model.load.SHARD_BYTES", 300_000)
    model = load_weights(folder)
    save_model(tmp_path / "ours", model, (SMALL / "tokenizer.json").read_bytes(), torch.int8, folder)
    assert len(list((tmp_path / "ours").glob("model-*.safetensors"))) > 2
    saved = open_folder(tmp_path / "ours")
    assert (saved.vocabulary, saved.config, saved.policy) == (folder.vocabulary, folder.config, folder.policy)
    assert saved.verdict == folder.verdict == Verdict(patience=1)
    read = load_weights(saved)
    for name, tensor in read.state_dict().items():
        original = model.state_dict()[name]
        scale = original.abs().amax(dim=-1, keepdim=True) / 127 if original.dim() == 2 else original.abs() / 128
        assert bool(((tensor - original).abs() <= scale * 0.51 + 1e-6).all()), name


FAULTS: dict[str, tuple[str, Any]] = {
    "vocab_size as text": ("vocab_size must be an integer", {"vocab_size": "8192"}),
    "hidden_size null": ("d_model must be an integer", {"hidden_size": None}),
    "a float for layers": ("n_layers must be an integer", {"num_hidden_layers": 2.0}),
    "no heads": ("n_heads must be between", {"num_attention_heads": 0, "head_dim": 64}),
    "heads that do not divide": ("no multiple of n_kv_heads", {"num_key_value_heads": 2}),
    "huge vocabulary": ("vocab_size must be between", {"vocab_size": 2**40}),
    "rope base as text": ("rope_base must be a number", {"rope_parameters": None, "rope_theta": "x"}),
    "scaled rotary": ("rotary scaling 'yarn' is not supported", {"rope_parameters": {"rope_type": "yarn"}}),
    "another activation": ("hidden_act 'gelu' is not silu", {"hidden_act": "gelu"}),
    "another architecture": ("model_type 'mamba' is none of llama", {"model_type": "mamba"}),
    "one layer more": ("model.layers.2.* missing", {"num_hidden_layers": 3}),
    "one layer less": ("nothing uses model.layers.1", {"num_hidden_layers": 1}),
    "another width": (r"is \(8192, 192\), not \(8192, 256\)", {"hidden_size": 256, "head_dim": 64}),
    "tiny context": ("max_context must be between", {"max_position_embeddings": -5}),
    "short context": ("max_context 100 is less than", {"max_position_embeddings": 100}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_config_that_is_wrong_is_one_sentence(fault: str, tmp_path: Path) -> None:
    checkpoint("llama, group of three", tmp_path)
    message, change = FAULTS[fault]
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path)


@pytest.mark.parametrize("value", ["8192", None, 256.0, True, -1, 2**70, float("nan"), [], {}])
@pytest.mark.parametrize("field", [*ModelConfig.__dataclass_fields__])
def test_every_field_of_our_config_is_checked(field: str, value: Any) -> None:
    if value is True and isinstance(getattr(ModelConfig(), field), bool):
        return
    if value == 256.0 and field == "rope_base":
        return
    with pytest.raises(ValueError, match=field):
        replace(ModelConfig(), **{field: value})


def test_a_card_is_checked_too(tmp_path: Path) -> None:
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("format 2", {"format": 2}),
        ("not known: seed", {"seed": 1}),
        ("tokens must name end", {"tokens": {"mask": 0}}),
        ("token id 8192 is not in", {"tokens": {"end": 1, "mask": 8192}}),
        ("token id True is not in", {"tokens": {"end": True}}),
        ("policy 'beam' is none of", {"policy": "beam"}),
        ("shift must be true or false", {"shift": 1}),
        ("verdict may name", {"verdict": {"beams": 2}}),
        ("verdict may name", {"verdict": [16]}),
        ("patience is 1.5, which is no number of its kind", {"verdict": {"patience": 1.5}}),
        ("judge_rows and canvas_rows must be", {"verdict": {"canvas_rows": 1000}}),
    ]
    for message, card in wrong:
        checkpoint("llama, group of three", tmp_path, **card)
        with pytest.raises(ValueError, match=message):
            open_folder(tmp_path)


def test_files_that_are_wrong_are_one_sentence(tmp_path: Path) -> None:
    checkpoint("llama, group of three", tmp_path)
    whole = (tmp_path / SINGLE).read_bytes()
    for name, content in (("truncated", whole[:-100]), ("empty", b""), ("not one", b"x" * 100)):
        (tmp_path / SINGLE).write_bytes(content)
        with pytest.raises(ValueError, match="cannot read .*model.safetensors"):
            open_folder(tmp_path)
        assert name
    tensors = load_file_from(whole, tmp_path)
    save_file({n: t.to(torch.int64) if n == "model.norm.weight" else t for n, t in tensors.items()}, tmp_path / SINGLE)
    with pytest.raises(ValueError, match="model.norm.weight is 'I64'"):
        open_folder(tmp_path)
    (tmp_path / SINGLE).unlink()
    for table, message in (({"w": "../x.safetensors"}, "outside of its folder"), ({"w": 3}, "no weight_map")):
        (tmp_path / INDEX).write_text(json.dumps({"weight_map": table}))
        with pytest.raises(ValueError, match=message):
            open_tensors(tmp_path)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused(dtype: str, value: float, tmp_path: Path) -> None:
    checkpoint("llama, group of three", tmp_path)
    tensors = load_file(tmp_path / SINGLE)
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name][3, 5] = value
    save_file({n: tensor.to(getattr(torch, dtype)) for n, tensor in tensors.items()}, tmp_path / SINGLE)
    weight = open_folder(tmp_path).weights()["blocks.1.gate_up.weight"]
    for read in (weight.float32, weight.words):  # as torch, and as the native libraries read it
        with pytest.raises(ValueError, match=f"{name} holds infinite values"):
            read()
    with pytest.raises(ValueError, match="damaged"):
        load_model(tmp_path)


def load_file_from(content: bytes, folder: Path) -> dict[str, Tensor]:
    (folder / SINGLE).write_bytes(content)
    return load_file(folder / SINGLE)


def test_a_diffusion_checkpoint_without_a_card_is_refused_and_a_causal_one_is_not(tmp_path: Path) -> None:
    checkpoint("qwen2, biases, tied", tmp_path)
    folder = open_folder(tmp_path)
    assert folder.policy == "verdict" and folder.vocabulary.mask == -1 and folder.config.qkv_bias
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append(dict(tokenizer["added_tokens"][0], content="<|mask|>", id=20))
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ValueError, match=r"mask token <\|mask\|> but no mezzotint.json"):
        open_folder(tmp_path)


def test_nothing_in_a_folder_is_executed(tmp_path: Path) -> None:
    checkpoint("llama, group of three", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    remote = {"auto_map": {"AutoModelForCausalLM": "modeling_evil.Evil", "AutoConfig": "modeling_evil.Evil"}}
    (tmp_path / "config.json").write_text(json.dumps(config | remote))
    (tmp_path / "modeling_evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    assert isinstance(load_model(tmp_path)[0], Transformer)
    assert not (tmp_path / "ran").exists()
