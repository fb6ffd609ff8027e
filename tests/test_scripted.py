"""lsp_server/scripted.py: to the server it is an engine like any other."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from diffusion.request import UNSURE, Draft, Hole, InfillRequest
from lsp_server.scripted import Rule, Script, ScriptedEngine, ScriptedError, load, read

LONG = Hole(64, multiline=True)
SHARPENS = Rule("os.", ((("path", 0.9), (".a", 0.0)), (("path", 0.9), (".join", 0.8))))


def scripted(*rules: Rule) -> ScriptedEngine:
    return ScriptedEngine(lambda: Script(rules))


def said(*rules: Rule, request: InfillRequest) -> list[Draft]:
    return list(scripted(*rules).infill(request, lambda: False))


def test_the_first_rule_that_ends_the_text_before_the_cursor_answers() -> None:
    rules = Rule("x = os.", ((("name", 1.0),),)), SHARPENS
    assert [draft.text for draft in said(*rules, request=InfillRequest("x = os.", ""))] == ["name"]
    assert [draft.text for draft in said(*rules, request=InfillRequest("y = os.", ""))] == ["path.a", "path.join"]


def test_where_no_rule_answers_nothing_comes() -> None:
    [draft] = said(SHARPENS, request=InfillRequest("x = ", ""))
    assert (draft.text, draft.done, draft.forward_passes) == ("", True, 1)


def test_drafts_say_what_is_masked_and_the_last_is_done() -> None:
    first, last = said(SHARPENS, request=InfillRequest("os.", ""))
    assert (first.masked, first.done, first.step, first.forward_passes) == (((4, 6),), False, 1, 1)
    assert (last.masked, last.done, last.reason, last.forward_passes) == ((), True, "complete", 2)
    assert last.tokens == ((0, 4, 0.9), (4, 9, 0.8))


def test_further_candidates_have_rules_of_their_own() -> None:
    second = Rule("os.", ((("sep", 1.0),),), candidate=1)
    [draft] = said(SHARPENS, second, request=InfillRequest("os.", "", seed=1, temperature=0.7))
    assert draft.text == "sep"


def test_a_text_ends_where_its_hole_does_and_fixed_text_follows() -> None:
    rule = Rule("f(", ((("a, ", 0.9), ("b\nc", 0.8)),))
    assert said(rule, request=InfillRequest("f(", "", (Hole(16), "))")))[-1].text == "a, b))"
    assert said(rule, request=InfillRequest("f(", "", (LONG,)))[-1].text == "a, b\nc"


def test_cancelling_costs_at_most_the_pass_that_is_running() -> None:
    engine = scripted(Rule("", SHARPENS.drafts * 50, passes=3))
    told: list[int] = []

    def cancelled() -> bool:
        if engine.forward_passes >= 4:
            told.append(engine.forward_passes)
        return bool(told)

    drafts = list(engine.infill(InfillRequest("", ""), cancelled))
    assert len(drafts) == 1 and not drafts[0].done
    assert engine.forward_passes == 4


def test_at_the_deadline_one_draft_decides_all(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0, 0.001)
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    drafts = said(Rule("", SHARPENS.drafts * 50), request=InfillRequest("", "", deadline_ms=4))
    assert 1 < len(drafts) < 10
    assert [(draft.done, draft.reason) for draft in drafts[-2:]] == [(False, ""), (True, "deadline")]
    assert not drafts[-1].masked


def test_it_ends_where_what_is_decided_is_not_sure_enough() -> None:
    rule = Rule("", ((("a", 0.3), ("b", 0.0)), (("a", 0.3), ("b", 0.9))))
    [draft] = said(rule, request=InfillRequest("", "", stop_below=0.4))
    assert (draft.done, draft.reason) == (True, UNSURE)
    assert len(said(rule, request=InfillRequest("", "", stop_below=0.2))) == 2


def test_an_error_comes_behind_the_drafts() -> None:
    engine = scripted(Rule("", ((("a", 1.0),),), error="boom"))
    drafts = engine.infill(InfillRequest("", ""), lambda: False)
    assert not next(drafts).done
    with pytest.raises(ScriptedError, match="boom"):
        next(drafts)


def test_a_file_says_it_all(tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    rules = [{"after": "os.", "drafts": [[["path", 0.9], [".a", 0]], "path.join"], "pass_ms": 0}, {"error": "boom"}]
    path.write_text(json.dumps({"rules": rules}))
    engine = load(f"script:{path}")
    drafts = list(engine.infill(InfillRequest("os.", ""), lambda: False))
    assert [(draft.text, draft.masked) for draft in drafts] == [("path.a", ((4, 6),)), ("path.join", ())]
    with pytest.raises(ScriptedError):
        list(engine.infill(InfillRequest("x", ""), lambda: False))
    path.write_text(json.dumps({"rules": [{"drafts": ["other"]}]}))  # read anew for every request
    assert [draft.text for draft in engine.infill(InfillRequest("x", ""), lambda: False)] == ["other"]


@pytest.mark.parametrize("content", ["", "[]", '{"rules": 3}', '{"rules": [{"text": "a"}]}', '{"lod_ms": 1}'])
def test_what_is_no_script_is_one_clear_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "script.json").write_text(content)
    with pytest.raises(ValueError, match=r"script\.json is not a script"):
        read(tmp_path / "script.json")


def test_a_load_can_fail(tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text('{"load_error": "weights are truncated"}')
    with pytest.raises(ValueError, match="weights are truncated"):
        load(f"script:{tmp_path / 'script.json'}")


def test_other_engines_are_refused() -> None:
    with pytest.raises(ValueError, match="script:FILE"):
        load("torch")
