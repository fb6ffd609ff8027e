"""What is taken for a key or a password, and what only speaks of one. No token here was ever valid."""

from __future__ import annotations

import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsp_server.text import credentials
from lsp_server.text.credentials import MAX_CHARS, credential_in

LETTERS = string.ascii_letters + string.digits


def drawn(n_chars: int, alphabet: str = LETTERS) -> str:
    """Random characters, the same in every run; written out they would alarm who looks for keys in repositories."""
    return "".join(random.Random(n_chars).choices(alphabet, k=n_chars))


B64 = LETTERS + "+/"
KEY = "\n".join(drawn(64 - n, B64) for n in range(4))
FOUND = {
    "an AWS key": "AKIA" + drawn(16, string.ascii_uppercase + "234567"),
    "a GitHub token": "ghp_" + drawn(36),
    "a GitLab token": "glpat-" + drawn(20),
    "a Slack token": "xoxb-582917364905-" + drawn(24),
    "a Slack webhook": "https://hooks.slack.com/services/T00ABCDEF/B00ABCDEF/" + drawn(24),
    "a Google key": "AIza" + drawn(35),
    "an OpenAI key": "sk-proj-" + drawn(40) + "T3BlbkFJ" + drawn(40),
    "an API key": "sk-" + drawn(48),
    "a Stripe key": "sk" + "_live_" + drawn(24),
    "an npm token": "npm_" + drawn(36),
    "a Hugging Face token": "hf_" + drawn(34),
    "a PyPI token": "pypi-AgE" + drawn(60),
    "an Azure key": f"AccountKey={drawn(86, B64)}==",
    "a JSON web token": f"eyJ{drawn(20)}.eyJ{drawn(30)}.{drawn(43)}",
    "a private key": f"-----BEGIN RSA PRIVATE KEY-----\n{KEY}\n-----END RSA PRIVATE KEY-----",
}


@pytest.mark.parametrize("what", FOUND)
def test_tokens_of_a_known_shape_are_found_wherever_they_are(what: str) -> None:
    for text in ("{}", "x = '{}'\n", '  "key": "{}",\n', "<a href={}>"):
        assert credential_in("# " + text.replace("{}", FOUND[what])) == what


@pytest.mark.parametrize(
    "text",
    [
        f"-----BEGIN PRIVATE KEY-----\r\n{KEY}", f"key = '-----BEGIN EC PRIVATE KEY-----\\n{drawn(64, B64)}\\n'",
        f"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{KEY}",
        f"-----BEGIN OPENSSH PRIVATE KEY-----\n{KEY}",
        f"  -----BEGIN PGP PRIVATE KEY BLOCK-----\n  Version: 1\n\n  {drawn(64)}",
        f'    "-----BEGIN PRIVATE KEY-----\\n"\n    "{drawn(64, B64)}\\n"\n',
    ],
)  # fmt: skip
def test_key_blocks_are_found_however_they_are_written(text: str) -> None:
    assert credential_in(text) == "a private key"


@pytest.mark.parametrize(
    "line", ["{name} = '{value}'", '"{name}": "{value}",', "{name}={value}", "{name}: {value}", "export {name}={value}",
             '{name} => "{value}"', "my_{name}_prod := '{value}'"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["secret", "API_KEY", "db_password", "authToken", "aws_secret_access_key"])
def test_a_random_value_with_such_a_name_is_found(line: str, name: str) -> None:
    for value in (drawn(40), drawn(32), drawn(40, "0123456789abcdef")):
        assert credential_in("\n" + line.replace("{name}", name).replace("{value}", value) + "\n").startswith(
            "a random value"
        )


@pytest.mark.parametrize(
    "text",
    [
        "if 'BEGIN PRIVATE KEY' in text:\n    raise ValueError\n", "MARK = b'-----BEGIN RSA PRIVATE KEY-----\\n'\n",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n", 'password = "changeme"\n', "password = ''\n",
        f"-----BEGIN PUBLIC KEY-----\n{KEY}", f"-----BEGIN CERTIFICATE-----\n{KEY}", "AKIAIOSFODNN7EXAMPLE",
        "token = os.environ['GITHUB_TOKEN_FOR_RELEASES']\n", "secret_key = generate_secret_key_from_settings()\n",
        "api_key: str = field(default_factory=lambda: None)\n", "password: ${DATABASE_PASSWORD_FROM_ENVIRONMENT}\n",
        "ghp_" + "x" * 36, "sk-" + "0" * 48, "AIza" + "A" * 35, "password = 'correct-horse-battery-staple'\n",
        'audio_tokenizer_class = "HiggsAudioV2TokenizerModel"\n', '"token2wav_config": Qwen2_5OmniToken2WavConfig\n',
        f"sha256 = '{drawn(64, '0123456789abcdef')}'\n", f"integrity: sha512-{drawn(86, B64)}==\n",
        f"commit = '{drawn(40)}'",
        "token = 'your-token-goes-here-12345678'\n", "access_token=2YotnFZFEjr1zCsicMWpAA\n",
        "tokens: 0123456789ABCDEFabcdef", "private_key: ed25519.Ed25519PrivateKey\n",
        "secret = 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1B'\n", "token = '6ba7b810-9dad-11d1-80b4-00c04fd430c8'\n",
    ],
)  # fmt: skip
def test_what_only_speaks_of_keys_is_none(text: str) -> None:
    assert credential_in(text) == ""


def test_only_the_beginning_counts() -> None:
    token = FOUND["a GitHub token"]
    assert credential_in(" " * (MAX_CHARS - 100) + token)
    assert not credential_in(" " * (MAX_CHARS + 1) + token)


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=200) | st.text(st.sampled_from("eyJ.-_:= '\"secrtokn\n"), max_size=200))
def test_no_text_raises(text: str) -> None:
    credential_in(text)


@pytest.mark.parametrize(
    "piece",
    ["eyJ", "secret", "token=", "= '", "-----BEGIN PRIVATE KEY-----\n", "sk-T3BlbkFJ", "eyJ" + "a" * 15 + ".", "a", "-",
     "=", " ", "xoxb-12345678-", "Version: 1\n", "AccountKey=", "pypi-AgE"],
)  # fmt: skip
def test_every_shape_takes_a_bounded_number_of_characters_at_each_place(piece: str) -> None:
    """Every repetition in the shapes has a bound, so that a search is linear in the text."""
    shapes = [shape.pattern for _, _, shape in credentials._COMPILED] + [
        credentials._VALUE.pattern,
        credentials._NAME.pattern,
    ]
    assert not [shape for shape in shapes if "*" in shape or "]+" in shape]
    credential_in(piece * (MAX_CHARS // len(piece)))
