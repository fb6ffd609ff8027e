"""The VS Code extension's settings are the server's options: same names, kinds, defaults and ranges."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from lsp_server.options import Options, camel
from lsp_server.text.languages import ON_BY_DEFAULT

MANIFEST = json.loads((Path(__file__).parents[1] / "editors/vscode/package.json").read_text())
SETTINGS = {
    name.removeprefix("mezzotint."): setting
    for name, setting in MANIFEST["contributes"]["configuration"]["properties"].items()
}
OPTIONS = {camel(spec.name): spec for spec in dataclasses.fields(Options)}
CLIENT_ONLY = {"command", "package", "enable"}  # how the server is found, and which languages it is asked for
NO_SETTING = {"status", "disabledLanguages"}  # the status item always wants the first; `enable` does the second
OTHER_DEFAULT = {"drafts": True}  # this client can draw them
COMPARED = ("type", "default", "minimum", "maximum", "enum")
KINDS = {bool: "boolean", int: "integer", str: "string", tuple: "array"}


def wanted(name: str, spec: dataclasses.Field[Any]) -> dict[str, Any]:
    """What package.json must say of an option."""
    default = list(spec.default) if isinstance(spec.default, tuple) else spec.default
    setting = {"type": KINDS[type(spec.default)], "default": OTHER_DEFAULT.get(name, default)}
    if "range" in spec.metadata:
        setting["minimum"], setting["maximum"] = spec.metadata["range"]
    if "choices" in spec.metadata:
        setting["enum"] = list(spec.metadata["choices"])
    return setting


def test_every_option_is_a_setting_and_every_setting_an_option() -> None:
    assert set(SETTINGS) - CLIENT_ONLY == set(OPTIONS) - NO_SETTING


def test_settings_have_the_kind_default_and_range_of_the_options() -> None:
    for name in set(OPTIONS) - NO_SETTING:
        said = {
            key: SETTINGS[name][key]
            for key in ("type", "default", "minimum", "maximum", "enum")
            if key in SETTINGS[name]
        }
        assert said == wanted(name, OPTIONS[name]), name


def test_the_languages_that_are_on_are_those_the_model_is_for() -> None:
    assert SETTINGS["enable"]["default"] == {"*": False, **dict.fromkeys(ON_BY_DEFAULT, True)}


def test_every_setting_is_described() -> None:
    assert all(setting["markdownDescription"].endswith(".") for setting in SETTINGS.values())


def test_a_workspace_cannot_choose_what_is_started_or_installed() -> None:
    assert {SETTINGS[name]["scope"] for name in ("command", "package", "model", "adapter")} == {"machine"}


def test_a_workspace_cannot_choose_where_text_is_sent() -> None:
    assert {SETTINGS[name]["scope"] for name in ("remote", "remoteTokenFile")} == {"machine"}


def test_a_workspace_can_neither_widen_what_is_served_nor_drop_what_is_secret() -> None:
    assert {SETTINGS[name]["scope"] for name in ("schemes", "secretPatterns")} == {"machine"}
    assert {SETTINGS[name]["items"]["type"] for name in ("schemes", "secretPatterns")} == {"string"}


def test_a_folder_that_is_not_trusted_is_given_no_say() -> None:
    limits = MANIFEST["capabilities"]["untrustedWorkspaces"]
    assert limits["supported"] == "limited"
    machine = {f"mezzotint.{name}" for name, setting in SETTINGS.items() if setting.get("scope") == "machine"}
    assert set(limits["restrictedConfigurations"]) == machine
