"""One completion: from a question to an answer that is known or a request, and from what was denoised to suggestions.

Rule: all of it runs in the model thread, on snapshots and what else does not change; parsing, planning, retrieval and
disk are here, judging is in `judging.py`, and nothing waits for them but the one who asked. What the event loop has to
know meanwhile it is told in `News`, which it may throw away. One deadline and one `cancelled` are for all of it.

    suggestions = complete(Question(snapshot, others, known, options, line, column), related, tell, engine, cancelled)
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from diffusion.confidence import cut, settled
from diffusion.recall import Recalled, recalled
from diffusion.request import FROM_MASKS, OTHER_TOKENS, UNSURE, Draft, InfillRequest, Start
from lsp_server.options import Options
from lsp_server.suggest import cleanup, context, fitting, holes, judging, live, prose, refusals, silence
from lsp_server.suggest.candidates import ALTERNATIVE, Infills, propose
from lsp_server.suggest.drafts import Suggestion
from lsp_server.suggest.place import ASKED, News, Place, Question, Tell, over
from lsp_server.suggest.reasons import ALLOWED
from lsp_server.suggest.related import Related
from lsp_server.text.documents import Snapshot

logger = logging.getLogger(__name__)

Cancelled = Callable[[], bool]


class Engine(Infills, Protocol):
    """What is needed of an engine."""

    @property
    def info(self) -> dict[str, object]: ...  # noqa: D102

    def prepare(self, request: InfillRequest, cancelled: Cancelled) -> None: ...  # noqa: D102


def complete(
    question: Question, related: Related, tell: Tell, engine: Engine, cancelled: Cancelled
) -> list[Suggestion] | None:
    """Return suggestions, best first, or None when cancelled."""
    until_s = time.perf_counter() + question.options.deadline_ms / 1000 if question.options.deadline_ms else None
    if refusal := refusals.refusal(question.snapshot, question.options, question.invoked):
        logger.info("no completion: %s", refusal.message)
        tell(News(refused=refusal))
        return []
    place = place_of(question, tell)
    if place is None:
        return []
    shown = known(place) if question.options.live_canvas else None
    if shown is not None and not question.invoked:
        return from_memory(place, shown)
    request = request_for(place, engine, related, cancelled, until_s)
    tell(News(counted=ASKED))
    found = denoised(place, engine, request, cancelled)
    if found is not None and shown is not None and shown.text:  # what is on screen stays the first
        first = place.suggestion(*shown)
        found = [first, *(one for one in found if one != first)][: question.options.candidates]
    return found


def place_of(question: Question, tell: Tell) -> Place | None:
    """Return the hole at the cursor, or None where nothing is offered."""
    snapshot, options = question.snapshot, question.options
    offset = snapshot.offset_at(question.line, question.column)
    if offset is None:
        n_lines = len(snapshot.lines)
        logger.warning("no completion: line %d is outside the document (%d lines)", question.line, n_lines)
        return None
    several = options.multiline == "auto"
    plan = holes.plan_at(snapshot, offset, multiline=several, max_tokens=options.max_tokens)
    if plan is None:
        return None
    place = Place(question, plan, tell)
    refusal = prose.refusal(snapshot, offset, options, question.invoked)
    if refusal and live.rest(question.known, place.around).text:  # what is on screen may run through a comment
        refusal = ALLOWED
    tell(News(refused=refusal))
    if refusal:
        logger.info("no completion: %s", refusal.message)
        return None
    if not question.invoked and silence.at(snapshot, plan) and not live.rest(question.known, place.around).text:
        return None
    return place


def known(place: Place) -> live.Rest | None:
    """Return what of earlier suggestions is to be shown, with "" for nothing; None if the model has to be asked.

    Besides what was shown, it is what was not sure enough then and is now that the user typed its beginning.
    """
    if (shown := live.rest(place.question.known, place.around)).text:
        return shown
    thought, least = live.thought(place.question.known, place.around), place.question.least
    if thought is None:
        return None
    left = cut(thought, least, undecided=0)
    draft = dataclasses.replace(left, done=True, reason=UNSURE, whole=None if left.text == thought.text else thought)
    if not draft.text and not settled(thought, least):
        return None
    text = judging.judged(place, draft).shown
    if text.strip():
        place.tell(News(remembered=place.remembered(draft, text)))
    return live.Rest(text, place.unshown(draft))


def from_memory(place: Place, shown: live.Rest) -> list[Suggestion]:
    """Answer with what is left of an earlier suggestion: no forward pass."""
    draft = Draft(0, shown.text, (), 1.0, 0, done=True)
    place.tell(News(place.told(draft, cleanup.Cleaned(len(shown.text)), shown.unshown), counted="fromMemory"))
    return worded([place.suggestion(*shown)])


def worded(found: list[Suggestion]) -> list[Suggestion]:
    """Return the suggestions that say something."""
    return [one for one in found if one.text.strip()]


def request_for(
    place: Place, engine: Engine, related: Related, cancelled: Cancelled, until_s: float | None
) -> InfillRequest:
    """Return what the engine is asked, with the time that is left for it."""
    stopped = partial(over, cancelled, until_s)
    whole, plan = place.whole
    request = context.infill_request(whole, plan, place.question.options)
    if place.question.options.syntax_feedback:
        request = dataclasses.replace(request, breaks=partial(judging.breaks, place))
    if place.question.options.other_files:
        others = shareable(place.question.others, place.question.options)
        tokens = engine.info.get("other_tokens")
        n_tokens = tokens if isinstance(tokens, int) else OTHER_TOKENS
        chunks = related.choose(whole, plan.start, others, n_tokens, stopped)
        texts = tuple(other.text for other in others)
        request = dataclasses.replace(request, other_files=chunks, recall_from=texts)
    left_ms = None if until_s is None else max(0.0, (until_s - time.perf_counter()) * 1000)
    return dataclasses.replace(request, deadline_ms=left_ms)


def shareable(others: tuple[Snapshot, ...], options: Options) -> list[Snapshot]:
    """Return the documents that may be context for another; this asks the disk, and git."""
    return [other for other in others if refusals.may_be_context(other, options)]


def starts_for(place: Place, found: Recalled) -> list[Start]:
    """Return what denoising may start from, the best first: text recalled from open files, the last draft, or masks.

    This is the only place that decides it; the engine looks for nothing where a request has a start.
    """
    if starts := found.starts():
        return starts
    last = live.start(place.question.known, place.around) if place.question.options.live_canvas else None
    if last is None:
        return [FROM_MASKS]
    place.tell(News(counted="warmStarts"))
    return [last]


def denoised(place: Place, engine: Engine, request: InfillRequest, cancelled: Cancelled) -> list[Suggestion] | None:
    """Return what the engine finds for a hole, best first, or None when cancelled; show its drafts."""
    options, invoked = place.question.options, place.question.invoked
    n, least = (options.candidates, 0.0) if invoked else (1, place.question.least)
    exact = engine.info.get("policy") == "verdict"
    found = recalled(request)
    done: list[Suggestion] = []
    drafts = propose(
        fitting.to_place(engine, place.snapshot, place.plan),
        request,
        partial(judging.judged, place),
        cancelled,
        n,
        options.syntax_feedback,
        least,
        exact,
        starts_for(place, found),
        partial(judging.cut_for_good, place),
        found.answers() if exact and invoked else (),
    )
    for draft in drafts:
        if draft.reason != ALTERNATIVE:
            judging.show(place, draft)
        done += [place.suggestion(draft.text, place.unshown(draft))] * draft.done
    return None if cancelled() else worded(done)


def prepare(question: Question, related: Related, engine: Engine, cancelled: Cancelled) -> None:
    """Encode, ahead of time, what a request at the cursor would show the model.

    The question counts as made by hand, so that no rule of silence hides the place.
    """
    if refusals.refusal(question.snapshot, question.options):
        return
    place = place_of(question, lambda news: None)
    if place is not None:
        engine.prepare(request_for(place, engine, related, cancelled, None), cancelled)
