"""diffusion/serve: the configuration and the file of users, whatever is in them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.fields import FieldError, Fields
from diffusion.serve.metrics import METRICS, Metrics
from diffusion.serve.settings import Model, Settings
from diffusion.serve.users import Users, add_user, read_names
from tests.fuzzing import fuzz

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = ("host", "port", "users", "allowRemote", "cluster", "drainS", "byDocument", "limits", "models")


def read(**fields: Any) -> Settings:
    return Settings.of(Fields(fields, "serve.json"))


def test_nothing_said_means_defaults() -> None:
    assert read() == Settings() and Settings().models == (Model(),)


def test_everything_can_be_said() -> None:
    model = {
        "name": "big",
        "model": "/m",
        "adapter": "/a",
        "device": "cuda",
        "threads": 2,
        "replicas": [1, 4],
        "cpus": 2,
        "gpus": 0.5,
    }
    model |= {"target": 3, "batch": 8}
    limits = {"waiting": 1, "perUser": 2, "deadlineMs": 3, "contextMb": 4}
    settings = read(port=1, users="u", cluster="auto", drainS=5, byDocument=False, limits=limits, models=[model])
    assert settings.models == (Model("big", "/m", "/a", "cuda", 2, (1, 4), 2, 0.5, 3, 8),)
    assert (settings.limits.waiting, settings.limits.per_user) == (1, 2)
    assert (settings.cluster, settings.by_document, settings.drain_s) == ("auto", False, 5)


@fuzz(200)
@given(st.sampled_from(NAMES), values)
def test_whatever_a_field_holds_it_is_read_or_refused_in_a_sentence(name: str, value: Any) -> None:
    try:
        read(**{name: value})
    except FieldError as error:
        assert str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"host": "models.example"}, "host must be a loopback address"),
        ({"host": "0.0.0.0", "allowRemote": True}, "needs a file of users"),
        ({"models": []}, "models must be a list of models with different names"),
        ({"models": [{"name": "a"}, {"name": "a"}]}, "models must be a list of models with different names"),
        ({"models": [{"name": "a/b"}]}, "name must be letters, digits and ._-"),
        ({"models": [{"replicas": [2, 1]}]}, "replicas must be the least and the most, in this order"),
        ({"limits": {"waitng": 1}}, "'waitng' is no field of limits"),
    ],
)
def test_what_cannot_be_is_one_sentence(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(FieldError, match=why):
        read(**fields)


def test_a_token_is_known_by_its_hash_alone(tmp_path: Path) -> None:
    file = tmp_path / "users"
    tokens = {name: add_user(file, name) for name in ("ada", "bob")}
    users = Users.read(file)
    assert {name: users.name_of(f"Bearer {token}") for name, token in tokens.items()} == {"ada": "ada", "bob": "bob"}
    assert users.name_of("Bearer x") is users.name_of("") is users.name_of(f"Basic {tokens['ada']}") is None
    assert not any(token in file.read_text() for token in tokens.values())
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_user_who_is_added_again_has_a_new_token_alone(tmp_path: Path) -> None:
    file = tmp_path / "users"
    old, new = add_user(file, "ada"), add_user(file, "ada")
    users = Users.read(file)
    assert users.name_of(f"Bearer {old}") is None and users.name_of(f"Bearer {new}") == "ada"


def test_a_file_that_others_may_write_or_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "users"
    add_user(file, "ada")
    os.chmod(file, 0o622)
    with pytest.raises(ValueError, match="others may write"):
        read_names(file)
    os.chmod(file, 0o600)
    file.write_text("# a comment\n\nada my-plain-token\n")
    with pytest.raises(ValueError, match="line 3: a name and the SHA-256 of a token"):
        read_names(file)


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "-x", "x" * 65])
def test_a_name_is_a_word(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        add_user(tmp_path / "users", name)


def test_what_is_counted_is_what_prometheus_reads() -> None:
    metrics = Metrics()
    metrics.add("requests", 2)
    metrics.raise_to("most_passes_after_cancel", 1)
    metrics.observe("final_seconds", 0.03)
    lines = metrics.text().splitlines()
    assert "mezzotint_requests_total 2" in lines and "mezzotint_most_passes_after_cancel 1" in lines
    assert 'mezzotint_final_seconds_bucket{le="0.025"} 0' in lines
    assert 'mezzotint_final_seconds_bucket{le="0.05"} 1' in lines
    assert 'mezzotint_final_seconds_bucket{le="+Inf"} 1' in lines
    assert sum(line.startswith("# TYPE") for line in lines) == len(METRICS)


def test_the_settings_of_a_file_are_read(tmp_path: Path) -> None:
    file = tmp_path / "serve.json"
    file.write_text(json.dumps({"port": 9}))
    assert Settings.read(file).port == 9
