r"""What in a text is a key or a password: the shapes of well-known tokens, key blocks, and values that look random.

Rule: the first MAX_CHARS count, in time linear in them; what only speaks of keys, or holds an example, is none.

    credential_in("AWS_SECRET=wJalrXUtnFEMI/K7MDENG/bPxRfiCYzT9qLm2Xs4\n")   # "a random value named secret"
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator

MAX_CHARS = 250_000
MIN_BITS = 3.0  # per character of what is random in a token
HEX_BITS, MIXED_BITS = 3.2, 3.8  # of values that are random; 32 hexadecimal digits have 3.6, 24 of 64 characters 4.2

# what is looked for first (a plain search, which is quick), then the whole shape; its last group has to look random
TOKENS = (
    ("an AWS key", ("AKIA", "ASIA"), r"\b(?:AKIA|ASIA)([A-Z2-7]{16})\b"),
    ("a GitHub token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"\bgh[pousr]_([A-Za-z0-9]{36,251})\b"),
    ("a GitHub token", ("github_pat_",), r"\bgithub_pat_(\w{82})\b"),
    ("a GitLab token", ("glpat-",), r"(?<![\w-])glpat-([\w-]{20,64})"),
    ("a Slack token", ("xoxb-", "xoxp-", "xoxa-", "xoxs-", "xoxr-"), r"(?<![\w-])xox[abprs]-(\d{8,14}-[\w-]{20,80})"),
    ("a Slack webhook", ("hooks.slack.com/",), r"hooks\.slack\.com/services/T\w{8,12}/B\w{8,12}/(\w{24})\b"),
    ("a Google key", ("AIza",), r"\bAIza([\w-]{35})(?![\w-])"),
    ("a Google secret", ("GOCSPX-",), r"\bGOCSPX-([\w-]{28})(?![\w-])"),
    ("an OpenAI key", ("sk-",), r"(?<![\w-])sk-(?:proj-|svcacct-|admin-)?((?=[\w-]{0,150}T3BlbkFJ)[\w-]{40,200})"),
    ("an API key", ("sk-",),
     r"(?<![\w-])sk-([A-Za-z0-9]{48}|ant-[a-z]{3,6}\d\d-[\w-]{80,120}|or-v1-[0-9a-f]{64})(?![\w-])"),
    ("a Stripe key", ("_live_",), r"\b[sr]k_live_([A-Za-z0-9]{24,128})\b"),
    ("a SendGrid key", ("SG.",), r"(?<![\w-])SG\.([\w-]{22}\.[\w-]{43})(?![\w-])"),
    ("an npm token", ("npm_",), r"\bnpm_([A-Za-z0-9]{36})\b"),
    ("a PyPI token", ("pypi-AgE",), r"(?<![\w-])pypi-AgE([\w-]{50,200})"),
    ("a Hugging Face token", ("hf_",), r"\bhf_([A-Za-z0-9]{34})\b"),
    ("a Vault token", ("hvs.",), r"(?<![\w-])hvs\.([\w-]{90,200})"),
    ("a DigitalOcean token", ("dop_v1_",), r"\bdop_v1_([0-9a-f]{64})\b"),
    ("an Azure key", ("AccountKey=",), r"\bAccountKey=([A-Za-z0-9+/]{86}==)"),
    ("an age key", ("AGE-SECRET-KEY-1",), r"\bAGE-SECRET-KEY-1([0-9A-Z]{58})\b"),
    ("a private key", (" PRIVATE KEY",),
     r"-----BEGIN (?:[A-Z0-9]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----[^A-Za-z0-9+/=-]{0,8}(?:[nr]\W{0,8}){0,2}"
     r"(?:(?:Version|Proc-Type|DEK-Info|Comment): [^\n]{1,80}[\\nr\s]{1,8}){0,4}([A-Za-z0-9+/]{48,76})"),
    ("a JSON web token", ("eyJ",), r"(?<![\w-])eyJ[\w-]{15,500}\.eyJ[\w-]{15,2000}\.([\w-]{40,700})(?![\w-])"),
)  # fmt: skip
_COMPILED = [(name, words, re.compile(shape)) for name, words, shape in TOKENS]
_VALUE = re.compile(r"[=:>][ \t]{0,8}[\"']?([A-Za-z0-9+/_.~-]{20,200}={0,2})(?=[\"'\s,;]|\Z)")
_NAME = re.compile(
    r"(secret|token|passw(?:or)?d|passphrase|credential|(?:api|private|access|auth|account|signing|encryption)[_-]?key)"
    r"[\w-]{0,24}[\"']?[ \t]{0,8}[=:]?\Z",
    re.IGNORECASE,
)
NAME_CHARS = 80  # before a value, where its name may be
_WORD = re.compile(r"[a-z]{3,}")
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")  # an attribute: ed25519.Ed25519PrivateKey
_HEX = re.compile(r"[0-9a-f]+|[0-9A-F]+")
_EXAMPLE = re.compile(
    r"2YotnFZFEjr1zC|tGzv3JOkF0XG5Q|example|sample|dummy|fake|test|your|change|placeholder|redacted|x{4}|0{5}|1234|abcd|\.\.\.",
    re.I,
)


def credential_in(text: str) -> str:
    """Return what the first key or password in a text is, "" if there is none."""
    return next(_found(text[:MAX_CHARS]), "")


def _found(text: str) -> Iterator[str]:
    """Find tokens, then values whose names say what they are."""
    for name, words, shape in _COMPILED:
        if any(word in text for word in words):
            found = (match[1] for match in shape.finditer(text))
            yield from (name for secret in found if bits(secret) >= MIN_BITS and not _EXAMPLE.search(secret))
    for match in _VALUE.finditer(text):
        named = _NAME.search(text, max(0, match.start() - NAME_CHARS), match.start())
        if named and is_random(match[1]):
            yield f"a random value named {named[1].lower()}"


def is_random(value: str) -> bool:
    """Tell whether a value is one that a machine drew: hexadecimal digits, or letters of both cases among digits."""
    if _EXAMPLE.search(value) or _DOTTED.fullmatch(value):
        return False
    if _HEX.fullmatch(value):
        return len(value) >= 32 and bits(value) >= HEX_BITS
    kinds = [_kind(char) for char in value]
    changes = sum(one != other for one, other in itertools.pairwise(kinds))
    n_in_words = sum(map(len, _WORD.findall(value)))
    mixed = {"d", "u", "l"} <= set(kinds) and changes >= len(value) / 3 and n_in_words < 0.45 * len(value)
    return mixed and bits(value) >= MIXED_BITS


def _kind(char: str) -> str:
    """Return which kind of character this is."""
    return "d" if char.isdigit() else "u" if char.isupper() else "l" if char.islower() else "o"


def bits(text: str) -> float:
    """Return the entropy of a text's characters, in bits per character."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())
