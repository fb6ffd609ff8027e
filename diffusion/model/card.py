"""A model folder as far as it can be read without torch: its shape, its token ids, its context, how it is decoded.

Rule: nothing from the folder is executed. Our card `mezzotint.json` says what config.json cannot; without one, a
Hugging Face checkpoint is taken for a causal one, and one that has a mask token is refused.

    folder = open_folder(EMBEDDED); folder.config, folder.vocabulary, folder.layout
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from cuda_ext.rules import Verdict
from diffusion.in_place import MOST_ROWS
from diffusion.layout import Layout
from diffusion.model.adapter import Adapter
from diffusion.model.config import EVERYTHING, ModelConfig, load_config, read_json
from diffusion.model.families import Family, family_of, vocabulary_of_family
from diffusion.model.tensors import Weight, open_tensors, weights
from diffusion.tokenizer import Tokenizer, from_merges
from diffusion.vocabulary import NONE, OURS, Vocabulary

CARD = "mezzotint.json"
FORMAT = 1  # of the card
SHAPE_FIELDS = (
    "max_context",
    "shift",
    "context_sees",
    "canvas_sees",
    "in_place",
)  # of `ModelConfig`, that a card may set
POLICIES = ("threshold", "verdict")
CAUSAL_CONTEXT = 1024  # tokens that a checkpoint without a card is shown, at most
MASKS = ("<|mask|>", "<|MASK|>", "|<MASK>|", "<[MASK]>", "<[MASK_TOKEN]>", "<|mdm_mask|>", "<M>")
HASHED_BYTES = 1 << 28  # of a larger model only the beginnings of its tensors count
BEGINNING_BYTES = 4096


@dataclass(frozen=True)
class ModelFolder:
    """What a folder holds.

    `policy`: how a canvas is decoded, one of POLICIES. `verdict`: what of the verdict loop was fitted to the weights.
    `name`, `licence`: for people. `adapter`: what is added to the weights.
    """

    path: Path
    config: ModelConfig
    vocabulary: Vocabulary
    layout: Layout
    policy: str
    name: str
    licence: str
    verdict: Verdict = Verdict()
    adapter: Adapter | None = None

    def tokenizer(self) -> Tokenizer:
        """The tokenizer; ValueError if it does not fit the model."""
        rows = 0 if self.vocabulary == OURS else self.config.vocab_size  # a checkpoint may have more rows than tokens
        if (self.path / "tokenizer.json").is_file():
            tokenizer = Tokenizer.load(self.path / "tokenizer.json", self.vocabulary, rows)
        else:
            tokenizer = from_merges(self.path, self.vocabulary, rows)
        if tokenizer.vocab_size != self.config.vocab_size:
            raise ValueError(
                f"{self.path}: tokenizer has {tokenizer.vocab_size} tokens, the model {self.config.vocab_size}"
            )
        return tokenizer

    def weights(self) -> dict[str, Weight]:
        """Every weight, by our names, the adapter's added; ValueError if one is missing, misshapen or unused."""
        found = weights(open_tensors(self.path), self.config, self.path)
        return self.adapter.merged(found) if self.adapter else found


def open_folder(path: Path) -> ModelFolder:
    """Read `path`; ValueError says in one sentence what is wrong with it."""
    if not (path / "config.json").is_file():
        raise ValueError(f"{path} is no model folder: it has no config.json")
    if not (path / "tokenizer.json").is_file() and not (path / "merges.txt").is_file():
        raise ValueError(f"{path} has no tokenizer.json")
    names = open_tensors(path).keys()
    if (path / CARD).exists():
        return from_card(path, read_json(path / CARD), names)
    config = load_config(path, names)
    if config.extras:
        return ModelFolder(path, config, OURS, Layout.of(config.max_context), "threshold", path.name, "")
    values = read_json(path / "config.json")
    if family := family_of(path, str(values.get("model_type")), names):
        return family_folder(path, config, family, values)
    return causal_folder(path, config)


def family_folder(path: Path, config: ModelConfig, family: Family, values: dict[str, Any]) -> ModelFolder:
    """A checkpoint of a family that sees everything."""
    vocabulary = vocabulary_of_family(path, family, values, config.vocab_size)
    rows = min(config.max_context, MOST_ROWS)
    config = replace(config, in_place=True, shift=family.shift, context_sees=EVERYTHING, max_context=rows)
    return ModelFolder(path, config, vocabulary, layout_of(path, config), "threshold", path.name, "")


def from_card(path: Path, card: Mapping[str, Any], names: Any) -> ModelFolder:
    """A folder with our card."""
    if card.get("format") != FORMAT:
        raise ValueError(f"{path / CARD} has format {card.get('format')!r}; this version reads {FORMAT}")
    unknown = card.keys() - {"format", "name", "licence", "tokens", "policy", "verdict", *SHAPE_FIELDS}
    if unknown:
        raise ValueError(f"{path / CARD} has fields that are not known: {', '.join(sorted(unknown))}")
    shape = {name: card[name] for name in SHAPE_FIELDS if name in card}
    for name in ("context_sees", "canvas_sees"):
        if shape.get(name) == 0:
            shape[name] = EVERYTHING
    config = load_config(path, names, shape)
    policy = card.get("policy", "verdict")
    if policy not in POLICIES:
        raise ValueError(f"{path / CARD}: policy {policy!r} is none of {', '.join(POLICIES)}")
    if config.in_place and policy != "threshold":
        raise ValueError(f"{path / CARD}: in_place goes with the policy threshold; there are no causal rows to judge")
    vocabulary = vocabulary_of(path, card.get("tokens", {}), config)
    if config.in_place and vocabulary.mask == NONE:
        raise ValueError(f"{path / CARD}: in_place needs a mask token")
    layout = layout_of(path, config)
    name, licence = str(card.get("name", path.name)), str(card.get("licence", ""))
    verdict = verdict_of(path, card.get("verdict", {}))
    return ModelFolder(path, config, vocabulary, layout, policy, name, licence, verdict)


def verdict_of(path: Path, settings: Any) -> Verdict:
    """How the verdict loop runs these weights; what the card does not say is as usual."""
    kinds = {field.name: (int, float) if field.name == "draft_above" else (int,) for field in fields(Verdict)}
    if not isinstance(settings, dict) or not settings.keys() <= kinds.keys():
        raise ValueError(f"{path / CARD}: verdict may name {', '.join(kinds)}, and nothing else")
    for name, value in settings.items():
        if not isinstance(value, kinds[name]) or isinstance(value, bool):
            raise ValueError(f"{path / CARD}: verdict's {name} is {value!r}, which is no number of its kind")
    try:
        return Verdict(**settings)
    except ValueError as error:
        raise ValueError(f"{path / CARD}: verdict: {error}") from error


def vocabulary_of(path: Path, tokens: Any, config: ModelConfig) -> Vocabulary:
    """The ids in a card; those it does not name are NONE."""
    known = {field.name for field in fields(Vocabulary)}
    if not isinstance(tokens, dict) or not {"end"} <= tokens.keys() <= known:
        raise ValueError(f"{path / CARD}: tokens must name end, and of the others only {', '.join(sorted(known))}")
    also = tokens.get("also_ends", [])
    ids = {name: tokens.get(name, NONE) for name in known - {"also_ends"}}
    for token_id in [*ids.values(), *(also if isinstance(also, list) else [None])]:
        if not isinstance(token_id, int) or isinstance(token_id, bool) or not NONE <= token_id < config.vocab_size:
            raise ValueError(f"{path / CARD}: token id {token_id!r} is not in the vocabulary of {config.vocab_size}")
    return Vocabulary(**ids, also_ends=tuple(also))


def layout_of(path: Path, config: ModelConfig) -> Layout:
    """The context's budgets; ValueError names the folder."""
    try:
        return Layout.of(config.max_context)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def causal_folder(path: Path, config: ModelConfig) -> ModelFolder:
    """A checkpoint without a card: an ordinary causal model, decoded token by token, the prefix alone in front."""
    settings = read_json(path / "tokenizer.json").get("added_tokens", [])
    added = {token.get("content"): token.get("id") for token in settings if isinstance(token, dict)}
    masks = [token for token in MASKS if token in added]
    if masks:
        raise ValueError(f"{path} has a mask token {masks[0]} but no {CARD} that says who sees whom")
    ends = read_json(path / "config.json").get("eos_token_id")
    ends = [end for end in (ends if isinstance(ends, list) else [ends]) if isinstance(end, int)]
    if not ends or not all(0 <= end < config.vocab_size for end in ends):
        raise ValueError(f"{path / 'config.json'} names no end of text (eos_token_id)")
    ids = {field.name: NONE for field in fields(Vocabulary)} | {"end": ends[0]}
    vocabulary = replace(Vocabulary(**ids), also_ends=tuple(ends[1:]))  # type: ignore[arg-type]
    config = replace(config, max_context=min(config.max_context, CAUSAL_CONTEXT))
    return ModelFolder(path, config, vocabulary, layout_of(path, config), "verdict", path.name, "")


def write_card(folder: ModelFolder, to: Path) -> None:
    """Write what config.json does not say to `to`/mezzotint.json."""
    tokens = {name: value for name, value in asdict(folder.vocabulary).items() if value not in (NONE, ())}
    fitted = {name: value for name, value in asdict(folder.verdict).items() if value != getattr(Verdict(), name)}
    card = {"format": FORMAT, "name": folder.name, "licence": folder.licence, "tokens": tokens, "policy": folder.policy}
    card |= {"verdict": fitted} if fitted else {}
    (to / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def weights_hash(path: Path) -> str:
    """First 12 hex digits of a SHA-256 of the weights: of all bytes, or the beginnings of a large model's tensors."""
    tensors = open_tensors(path)
    digest = hashlib.sha256()
    small = sum(stored.n_bytes for stored in tensors.values()) <= HASHED_BYTES
    for name, stored in sorted(tensors.items()):
        digest.update(f"{name} {stored.dtype} {stored.shape}".encode())
        digest.update(stored.read(None if small else BEGINNING_BYTES).data)
    return digest.hexdigest()[:12]
