"""A model folder as far as it can be read without torch: its shape, its token ids, its context, how it is decoded.

Rule: nothing from the folder is executed. Our card `mezzotint.json` says what config.json cannot; without one, a
Hugging Face checkpoint is of a family that is known, or is taken for a causal one; another that has a mask token is
refused.

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
from diffusion.fields import listed, shown
from diffusion.layout import Layout
from diffusion.model import families
from diffusion.model.adapter import Adapter
from diffusion.model.config import EVERYTHING, ModelConfig, load_config, read_json
from diffusion.model.tensors import Weight, open_tensors, weights
from diffusion.model.vocab_files import added_tokens, built
from diffusion.tokenizer import Tokenizer
from diffusion.vocabulary import NONE, OURS, Vocabulary

CARD = "mezzotint.json"
FORMAT = 1  # of the card
SHAPE_FIELDS = ("max_context", "shift", "context_sees", "canvas_sees")  # of `ModelConfig`, that a card may set
IDS = tuple(field.name for field in fields(Vocabulary) if field.type == "int")  # tokens that there may be one of
POLICIES = ("threshold", "verdict")
CAUSAL_CONTEXT = 1024  # tokens that a checkpoint without a card is shown, at most
MOST_ROWS = 2048  # of a public diffusion checkpoint: what the Dream family was trained on
REFRESH = 8  # passes over an in-place canvas from one full pass to the next
FAMILY_FIELDS = {"format", "name", "licence", "family", "refresh", "max_context"}  # of a card that names a family
HASHED_BYTES = 1 << 28  # of a larger model only the beginnings of its tensors count
BEGINNING_BYTES = 4096


@dataclass(frozen=True)
class ModelFolder:
    """What a folder holds.

    `policy`: how a canvas is decoded, one of POLICIES. `verdict`: what of the verdict loop was fitted to the weights.
    `name`, `licence`: for people. `family`: of the table of public checkpoints, "" if of none. `refresh`: of a model
    that fills in place, passes from one over all rows to the next; 1 is exact. `adapter`: what is added to the weights.
    """

    path: Path
    config: ModelConfig
    vocabulary: Vocabulary
    layout: Layout
    policy: str
    name: str
    licence: str
    verdict: Verdict = Verdict()
    family: str = ""
    refresh: int = REFRESH
    adapter: Adapter | None = None

    @property
    def only_torch(self) -> str:
        """Why the native library cannot run it; "" if it can."""
        kind = "every row sees every row" if self.config.in_place else "context and canvas share their blocks"
        return "" if self.config.has_causal_rows else kind

    @property
    def cache(self) -> str:
        """Whether keys and values of the context are what a pass over all rows would give."""
        return "approximate" if self.config.in_place and self.refresh > 1 else "exact"

    @property
    def shows_others(self) -> bool:
        """Whether the context has a place for parts of other files."""
        return not self.config.in_place and self.vocabulary.middle == NONE

    def tokenizer(self) -> Tokenizer:
        """The tokenizer; ValueError if it does not fit the model."""
        rows = 0 if self.vocabulary == OURS else self.config.vocab_size  # a checkpoint may have more rows than tokens
        file = self.path / "tokenizer.json"
        if file.exists() or not (self.path / "vocab.json").exists():
            tokenizer = Tokenizer.load(file, self.vocabulary, rows)
        else:
            tokenizer = Tokenizer(built(self.path), self.vocabulary, rows)
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
    card = read_json(path / CARD) if (path / CARD).exists() else {}
    if card and "family" not in card:
        return from_card(path, card, names)
    if (found := family_of(path, names, card)) is not None:
        return family_folder(path, names, *found, card)
    config = load_config(path, names)
    if config.extras:
        return ModelFolder(path, config, OURS, Layout.of(config.max_context), "threshold", path.name, "")
    return causal_folder(path, config)


def from_card(path: Path, card: Mapping[str, Any], names: Any) -> ModelFolder:
    """A folder with our card."""
    if card.get("format") != FORMAT:
        raise ValueError(f"{path / CARD} has format {shown(card.get('format'))}; this version reads {FORMAT}")
    unknown = card.keys() - {"format", "name", "licence", "tokens", "policy", "verdict", "refresh", *SHAPE_FIELDS}
    if unknown:
        raise ValueError(f"{path / CARD} has fields that are not known: {listed(sorted(unknown))}")
    shape = {name: card[name] for name in SHAPE_FIELDS if name in card}
    for name in ("context_sees", "canvas_sees"):
        if shape.get(name) == 0:
            shape[name] = EVERYTHING
    config = load_config(path, names, shape)
    policy = card.get("policy", "verdict")
    if policy not in POLICIES:
        raise ValueError(f"{path / CARD}: policy {shown(policy)} is none of {', '.join(POLICIES)}")
    vocabulary = vocabulary_of(path, card.get("tokens", {}), config)
    if config.in_place and vocabulary.mask == NONE:
        raise ValueError(f"{path / CARD}: where every row sees every row, a canvas needs a mask token")
    layout = layout_of(path, config)
    name, licence = str(card.get("name", path.name)), str(card.get("licence", ""))
    verdict = verdict_of(path, card.get("verdict", {}))
    if policy == "verdict" and not config.has_causal_rows:
        raise ValueError(f"{path / CARD}: policy verdict needs a context whose rows are causal")
    return ModelFolder(path, config, vocabulary, layout, policy, name, licence, verdict, "", refresh_of(path, card))


def family_of(path: Path, names: Any, card: Mapping[str, Any]) -> tuple[str, families.Family] | None:
    """The family that the card names, or that the files show; None: of no family."""
    values, tokens = read_json(path / "config.json"), added_tokens(path)
    try:
        if card:
            return families.chosen(card["family"], tokens)
        return families.recognised(values, tokens, names, str(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def family_folder(path: Path, names: Any, name: str, family: families.Family, card: Mapping[str, Any]) -> ModelFolder:
    """A public diffusion checkpoint."""
    if card and (card.get("format") != FORMAT or card.keys() - FAMILY_FIELDS):
        raise ValueError(f"{path / CARD} with a family has format {FORMAT} and only {', '.join(sorted(FAMILY_FIELDS))}")
    values = read_json(path / "config.json")
    try:
        tokens, sees = families.token_ids(family, values, added_tokens(path)), families.sees(family, values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    sees = sees or EVERYTHING
    config = load_config(path, names, {"shift": family.shift, "context_sees": sees, "canvas_sees": sees})
    config = replace(config, max_context=card.get("max_context", min(config.max_context, MOST_ROWS)))
    vocabulary = vocabulary_of(path, tokens | {"also_ends": list(tokens["also_ends"])}, config)
    people = str(card.get("name", path.name)), str(card.get("licence", ""))
    layout, refresh = layout_of(path, config), refresh_of(path, card)
    return ModelFolder(path, config, vocabulary, layout, "threshold", *people, Verdict(), name, refresh)


def refresh_of(path: Path, card: Mapping[str, Any]) -> int:
    """How often a pass is over all rows."""
    refresh = card.get("refresh", REFRESH)
    if not isinstance(refresh, int) or isinstance(refresh, bool) or not 1 <= refresh <= 1024:
        raise ValueError(f"{path / CARD}: refresh must be a whole number from 1 to 1024, not {shown(refresh)}")
    return refresh


def verdict_of(path: Path, settings: Any) -> Verdict:
    """How the verdict loop runs these weights; what the card does not say is as usual."""
    kinds = {field.name: (int, float) if field.name == "draft_above" else (int,) for field in fields(Verdict)}
    if not isinstance(settings, dict) or not settings.keys() <= kinds.keys():
        raise ValueError(f"{path / CARD}: verdict may name {', '.join(kinds)}, and nothing else")
    for name, value in settings.items():
        if not isinstance(value, kinds[name]) or isinstance(value, bool):
            raise ValueError(f"{path / CARD}: verdict's {name} is {shown(value)}, which is no number of its kind")
    try:
        return Verdict(**settings)
    except ValueError as error:
        raise ValueError(f"{path / CARD}: verdict: {error}") from error


def vocabulary_of(path: Path, tokens: Any, config: ModelConfig) -> Vocabulary:
    """The ids in a card; those it does not name are NONE."""
    known = {field.name for field in fields(Vocabulary)}
    if not isinstance(tokens, dict) or not {"end"} <= tokens.keys() <= known:
        raise ValueError(f"{path / CARD}: tokens must name end, and of the others only {', '.join(sorted(known))}")
    also, prefix_first = tokens.get("also_ends", []), tokens.get("prefix_first", False)
    if not isinstance(prefix_first, bool):
        raise ValueError(f"{path / CARD}: prefix_first must be true or false, not {shown(prefix_first)}")
    ids = {name: tokens.get(name, NONE) for name in IDS}
    for token_id in [*ids.values(), *(also if isinstance(also, list) else [None])]:
        if not isinstance(token_id, int) or isinstance(token_id, bool) or not NONE <= token_id < config.vocab_size:
            raise ValueError(
                f"{path / CARD}: token id {shown(token_id)} is not in the vocabulary of {config.vocab_size}"
            )
    if ids["middle"] != NONE and NONE in (ids["near_suffix"], ids["near_prefix"]):
        raise ValueError(f"{path / CARD}: middle needs near_suffix and near_prefix beside it")
    return Vocabulary(**ids, also_ends=tuple(also), prefix_first=prefix_first)


def layout_of(path: Path, config: ModelConfig) -> Layout:
    """The context's budgets; ValueError names the folder."""
    try:
        return Layout.of(config.max_context)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def causal_folder(path: Path, config: ModelConfig) -> ModelFolder:
    """A checkpoint without a card: an ordinary causal model, decoded token by token.

    In front the prefix alone, or suffix and prefix where the tokenizer has markers for filling in the middle.
    """
    added = added_tokens(path)
    masks = [token for token in families.MASKS if token in added]
    if masks:
        raise ValueError(f"{path} has a mask token {masks[0]} but no {CARD} that says who sees whom")
    ends = read_json(path / "config.json").get("eos_token_id")
    ends = [end for end in (ends if isinstance(ends, list) else [ends]) if isinstance(end, int)]
    if not ends or not all(0 <= end < config.vocab_size for end in ends):
        raise ValueError(f"{path / 'config.json'} names no end of text (eos_token_id)")
    fim = families.fim_ids(added)
    more = [added[end] for end in (*families.ENDS, *families.FILE_ENDS) if end in added] if fim else []
    ids = dict.fromkeys(IDS, NONE) | {"end": ends[0]} | fim
    vocabulary = Vocabulary(**ids, also_ends=tuple(dict.fromkeys(end for end in ends + more if end != ends[0])))
    config = replace(config, max_context=min(config.max_context, CAUSAL_CONTEXT))
    return ModelFolder(path, config, vocabulary, layout_of(path, config), "verdict", path.name, "")


def write_card(folder: ModelFolder, to: Path) -> None:
    """Write what config.json does not say to `to`/mezzotint.json."""
    said = asdict(folder.vocabulary).items()
    tokens = {name: value for name, value in said if value not in (NONE, ()) and value is not False}
    fitted = {name: value for name, value in asdict(folder.verdict).items() if value != getattr(Verdict(), name)}
    card = {"format": FORMAT, "name": folder.name, "licence": folder.licence, "tokens": tokens, "policy": folder.policy}
    card |= {"verdict": fitted} if fitted else {}
    card |= {"refresh": folder.refresh} if folder.config.in_place else {}
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
