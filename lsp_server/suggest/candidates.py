"""Candidates for one hole: denoise, let the parser judge, denoise again what broke, rank, recalled texts among them.

Rule: a generator of drafts over an engine, in the model thread; it knows no documents, only a `judge`. Each draft is
cut to the beginning that is worth showing; denoising stops when that is final. Drafts are sent while rounds go
on; the best candidate comes as the first `done` draft, others (reason "alternative") behind it.
Candidates run one after another: on a CPU a denoising step is bound by arithmetic, and a batch would gain nothing
(docs/performance.md: canvas 64 costs twice canvas 32).

    for draft in propose(engine, request, judge, lambda: False, n=3): ...
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

from diffusion.confidence import begun, chance, cut
from diffusion.request import FROM_MASKS, UNSURE, Draft, Hole, InfillRequest, Start
from lsp_server.suggest.judging import Verdict

MAX_ROUNDS = 2  # of repair
TEMPERATURE = 0.7  # of further candidates
ALTERNATIVE = "alternative"  # the reason of a draft that is not the best candidate


Judge = Callable[[Draft], Verdict]


class Infills(Protocol):
    """What is needed of an engine here."""

    def infill(self, request: InfillRequest, cancelled: Callable[[], bool]) -> Iterator[Draft]: ...  # noqa: D102


class Candidate(NamedTuple):
    """A finished draft, what the judge says of it, and how likely it is, in numbers that compare within a request."""

    draft: Draft
    verdict: Verdict
    likely: float

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """The larger the better: there at all, parses, likely."""
        return bool(self.verdict.shown.strip()), not self.verdict.broken, self.likely


class Proposal:
    """One request's run: the passes so far, and how sure a text must be to be shown."""

    def __init__(
        self,
        engine: Infills,
        judge: Judge,
        cancelled: Callable[[], bool],
        deadline_ms: float | None,
        least: float,
        cut_for_good: Callable[[str], bool],
    ) -> None:
        self.engine, self.judge, self.cancelled = engine, judge, cancelled
        self.least, self.cut_for_good = least, cut_for_good
        self.until_s = None if deadline_ms is None else time.perf_counter() + deadline_ms / 1000
        self.steps = self.passes = 0
        self.last: Draft | None = None

    def run(self, request: InfillRequest) -> Iterator[Draft]:
        """Drafts of one infill, none of them `done`; the finished one is left in `last`."""
        self.last, steps, passes = None, self.steps, self.passes
        if self.until_s is not None:
            left_ms = max(0.0, (self.until_s - time.perf_counter()) * 1000)
            request = dataclasses.replace(request, deadline_ms=left_ms)
        request = dataclasses.replace(request, stop_below=self.least)
        for draft in self.engine.infill(request, self.cancelled):
            self.steps, self.passes = steps + draft.step, passes + draft.forward_passes
            draft = dataclasses.replace(draft, step=self.steps, forward_passes=self.passes)
            if not draft.done and self.cut_for_good(draft.decided):
                draft = draft.finished
            shown = self.sure(draft, whole=sum(isinstance(part, Hole) for part in request.middle) > 1)
            if draft.done:
                self.last = shown
                return
            if not self.least or begun(shown):
                yield shown

    def sure(self, draft: Draft, whole: bool) -> Draft:
        """What is sure enough of a draft, done if it is less; with `whole` all of it or nothing."""
        shown = cut(draft, self.least, undecided=0 if draft.done else 1)
        if shown.text == draft.text:
            return draft
        if whole:
            shown = cut(draft, 2)
        return dataclasses.replace(shown, reason=UNSURE, whole=None if whole else draft) if draft.done else shown

    @property
    def in_time(self) -> bool:
        """Whether the deadline leaves time for another round."""
        return not self.cancelled() and (self.until_s is None or time.perf_counter() < self.until_s)


def propose(
    engine: Infills,
    request: InfillRequest,
    judge: Judge,
    cancelled: Callable[[], bool],
    n: int = 1,
    repair: bool = True,
    least: float = 0.0,
    exact: bool = False,
    starts: Sequence[Start] = (),
    cut_for_good: Callable[[str], bool] = lambda text: False,
    recalled: Sequence[Draft] = (),
) -> Iterator[Draft]:
    """Drafts; then up to `n` done ones, the best first. Ends without a done one when cancelled.

    Of each only the beginning that is right with a chance of at least `least`; 0 is all of it. `exact`: the engine's
    text does not depend on what it starts from, so that only sampling gives another and nothing is gained by repair.
    `starts`: what denoising may begin with, the best first; without any, what the request says.
    `cut_for_good`: whether nothing of what comes behind a decided text will be shown; denoising stops there.
    `recalled`: drafts that are done without the model. One that is likelier right than the model's own comes before it,
    all of them before what is sampled, whose probabilities are those of the sampling.
    """
    repair = repair and not exact
    proposal = Proposal(engine, judge, cancelled, request.deadline_ms, least, cut_for_good)
    found: list[Candidate] = []
    for number, wanted in enumerate(requests(request, starts, n, exact)):
        if number and (not proposal.in_time or len({one.verdict.shown for one in found}) >= n):
            break
        best: Candidate | None = None
        for candidate in repaired(proposal, wanted, MAX_ROUNDS if repair else 0):
            if isinstance(candidate, Draft):
                if not number:  # further candidates are not drawn
                    yield candidate
            elif best is None or candidate.rank > best.rank:
                best = candidate
        if best is None:
            return
        if exact:
            best = best._replace(likely=0.0 if number else chance(best.draft.tokens))
        found.append(best)
        if not number:
            found += [Candidate(draft, judge(draft), draft.confidence) for draft in recalled[: max(1, n - 1)]]
    yield from islice(ranked(found, proposal), n)


def requests(request: InfillRequest, starts: Sequence[Start], n: int, exact: bool) -> Iterator[InfillRequest]:
    """The request from the best start, then from others, then sampled."""
    first, *others = starts or (request.start,)
    yield dataclasses.replace(request, start=first)
    for start in () if exact else others[: n - 1]:
        yield dataclasses.replace(request, start=start)
    for seed in range(1, n):
        yield dataclasses.replace(request, seed=request.seed + seed, temperature=TEMPERATURE, start=FROM_MASKS)


def repaired(proposal: Proposal, request: InfillRequest, rounds: int) -> Iterator[Draft | Candidate]:
    """Drafts of a request and of the rounds that repair it, and a Candidate at the end of each."""
    yield from proposal.run(request)
    for number in range(rounds + 1):
        if proposal.last is None:
            return
        candidate = Candidate(proposal.last, proposal.judge(proposal.last), proposal.last.confidence)
        yield candidate
        if not candidate.verdict.broken or candidate.draft.reason == UNSURE or number == rounds or not proposal.in_time:
            return
        start = without(candidate.draft, candidate.verdict.broken)
        yield from proposal.run(dataclasses.replace(request, start=start, seed=request.seed + 1))


def without(draft: Draft, broken: tuple[tuple[int, int], ...]) -> Start:
    """The draft to start from again, with the tokens under the broken spans masked, and the end open."""
    pieces = [
        (draft.text[start:stop], 0.0 if any(a < stop and start < b for a, b in broken) else max(probability, 1e-6))
        for start, stop, probability in draft.tokens
    ]
    return Start(tuple(pieces), closed=False)


def ranked(found: list[Candidate], cost: Proposal) -> Iterator[Draft]:
    """The candidates as done drafts of what is to be shown, each text once; all but the first are alternatives."""
    seen: set[str] = set()
    for candidate in sorted(found, key=lambda candidate: candidate.rank, reverse=True):
        text = candidate.verdict.shown
        if text in seen or (seen and not text.strip()):
            continue
        reason = ALTERNATIVE if seen else candidate.draft.reason
        yield dataclasses.replace(
            candidate.draft, text=text, masked=(), reason=reason, step=cost.steps, forward_passes=cost.passes
        )
        seen.add(text)
