"""diffusion/wire.py: requests and drafts come back as they went, and whatever else comes is one sentence."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion import wire
from diffusion.fields import FieldError
from diffusion.request import Draft, Hole, InfillRequest, Start
from diffusion.wire import draft_line, error_line, read_draft, read_request, request_body
from tests.fuzzing import fuzz

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
chances = st.floats(0, 1)
holes = st.builds(Hole, st.integers(1, 128), st.booleans())
middles = st.tuples(holes) | st.tuples(holes, texts, holes) | st.tuples(texts, holes)
starts = st.builds(Start, st.lists(st.tuples(texts, chances), max_size=4).map(tuple), st.booleans())
requests = st.builds(
    InfillRequest,
    texts,
    texts,
    middles,
    other_files=st.lists(texts, max_size=3).map(tuple),
    deadline_ms=st.none() | st.floats(0, wire.MAX_DEADLINE_MS),
    seed=st.integers(0, 2**63 - 1),
    temperature=st.floats(0, 10),
    start=st.none() | starts,
    stop_below=chances,
    language=texts,
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=6,
)
GOOD: dict[str, Any] = json.loads(
    request_body(
        InfillRequest("a", "b", (Hole(), "x", Hole()), ("o",), (), 5, 1, 0.5, Start((("t", 0.5),)), 0.1, "python"),
        "small",
    )
)
DRAFT: dict[str, Any] = json.loads(draft_line(Draft(1, "abc", ((1, 2),), 0.5, 3, tokens=((0, 1, 0.5), (1, 3, 0.0)))))


@st.composite
def drafts(draw: st.DrawFn) -> Draft:
    text = draw(texts)
    at = st.integers(0, len(text))
    ends = sorted(draw(st.sets(at)))
    masked = tuple(zip(ends[::2], ends[1::2], strict=False))
    spans = draw(st.lists(st.tuples(at, at).map(sorted), max_size=5))
    tokens = tuple((start, stop, draw(chances)) for start, stop in spans)
    reason = draw(st.sampled_from(wire.REASONS))
    counts = st.integers(0, 2**40)
    return Draft(draw(counts), text, masked, draw(chances), draw(counts), bool(reason), reason, tokens)


@fuzz(100)
@given(requests, texts)
def test_a_request_comes_as_it_went(request: InfillRequest, model: str) -> None:
    assert read_request(request_body(request, model)) == (request, model)


@fuzz(100)
@given(drafts())
def test_a_draft_comes_as_it_went(draft: Draft) -> None:
    line = draft_line(draft)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert read_draft(line) == draft


def test_what_is_for_the_editors_side_alone_does_not_go_out() -> None:
    local = InfillRequest("a", "b", recall_from=("whole text",), path="src/secret_name.py")
    body = request_body(local)
    assert b"whole text" not in body and b"secret_name" not in body
    assert read_request(body).request == dataclasses.replace(local, recall_from=(), path="")


def test_a_lone_surrogate_of_an_editor_does_not_shift_what_follows() -> None:
    assert read_request(request_body(InfillRequest("a\ud800b", ""))).request.prefix == "a?b"


@fuzz(200)
@given(st.binary(max_size=100) | anything.map(lambda value: json.dumps(value).encode()))
def test_whatever_bytes_come_they_are_a_request_or_a_sentence(body: bytes) -> None:
    for read in (read_request, read_draft):
        with pytest.raises(FieldError) as error:
            read(body)
        assert_sentence(str(error.value))


@fuzz(300)
@given(st.sampled_from(sorted(GOOD)), anything)
def test_whatever_a_field_holds_it_is_read_or_refused_in_a_sentence(name: str, value: Any) -> None:
    try:
        asked = read_request(json.dumps({**GOOD, name: value}).encode())
    except FieldError as error:
        assert_sentence(str(error))
    else:
        assert read_request(request_body(*asked)) == asked


@fuzz(300)
@given(st.sampled_from(sorted(DRAFT)), anything)
def test_whatever_a_draft_holds_it_is_read_or_refused_in_a_sentence(name: str, value: Any) -> None:
    try:
        draft = read_draft(json.dumps({**DRAFT, name: value}).encode())
    except FieldError as error:
        assert_sentence(str(error))
    else:
        assert read_draft(draft_line(draft)) == draft


def assert_sentence(text: str) -> None:
    assert text and "\n" not in text and len(text) < 300


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": 2}, "this server speaks version 1 of the protocol, not 2"),
        ({"version": True}, "this server speaks version 1 of the protocol, not True"),
        ({"prefix": 5}, "prefix must be a text of at most 200,000 characters"),
        ({"prefix": "x" * 200_001}, "prefix must be a text of at most 200,000 characters"),
        ({"suffix": "\ud800"}, "suffix must be Unicode text without lone surrogates"),
        ({"middle": []}, "middle must be a list with at least one hole"),
        ({"middle": ["x"]}, "middle must be a list with at least one hole"),
        ({"middle": [3]}, "each part of middle must be an object"),
        ({"middle": [{"maxTokens": 129}]}, "maxTokens must be a whole number from 1 to 128"),
        ({"otherFiles": ["x"] * 65}, "otherFiles must be a list of at most 64 items"),
        ({"otherFiles": ["x" * 150_000] * 2}, "otherFiles must be texts of at most 200,000 characters together"),
        ({"deadlineMs": float("nan")}, "deadlineMs must be a number from 0 to 600,000"),
        ({"seed": -1}, "seed must be a whole number from 0 to 9,223,372,036,854,775,807"),
        ({"start": {"pieces": [["x"]]}}, "pieces must be a list of pairs of a text and a probability"),
        ({"path": "/home/me"}, "'path' is no field of a request of version 1"),
    ],
)
def test_a_wrong_field_is_named_with_what_it_must_be(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FieldError) as error:
        read_request(json.dumps({**GOOD, **change}).encode())
    assert str(error.value) == sentence


def test_a_body_over_the_limit_is_not_parsed() -> None:
    with pytest.raises(FieldError, match="^the request is larger than 2,000,000 bytes$"):
        read_request(b"[" * 2_000_001)


@pytest.mark.parametrize("body", [b"[" * 1_000_000, b"9" * 5_000, b"\xff", b""])
def test_what_cannot_be_parsed_is_no_json(body: bytes) -> None:
    with pytest.raises(FieldError, match="^the request is not JSON in UTF-8$"):
        read_request(body)


def test_what_the_server_says_went_wrong_is_passed_on() -> None:
    with pytest.raises(FieldError, match="^the server says: the engine failed$"):
        read_draft(error_line("the engine failed"))


def test_a_draft_of_a_later_version_may_have_more_fields() -> None:
    assert read_draft(json.dumps({**DRAFT, "later": 1}).encode()).text == "abc"
