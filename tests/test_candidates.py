"""Candidates: rounds of repair, ranking, alternatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from diffusion.request import Draft, Hole, InfillRequest, Start
from lsp_server.suggest.candidates import ALTERNATIVE, Verdict, propose

REQUEST = InfillRequest("x = ", "\n", (Hole(16),))


class Says:
    """An engine that says one text after another, each in two drafts, and notes what it was asked."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.asked: list[InfillRequest] = []

    def infill(self, request: InfillRequest, cancelled: Callable[[], bool]) -> Iterator[Draft]:
        self.asked.append(request)
        text = self.texts.pop(0)
        for step in (1, 2):
            if not cancelled():
                yield Draft(step, text, (), 0.5, step, step == 2, "complete", ((0, len(text), 0.9),))


def judge(draft: Draft) -> Verdict:
    """A text with a "!" is broken there; its part before that is sound."""
    at = draft.text.find("!")
    return Verdict(draft.text) if at < 0 else Verdict(draft.text, ((at, at + 1),), draft.text[:at])


def proposed(*texts: str, n: int = 1, repair: bool = True) -> tuple[list[Draft], list[InfillRequest]]:
    engine = Says(*texts)
    return list(propose(engine, REQUEST, judge, lambda: False, n, repair)), engine.asked


def test_a_sound_candidate_is_done_at_once() -> None:
    drafts, asked = proposed("a")
    assert [(draft.text, draft.done, draft.forward_passes) for draft in drafts] == [("a", False, 1), ("a", True, 2)]
    assert len(asked) == 1


def test_a_broken_candidate_is_denoised_again_where_it_broke() -> None:
    drafts, asked = proposed("a!", "ab")
    assert [(draft.text, draft.done) for draft in drafts] == [("a!", False), ("ab", False), ("ab", True)]
    assert [draft.step for draft in drafts] == [1, 3, 4]
    assert asked[1].start == Start((("a!", 0.0),), closed=False)


def test_repair_is_bounded_and_what_stays_broken_is_cut_to_its_sound_part() -> None:
    drafts, asked = proposed("a!", "b!", "c!", "d")
    assert len(asked) == 3
    assert [draft.text for draft in drafts if draft.done] == ["a"]


def test_without_repair_one_round_is_run() -> None:
    assert len(proposed("a!", "b", repair=False)[1]) == 1


def test_candidates_are_ranked_by_parse_and_each_is_given_once() -> None:
    drafts, asked = proposed("!", "!", "!", "b", "b", "c", n=3)
    done = [draft for draft in drafts if draft.done]
    assert [draft.text for draft in done] == ["b"]
    assert len(asked) == 5  # three rounds of the first, two other seeds
    assert [request.seed for request in asked[3:]] == [1, 2]


def test_other_candidates_come_as_alternatives_and_are_not_drawn() -> None:
    drafts, _ = proposed("a", "b", "c", n=3)
    assert [(draft.text, draft.done, draft.reason == ALTERNATIVE) for draft in drafts] == [
        ("a", False, False), ("a", True, False), ("b", True, True), ("c", True, True),
    ]  # fmt: skip


def test_a_cancelled_run_ends_without_a_candidate() -> None:
    engine, stopped = Says("a!", "b"), []
    drafts = []
    for draft in propose(engine, REQUEST, judge, lambda: bool(stopped)):
        drafts.append(draft)
        stopped.append(True)
    assert [draft.done for draft in drafts] == [False]


def test_an_engine_whose_text_depends_on_no_start_is_asked_once_and_then_sampled() -> None:
    request = InfillRequest("x = f(a)\ny = f(b)\nz = ", "\nf(", (Hole(16),))
    engine = Says("a!", "b", "c")
    drafts = [d for d in propose(engine, request, judge, lambda: False, n=3, exact=True) if d.done]
    assert [draft.text for draft in drafts] == ["b", "c", "a"]
    assert [asked.temperature > 0 for asked in engine.asked] == [False, True, True]


class Reveals:
    """An engine that decides a text one character a pass, with a guess behind, and counts its passes."""

    def __init__(self, text: str) -> None:
        self.text, self.passes = text, 0

    def infill(self, request: InfillRequest, cancelled: Callable[[], bool]) -> Iterator[Draft]:
        for end in range(1, len(self.text) + 1):
            self.passes += 1
            tokens = tuple((at, at + 1, 0.9) for at in range(end))
            done, masked = end == len(self.text), ((end, end + 1),)
            yield Draft(
                end, self.text[:end] + "?" * (not done), () if done else masked, 0.9, end, done, "complete", tokens
            )


def test_denoising_stops_where_nothing_behind_what_is_decided_will_be_shown() -> None:
    engine = Reveals("ab)cdef")
    *_, last = propose(engine, REQUEST, judge, lambda: False, cut_for_good=lambda text: ")" in text)
    assert (last.text, last.done, last.reason, last.masked, engine.passes) == ("ab)", True, "complete", (), 3)


def test_a_guess_stops_nothing() -> None:
    engine = Reveals("abc")
    *_, last = propose(engine, REQUEST, judge, lambda: False, cut_for_good=lambda text: "?" in text)
    assert (last.text, engine.passes) == ("abc", 3)


def known(text: str, probability: float) -> Draft:
    """A text that was recalled."""
    return Draft(0, text, (), probability, 0, True, "complete", ((0, len(text), probability),))


def first_of(*recalled: Draft, n: int = 2) -> tuple[list[str], int]:
    """What is proposed where the model says "mine" with 0.9, and how often it was asked."""
    engine = Says("mine", "sampled")
    drafts = propose(engine, REQUEST, judge, lambda: False, n, exact=True, recalled=recalled)
    return [draft.text for draft in drafts if draft.done], len(engine.asked)


def test_a_recalled_text_comes_first_where_it_is_likelier_than_the_models_own() -> None:
    assert first_of(known("theirs", 0.95)) == (["theirs", "mine"], 1)
    assert first_of(known("theirs", 0.85)) == (["mine", "theirs"], 1)
    assert first_of(known("theirs", 0.95), n=1) == (["theirs"], 1)
    assert first_of(known("mine", 0.1)) == (["mine", "sampled"], 2)


def test_a_recalled_text_that_breaks_the_file_comes_behind_a_sound_one() -> None:
    assert first_of(known("theirs!", 0.95))[0] == ["mine", "theirs"]


def test_the_models_own_text_is_always_among_the_candidates() -> None:
    assert first_of(known("a", 0.99), known("b", 0.98), known("c", 0.97), n=3) == (["a", "b", "mine"], 1)
