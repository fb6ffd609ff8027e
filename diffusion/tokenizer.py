"""Text to token ids and back: byte-level BPE, ours or a checkpoint's own, with the special tokens kept out of text.

Rule: tokens are bytes here; special tokens, and rows that the tokenizer does not name, have none and never come out of
text. The splitter is the tokenizer's own, so that healing sees the same borders.

    tokenizer = Tokenizer.load(path / "tokenizer.json")
    tokenizer.decode(tokenizer.encode("x = 1"))
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property
from pathlib import Path

import numpy as np
import tokenizers

from cuda_ext import rules
from diffusion.vocabulary import NONE, OUR_SPECIAL_TOKENS, OURS, Vocabulary

# Of our own tokenizers: a line break with the indentation behind it | a word with its leading space | one digit |
# punctuation | spaces.
PRE_TOKEN = r"\r?\n[ \t]*| ?[^\W\d]+|\d| ?[^\s\w]+| +|\t+|\s"


class Tokenizer:
    """Encodes text without adding anything to it; special tokens never come out of text."""

    def __init__(self, bpe: tokenizers.Tokenizer, vocabulary: Vocabulary = OURS, n_rows: int = 0) -> None:
        if vocabulary == OURS:
            for token_id, token in enumerate(OUR_SPECIAL_TOKENS):
                if bpe.token_to_id(token) != token_id:
                    raise ValueError(f"not a Mezzotint tokenizer: token {token_id} is not {token}")
        bpe.encode_special_tokens = True  # "<mask>" typed by a user is text, not a mask
        if bpe.normalizer is not None:  # text must come back byte by byte: Qwen's NFC would move positions
            bpe.normalizer = tokenizers.normalizers.Sequence([])
        if vocabulary != OURS:  # some checkpoints leave their markers ordinary tokens
            bpe.add_special_tokens([text for text in map(bpe.id_to_token, sorted(vocabulary.marks)) if text])
        bpe.no_truncation()
        bpe.no_padding()
        self._bpe, self.vocabulary = bpe, vocabulary
        self.vocab_size = max(n_rows, int(bpe.get_vocab_size()))

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary = OURS, n_rows: int = 0) -> Tokenizer:
        """Read a tokenizer.json; ValueError if it cannot be read or is not what `vocabulary` says.

        `n_rows`: rows of the model's embedding, where it has more than the tokenizer has tokens.
        """
        try:
            return cls(tokenizers.Tokenizer.from_file(str(path)), vocabulary, n_rows)
        except ValueError:
            raise
        except Exception as error:  # the Rust side raises bare Exception
            raise ValueError(f"cannot read tokenizer {path}: {error}") from error

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`."""
        return list(self._bpe.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Token ids of many texts, on all cores."""
        return [list(e.ids) for e in self._bpe.encode_batch(texts, add_special_tokens=False)]

    def decode(self, ids: list[int]) -> str:
        """Text of `ids`; special tokens give nothing, broken UTF-8 gives U+FFFD."""
        return b"".join(self.token_bytes[i] for i in ids).decode("utf-8", errors="replace")

    def pieces(self, text: str) -> list[str]:
        """`text` as the tokenizer splits it before it looks tokens up: no token crosses a border of these."""
        split = self._bpe.pre_tokenizer
        return [text[start:stop] for _, (start, stop) in split.pre_tokenize_str(text)] if split else [text]

    @cached_property
    def specials(self) -> frozenset[int]:
        """Ids that are never text: special tokens, and rows that the tokenizer does not name."""
        added = self._bpe.get_added_tokens_decoder()
        unnamed = range(self._bpe.get_vocab_size(), self.vocab_size)
        special = frozenset(token_id for token_id, token in added.items() if token.special)
        return special | frozenset(unnamed) | self.vocabulary.marks

    @cached_property
    def indent_joins_word(self) -> bool:
        """Whether the last blank of an indentation belongs to the word behind it, as in GPT-2's splitter."""
        return self.pieces("\n    x")[-1] == " x"

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes of every token; special tokens are empty."""
        to_byte = {char: byte for byte, char in byte_alphabet().items()}
        tokens = [self._bpe.id_to_token(i) or "" for i in range(self.vocab_size)]
        known = [None if i in self.specials else token for i, token in enumerate(tokens)]
        return [b"" if token is None else bytes(to_byte[c] for c in token if c in to_byte) for token in known]

    @cached_property
    def flags(self) -> np.ndarray:
        """Uint8 (vocab_size,): what every token is to the denoising loop (`cuda_ext.rules`)."""
        flags = np.fromiter(map(line_flag, self.token_bytes), np.uint8, self.vocab_size)
        flags[[i for i in self.specials if i < self.vocab_size]] = rules.SPECIAL
        flags[[self.vocabulary.end, *self.vocabulary.also_ends]] = rules.END
        return flags

    @cached_property
    def _sorted(self) -> tuple[list[bytes], np.ndarray]:
        return in_order(self.token_bytes)

    @cached_property
    def _sorted_backwards(self) -> tuple[list[bytes], np.ndarray]:
        return in_order([token[::-1] for token in self.token_bytes])

    def id_of(self, token: bytes) -> int:
        """The id of the token of just these bytes, NONE if there is none."""
        values, ids = self._sorted
        at = bisect_left(values, token)
        return int(ids[at]) if token and at < len(values) and values[at] == token else NONE

    def starting_with(self, start: bytes) -> np.ndarray:
        """Bool (vocab_size,): the tokens whose bytes begin with `start`."""
        return self._with(self._sorted, start)

    def ending_with(self, end: bytes) -> np.ndarray:
        """Bool (vocab_size,): the tokens whose bytes end with `end`."""
        return self._with(self._sorted_backwards, end[::-1])

    def _with(self, tokens: tuple[list[bytes], np.ndarray], start: bytes) -> np.ndarray:
        """Bool (vocab_size,): of sorted bytes, and their ids, those that begin with `start`; by bisection."""
        values, ids = tokens
        found = np.zeros(self.vocab_size, dtype=bool)
        first = bisect_left(values, start)
        found[ids[first : bisect_left(values, True, lo=first, key=lambda value: not value.startswith(start))]] = True
        return found


def line_flag(token: bytes) -> int:
    """Whether a token holds a line break, and whether there is more than blanks before it."""
    before, found, _ = token.partition(b"\n")
    return 0 if not found else rules.CLOSES if before.strip() else rules.BREAK


def in_order(tokens: list[bytes]) -> tuple[list[bytes], np.ndarray]:
    """`tokens` sorted, and where each stood."""
    order = sorted(range(len(tokens)), key=tokens.__getitem__)
    return [tokens[i] for i in order], np.array(order)


def byte_alphabet() -> dict[int, str]:
    """The printable character that byte-level BPE (GPT-2) writes for every byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(rest)}
