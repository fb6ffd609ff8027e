"""An engine that says what a file tells it to, for tests of server and editors: `mezzotint lsp --engine script:FILE`.

Rule: what a client can see is the same as with a model (passes, cancelling, deadlines, `stop_below`, errors, a slow
load), and no weights are read. The file is JSON, read anew for every request; the first rule whose `after` ends the
text before the cursor answers:

    {"load_ms": 0, "load_error": "", "asked": "FILE for each request's prefix and suffix, a line each",
     "prepared": "FILE for those of what is encoded ahead", "rules": [
      {"after": "os.", "drafts": [[["path", 0.9], [".join", 0]], "path.exists(name)"], "passes": 1, "pass_ms": 40},
      {"after": "os.", "candidate": 1, "drafts": ["sep"]},
      {"after": "raise ", "error": "what the engine fails with"},
      {"after": "panic ", "panic": "what ends the thread that runs it, as a panic of a Rust library does"}]}

A draft is a text, or pieces of text with the chance that each is right, 0 for what is still masked; the last one of a
rule is the finished one. Each costs `passes` passes of `pass_ms`. Rules with a `candidate` answer further candidates.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusion.confidence import settled
from diffusion.request import UNSURE, Draft, Hole, InfillRequest

PREFIX = "script:"

Pieces = tuple[tuple[str, float], ...]
Parts = tuple[Hole | str, ...]


class ScriptedError(Exception):
    """What a rule with `error` raises."""


class ScriptedPanic(BaseException):  # noqa: N818  (as those of Rust are called)
    """What a rule with `panic` raises."""


@dataclass(frozen=True)
class Rule:
    """What is said behind `after`."""

    after: str = ""
    drafts: tuple[Pieces, ...] = ()
    passes: int = 1
    pass_ms: float = 0
    candidate: int = 0
    error: str = ""
    panic: str = ""

    def answers(self, request: InfillRequest) -> bool:
        """Whether this rule is for a request; further candidates are asked for with a temperature, and their seed."""
        candidate = request.seed if request.temperature else 0
        return request.prefix.endswith(self.after) and candidate == self.candidate


@dataclass(frozen=True)
class Script:
    """All that an engine says, and how its loading goes."""

    rules: tuple[Rule, ...] = ()
    load_ms: float = 0
    load_error: str = ""
    asked: str = ""
    prepared: str = ""


class ScriptedEngine:
    """What the worker, and a model server, need of an engine."""

    def __init__(self, script: Callable[[], Script], model: str = "script") -> None:
        self.script = script
        self.forward_passes = self.context_tokens = self.encoded_tokens = 0
        self.encode_cpu_s = 0.0
        self.info: dict[str, object] = {"model": model, "backend": "script", "device": "cpu"}

    @classmethod
    def load(cls, path: Path) -> ScriptedEngine:
        """Load as the script says; ValueError says what is wrong with it."""
        script = read(path)
        pause(script.load_ms)
        if script.load_error:
            raise ValueError(script.load_error)
        return cls(lambda: read(path), f"{PREFIX}{path}")

    def beside(self) -> ScriptedEngine:
        """Another one that says the same."""
        return ScriptedEngine(self.script, str(self.info["model"]))

    def prepare(self, request: InfillRequest, cancelled: Callable[[], bool], owner: str = "") -> None:
        """Nothing is to be encoded ahead, but a test may want to know what would be."""
        note(self.script().prepared, request)

    def infill(self, request: InfillRequest, cancelled: Callable[[], bool], owner: str = "") -> Iterator[Draft]:
        """The drafts of the rule for this request; without one, that nothing comes."""
        began_s = time.perf_counter()
        note(self.script().asked, request)
        rule = next((rule for rule in self.script().rules if rule.answers(request)), Rule())
        if rule.panic:
            raise ScriptedPanic(rule.panic)
        passes_before = self.forward_passes
        drafts = rule.drafts or (() if rule.error else ((),))
        for step, pieces in enumerate(drafts, 1):
            late = request.deadline_ms is not None and (time.perf_counter() - began_s) * 1000 >= request.deadline_ms
            if not self._run(rule, cancelled):
                return
            pieces = filled(decided(pieces) if late else pieces, request.middle)
            draft = draft_of(pieces, step, self.forward_passes - passes_before)
            draft = finished(draft, late, step == len(drafts) and not rule.error, request.stop_below)
            yield draft
            if draft.done:
                return
        raise ScriptedError(rule.error)

    def _run(self, rule: Rule, cancelled: Callable[[], bool]) -> bool:
        """Run the passes of one draft, as a loop does: a pass that has begun is finished. False when cancelled."""
        for _ in range(rule.passes):
            if cancelled():
                return False
            pause(rule.pass_ms)
            self.forward_passes += 1
        return True


def pause(ms: float) -> None:
    """Take so long; none at all is no call, which fails where a test fakes the clock (libfaketime)."""
    if ms:
        time.sleep(ms / 1000)


def note(path: str, request: InfillRequest) -> None:
    """Add a line of JSON with what a model would have seen, where a test wants to know."""
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"prefix": request.prefix, "suffix": request.suffix, "path": request.path}) + "\n")


def filled(pieces: Pieces, middle: Parts) -> Pieces:
    """The pieces in the first hole, as far as it reaches, and the fixed text behind it."""
    hole = next(part for part in middle if isinstance(part, Hole))
    fixed = tuple((part, 1.0) for part in middle if isinstance(part, str))
    return (*(pieces if hole.multiline else first_line(pieces)), *fixed)


def first_line(pieces: Pieces) -> Pieces:
    """The pieces before the first line break."""
    found: list[tuple[str, float]] = []
    for text, probability in pieces:
        line, line_break, _ = text.partition("\n")
        found += [(line, probability)] if line else []
        if line_break:
            break
    return tuple(found)


def decided(pieces: Pieces) -> Pieces:
    """The pieces with nothing masked any more."""
    return tuple((text, probability or 0.5) for text, probability in pieces)


def draft_of(pieces: Pieces, step: int, forward_passes: int) -> Draft:
    """Pieces as a draft of a run that goes on; each is a token."""
    tokens, masked, at = [], [], 0
    for text, probability in pieces:
        span = (at, at + len(text))
        tokens.append((*span, probability))
        masked += [] if probability else [span]
        at = span[1]
    sure = [probability for _, _, probability in tokens if probability]
    confidence = sum(sure) / len(sure) if sure else 0.0
    text = "".join(text for text, _ in pieces)
    return Draft(step, text, tuple(masked), confidence, forward_passes, tokens=tuple(tokens))


def finished(draft: Draft, late: bool, last: bool, stop_below: float) -> Draft:
    """The draft, done if it is the last one, too late for another, or not sure enough to go on."""
    unsure = stop_below and settled(draft, stop_below)
    reason = "deadline" if late else "complete" if last else UNSURE if unsure else ""
    return dataclasses.replace(draft, done=bool(reason), reason=reason)


def load(option: str) -> ScriptedEngine:
    """The engine that `--engine script:FILE` names; ValueError for anything else."""
    if not option.startswith(PREFIX):
        raise ValueError(f"--engine takes {PREFIX}FILE, not {option!r}")
    return ScriptedEngine.load(Path(option.removeprefix(PREFIX)))


def read(path: Path) -> Script:
    """The script in a file; ValueError says what is wrong with it."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        rules = tuple(_rule(one) for one in raw.pop("rules", ()))
        return Script(rules, **raw)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a script: {error}") from None


def _rule(raw: dict[str, Any]) -> Rule:
    """One rule of the file."""
    drafts = raw.pop("drafts", None)
    rule = Rule(**raw)
    return rule if drafts is None else dataclasses.replace(rule, drafts=tuple(_pieces(draft) for draft in drafts))


def _pieces(raw: str | list[list[Any]]) -> Pieces:
    """One draft of the file."""
    if isinstance(raw, str):
        return ((raw, 1.0),) if raw else ()
    return tuple((str(text), float(probability)) for text, probability in raw)
