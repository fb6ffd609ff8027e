from __future__ import annotations

import dataclasses

import pytest

from lsp_server.options import Options, camel, from_client


def test_nothing_given_means_defaults() -> None:
    assert from_client(None) == (Options(), [])
    assert from_client({}) == (Options(), [])


def test_every_option_is_read_by_its_camel_case_name() -> None:
    given = {
        "drafts": True, "status": True, "model": "/m", "adapter": "/a",
        "device": "cuda", "threads": 2, "refresh": 3,
        "remote": "https://x", "remoteTokenFile": "/t", "remotePatienceMs": 60, "deadlineMs": 0, "maxTokens": 16,
        "maxPrefixChars": 300, "maxSuffixChars": 0, "maxFileBytes": 5, "multiline": "never", "comments": "off",
        "strings": "manual", "encodeAhead": False,
        "minConfidencePercent": 50, "candidates": 5, "liveCanvas": False, "syntaxFeedback": False,
        "otherFiles": False, "draftDelayMs": 7,
        "disabledLanguages": ["markdown"], "schemes": ["zed"], "secretPatterns": ["*.x", "a/*"], "logLevel": "debug",
    }  # fmt: skip
    options, problems = from_client(given)
    assert problems == []
    assert set(given) == {camel(field.name) for field in dataclasses.fields(Options)}
    assert dataclasses.astuple(options) == (
        *(True, True, "/m", "/a", "cuda", 2, 3, "https://x", "/t", 60, 0, 16, 300, 0, 5, "never", "off", "manual"),
        False,
        *(50, 5, False, False, False, 7, ("markdown",), ("zed",), ("*.x", "a/*"), "debug"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("drafts", 1), ("drafts", "yes"), ("model", 3), ("threads", -1), ("threads", True), ("threads", 1.5),
        ("deadlineMs", "soon"), ("maxTokens", 0), ("multiline", "sometimes"), ("disabledLanguages", "python"),
        ("disabledLanguages", [1]), ("schemes", "zed"), ("secretPatterns", [None]),
        ("logLevel", None), ("noSuchOption", 1), ("multiline", []), ("comments", True), ("strings", "never"),
    ],
)  # fmt: skip
def test_a_bad_value_is_reported_and_the_default_is_used(key: str, value: object) -> None:
    options, problems = from_client({key: value, "maxFileBytes": 77})
    assert options == Options(max_file_bytes=77)
    assert len(problems) == 1
    assert repr(key) in problems[0]


def test_options_that_are_no_object_are_reported() -> None:
    options, problems = from_client([1])
    assert options == Options()
    assert "list" in problems[0]
