"""A GGUF file written here as llama.cpp's converter would becomes the model that it was written from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from diffusion.model.card import open_folder
from diffusion.tokenizer import byte_alphabet
from diffusion.train import cli

gguf = pytest.importorskip("gguf")
base = pytest.importorskip("diffusion.train.base")

LAYERS, D, HEADS, KV_HEADS, D_HEAD, FF = 2, 32, 4, 2, 8, 64
SPECIAL = [f"<|{i}|>" for i in range(17)]
MERGES = ["Ġ x", "1 2", "a b", "ab a"]
TOKENS = [*SPECIAL, *byte_alphabet().values(), *(merge.replace(" ", "") for merge in MERGES)]


def matrix(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Values that both blocks of 8 bits and bfloat16 hold exactly."""
    values = rng.integers(-127, 128, (rows, columns))
    values[:, ::32] = 127
    return (values / 128).astype(np.float32)


def random_tensors() -> dict[str, np.ndarray]:
    """A model by Hugging Face's names and in its order."""
    rng = np.random.default_rng(0)
    tensors = {"model.embed_tokens.weight": matrix(rng, len(TOKENS), D), "model.norm.weight": matrix(rng, 1, D)[0]}
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        tensors[f"{layer}input_layernorm.weight"] = matrix(rng, 1, D)[0]
        tensors[f"{layer}post_attention_layernorm.weight"] = matrix(rng, 1, D)[0]
        tensors[f"{layer}self_attn.q_proj.weight"] = matrix(rng, HEADS * D_HEAD, D)
        tensors[f"{layer}self_attn.k_proj.weight"] = matrix(rng, KV_HEADS * D_HEAD, D)
        tensors[f"{layer}self_attn.v_proj.weight"] = matrix(rng, KV_HEADS * D_HEAD, D)
        tensors[f"{layer}self_attn.o_proj.weight"] = matrix(rng, D, HEADS * D_HEAD)
        tensors[f"{layer}mlp.gate_proj.weight"] = matrix(rng, FF, D)
        tensors[f"{layer}mlp.up_proj.weight"] = matrix(rng, FF, D)
        tensors[f"{layer}mlp.down_proj.weight"] = matrix(rng, D, FF)
    return tensors


def permuted(weights: np.ndarray, heads: int) -> np.ndarray:
    """LlamaModel.permute of llama.cpp's convert_hf_to_gguf.py."""
    halves = weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return halves.swapaxes(1, 2).reshape(weights.shape)


def write_gguf(path: Path, tensors: dict[str, np.ndarray], architecture: str = "llama") -> None:
    """As llama.cpp writes a Llama: its names, queries and keys in pairs, matrices in blocks of 8 bits."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(LAYERS)
    writer.add_context_length(2048)
    writer.add_embedding_length(D)
    writer.add_feed_forward_length(FF)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(D_HEAD)
    writer.add_rope_freq_base(100_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([gguf.TokenType.CONTROL] * 17 + [gguf.TokenType.NORMAL] * (len(TOKENS) - 17))
    writer.add_token_merges(MERGES)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, LAYERS)
    q8 = gguf.GGMLQuantizationType.Q8_0
    for name, values in tensors.items():
        if "q_proj" in name or "k_proj" in name:
            values = permuted(values, HEADS if "q_proj" in name else KV_HEADS)
        theirs = names.get_name(name, try_suffixes=(".weight",))
        if values.ndim == 1:
            writer.add_tensor(theirs, values)
        else:
            writer.add_tensor(theirs, gguf.quants.quantize(np.ascontiguousarray(values), q8), raw_dtype=q8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where: Path = tmp_path_factory.mktemp("base")
    write_gguf(where / "tiny.gguf", random_tensors())
    assert cli.main(["base", "--gguf", str(where / "tiny.gguf"), "--out", str(where / "model")]) == 0
    return where / "model"


def test_tensors_are_those_of_the_model_in_the_order_of_hugging_face(folder: Path) -> None:
    found, wanted = load_file(folder / "model.safetensors"), random_tensors()
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert str(found[name].dtype) == "torch.bfloat16"
        assert np.array_equal(found[name].float().numpy(), values), name


def test_the_test_permutes(folder: Path) -> None:
    """Were `permuted` the identity, the test above would say nothing."""
    queries = random_tensors()["model.layers.0.self_attn.q_proj.weight"]
    assert not np.array_equal(permuted(queries, HEADS), queries)
    assert np.array_equal(base.halves(permuted(queries, HEADS), HEADS), queries)


def test_the_folder_opens_as_one_of_ours(folder: Path) -> None:
    opened = open_folder(folder)
    assert (opened.config.d_head, opened.config.n_kv_heads, opened.config.rope_base) == (D_HEAD, KV_HEADS, 100_000.0)
    assert opened.config.norm_eps == 1e-5 and opened.config.tied and opened.config.shift
    assert opened.policy == "verdict" and opened.vocabulary.mask == 16 and opened.licence == "Apache-2.0"
    assert opened.weights().keys() >= {"embed.weight", "blocks.1.qkv.weight"}
    assert "Apache License" in (folder / "LICENSE").read_text() and "HuggingFaceTB" in (folder / "NOTICE").read_text()
    assert json.loads((folder / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_tokens_split_digits_and_keep_specials_out_of_text(folder: Path) -> None:
    tokenizer = open_folder(folder).tokenizer()
    text = "aba x12 <|3|>\n\té"
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert TOKENS.index("aba") in ids and TOKENS.index("Ġx") in ids  # merges of merges, spaces
    assert TOKENS.index("12") not in ids  # merged, were digits not split
    assert not set(ids) & set(range(17)) and tokenizer.specials == frozenset(range(17))


def test_another_architecture_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_gguf(tmp_path / "other.gguf", {}, "gpt2")
    assert cli.main(["base", "--gguf", str(tmp_path / "other.gguf"), "--out", str(tmp_path / "out")]) == 2
    assert "gpt2" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_missing_file_says_how_to_get_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["base", "--out", str(tmp_path / "out")]) == 2
    assert "make base" in capsys.readouterr().err
