"""Text to token ids and back: byte-level BPE with the special tokens of context and canvas.

Rule: a line break always starts a new pre-token, so text cut before a line break tokenizes as its parts do.
The line break takes the indentation of the next line with it; runs of spaces are single tokens; digits are split.

    tokenizer = Tokenizer.load(path / "tokenizer.json")
    tokenizer.decode(tokenizer.encode("x = 1"))
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import tokenizers

from cuda_ext import rules
from diffusion.vocabulary import OUR_SPECIAL_TOKENS, OURS, Vocabulary

# A line break with the indentation behind it | a word with its leading space | one digit | punctuation | spaces.
PRE_TOKEN = r"\r?\n[ \t]*| ?[^\W\d]+|\d| ?[^\s\w]+| +|\t+|\s"


class Tokenizer:
    """Encodes text without adding anything to it; special tokens never come out of text."""

    def __init__(self, bpe: tokenizers.Tokenizer, vocabulary: Vocabulary = OURS) -> None:
        if vocabulary is OURS:
            for token_id, token in enumerate(OUR_SPECIAL_TOKENS):
                if bpe.token_to_id(token) != token_id:
                    raise ValueError(f"not a Mezzotint tokenizer: token {token_id} is not {token}")
        bpe.encode_special_tokens = True  # "<mask>" typed by a user is text, not a mask
        self._bpe, self.vocabulary = bpe, vocabulary

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary = OURS) -> Tokenizer:
        """Read a tokenizer.json; ValueError if it cannot be read or lacks what `vocabulary` names."""
        try:
            return cls(tokenizers.Tokenizer.from_file(str(path)), vocabulary)
        except ValueError:
            raise
        except Exception as error:  # the Rust side raises bare Exception
            raise ValueError(f"cannot read tokenizer {path}: {error}") from error

    @property
    def vocab_size(self) -> int:
        """Number of token ids, special tokens included."""
        return int(self._bpe.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`."""
        return list(self._bpe.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Token ids of many texts, on all cores."""
        return [list(e.ids) for e in self._bpe.encode_batch(texts, add_special_tokens=False)]

    def decode(self, ids: list[int]) -> str:
        """Text of `ids`; special tokens give nothing, broken UTF-8 gives U+FFFD."""
        return b"".join(self.token_bytes[i] for i in ids).decode("utf-8", errors="replace")

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes of every token; special tokens are empty."""
        to_byte = {char: byte for byte, char in byte_alphabet().items()}
        tokens = [self._bpe.id_to_token(i) or "" for i in range(self.vocab_size)]
        return [
            b"" if i in self.vocabulary.specials else bytes(to_byte[c] for c in token) for i, token in enumerate(tokens)
        ]

    @cached_property
    def flags(self) -> np.ndarray:
        """Uint8 (vocab_size,): what every token is to the denoising loop (`cuda_ext.rules`)."""
        flags = np.fromiter((rules.BREAK if b"\n" in t else 0 for t in self.token_bytes), np.uint8, self.vocab_size)
        flags[list(self.vocabulary.specials)] = rules.SPECIAL
        flags[[self.vocabulary.end, *self.vocabulary.also_ends]] = rules.END
        return flags

    def starting_with(self, start: bytes) -> np.ndarray:
        """Bool (vocab_size,): the tokens whose bytes begin with `start`."""
        return np.fromiter((token.startswith(start) for token in self.token_bytes), bool, self.vocab_size)

    def ending_with(self, end: bytes) -> np.ndarray:
        """Bool (vocab_size,): the tokens whose bytes end with `end`."""
        return np.fromiter((token.endswith(end) for token in self.token_bytes), bool, self.vocab_size)


def byte_alphabet() -> dict[int, str]:
    """The printable character that byte-level BPE (GPT-2) writes for every byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(rest)}
