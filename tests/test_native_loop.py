"""The native denoising loop end to end on the embedded weights: drafts, cancelling, deadlines, errors."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from cuda_ext import native
from cuda_ext.rules import TOKEN_BY_TOKEN, Policy, Verdict
from diffusion.backends.native import NativeBackend
from diffusion.model.card import open_folder
from diffusion.tokenizer import Tokenizer
from diffusion.vocabulary import OURS
from tests.models import SMALL

pytestmark = pytest.mark.skipif(native.load("cpu") is None, reason=native.why_not("cpu"))

PREFIX = "def add(a, b):\n    return "


class Setting:
    """The embedded model with a short context in its cache."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.flags = tokenizer.flags
        self.model = NativeBackend.load(open_folder(SMALL), threads=2).model
        self.cache = native.NativeCache(self.model, 256)
        self.context = tokenizer.encode(PREFIX)
        self.model.encode(self.cache, self.context, 0)

    def control(self, n_rows: int = 16, policy: Policy | None = None) -> native.Control:
        policy = policy or Policy()
        control = native.Control()
        control.n_rows, control.n_holes, control.mask_id, control.end_id = n_rows, 1, OURS.mask, OURS.end
        control.hole_stop[0] = n_rows
        for row in range(n_rows):
            control.ids[row] = OURS.mask
        control.max_steps, control.max_revisions = policy.max_steps, policy.max_revisions
        control.threshold, control.revise_below = policy.threshold, policy.revise_below
        control.present = int(np.bitwise_or.reduce(np.left_shift(np.uint32(1), self.flags.astype(np.uint32))))
        control.deadline_us = -1
        control.temperature = 5 * (policy is SLOW)  # words at random: no early end, whatever the model would say
        return control

    def judging(
        self, n_rows: int = 16, policy: Verdict | None = None, drafted: list[int] | None = None
    ) -> native.Control:
        policy, control = policy or Verdict(), self.control(n_rows)
        control.verdict, control.last_id, control.draft_above = 1, self.context[-1], policy.draft_above
        control.judge_rows, control.canvas_rows = policy.judge_rows, policy.canvas_rows
        control.patience, control.rest = policy.patience, policy.rest
        control.n_drafted = len(drafted or [])
        control.drafted[: control.n_drafted] = drafted or []
        return control

    def run(self, control: native.Control) -> native.NativeRun:
        return native.NativeRun(self.model, self.cache, len(self.context), control, self.flags)


@pytest.fixture(scope="module")
def setting() -> Setting:
    return Setting(Tokenizer.load(SMALL / "tokenizer.json"))


SLOW = Policy(threshold=2.0, max_steps=128, max_revisions=0)  # one row a step


def test_drafts_come_in_order_and_the_last_is_done(setting: Setting) -> None:
    with setting.run(setting.control()) as run:
        drafts = list(run)
    assert [draft.step for draft in drafts] == list(range(1, len(drafts) + 1))
    assert [bool(draft.done) for draft in drafts] == [False] * (len(drafts) - 1) + [True]
    assert OURS.mask not in drafts[-1].ids[:16]
    assert drafts[-1].ids[:16] == drafts[-1].guess[:16]
    for draft in drafts:
        known = [(i, g) for i, g in zip(draft.ids[:16], draft.guess[:16], strict=True) if i != OURS.mask]
        assert all(i == g for i, g in known)


def test_the_same_seed_gives_the_same_run(setting: Setting) -> None:
    control = setting.control()
    control.temperature, control.seed = 1.0, 7
    first = [list(draft.ids) for draft in setting.run(control)]
    assert first == [list(draft.ids) for draft in setting.run(control)]
    control.seed = 8
    assert first != [list(draft.ids) for draft in setting.run(control)]


def test_no_draft_is_lost_on_a_slow_reader(setting: Setting) -> None:
    with setting.run(setting.control(32, SLOW)) as run:
        first = run.next(10_000_000)
        time.sleep(0.05)  # the loop goes on meanwhile
        assert first is not None
        assert [first.step, *(draft.step for draft in run)] == list(range(1, run.steps + 1))


def test_max_steps_decides_the_rest(setting: Setting) -> None:
    with setting.run(setting.control(16, Policy(threshold=2.0, max_steps=2))) as run:
        drafts = list(run)
    assert [draft.step for draft in drafts] == [1, 2]
    assert OURS.mask not in drafts[-1].ids[:16]


def test_a_deadline_that_has_passed_leaves_one_step(setting: Setting) -> None:
    control = setting.control(32, SLOW)
    control.deadline_us = 0
    with setting.run(control) as run:
        (draft,) = run
    assert (draft.step, draft.late, draft.done) == (1, 1, 1)


def test_a_deadline_ends_a_run_soon_after_it(setting: Setting) -> None:
    control = setting.control(128, SLOW)
    control.deadline_us = 20_000
    with setting.run(control) as run:
        drafts = list(run)
    assert [draft.late for draft in drafts] == [0] * (len(drafts) - 1) + [1]
    assert drafts[-1].done


def test_cancel_from_another_thread_stops_within_a_step(setting: Setting) -> None:
    with setting.run(setting.control(128, SLOW)) as run:
        assert run.next(10_000_000) is not None
        thread = threading.Thread(target=run.cancel)
        thread.start()
        thread.join()
        steps = run.steps
        drafts = list(run)
        assert run.ended
        assert not any(draft.done for draft in drafts)
        assert run.steps <= steps + 1


def test_a_run_may_be_left_while_it_goes_on(setting: Setting) -> None:
    for _ in range(20):
        with setting.run(setting.control(64, SLOW)):
            pass


def test_next_returns_at_its_timeout(setting: Setting) -> None:
    with setting.run(setting.control(128, SLOW)) as run:
        for _ in run:
            break
        assert run.next(0) is None or run.steps > 1


def test_a_second_run_on_a_busy_cache_is_refused(setting: Setting) -> None:
    with setting.run(setting.control(128, SLOW)):
        with pytest.raises(ValueError, match="another run"):
            setting.run(setting.control())
        with pytest.raises(ValueError, match="a run is using this cache"):
            setting.model.encode(setting.cache, [5], 0)
    with setting.run(setting.control()) as run:
        assert list(run)


def test_runs_on_two_caches_of_a_model_do_not_disturb_each_other(setting: Setting) -> None:
    alone = [list(draft.ids) for draft in setting.run(setting.control(32))]
    other = native.NativeCache(setting.model, 256)
    setting.model.encode(other, setting.context[:3], 0)
    with native.NativeRun(setting.model, other, 3, setting.control(64, SLOW), setting.flags) as second:
        assert [list(draft.ids) for draft in setting.run(setting.control(32))] == alone
        assert second.next(10_000_000) is not None


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("n_rows", 0, "1 to 128 rows"),
        ("n_rows", 129, "1 to 128 rows"),
        ("n_rows", 15, "ascending rows"),
        ("n_rows", 17, "must be fixed"),
        ("n_holes", 0, "1 to 8 holes"),
        ("n_holes", 2, "ascending rows"),
        ("mask_id", 1 << 20, "not in the vocabulary"),
        ("mask_id", -1, "needs a mask"),
        ("end_id", -1, "not in the vocabulary"),
        ("ids", 8192, "not in the vocabulary"),
        ("ids", -5, "not in the vocabulary"),
        ("probability", 1.5, "probabilities"),
        ("probability", float("nan"), "probabilities"),
        ("max_steps", 0, "max_steps"),
        ("max_steps", 4097, "max_steps"),
        ("max_revisions", -1, "max_revisions"),
        ("temperature", -1.0, "temperature"),
        ("temperature", float("nan"), "temperature"),
        ("temperature", float("inf"), "temperature"),
        ("stop_below", float("nan"), "stop_below"),
        ("threshold", float("nan"), "finite"),
        ("revise_below", float("inf"), "finite"),
    ],
)
def test_a_control_that_cannot_be_is_refused(setting: Setting, field: str, value: float, message: str) -> None:
    refused(setting, setting.control(), field, value, message)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("judge_rows", -1, "0 to 127"),
        ("judge_rows", 112, "0 to 127"),
        ("canvas_rows", 2**31 - 1, "0 to 127"),
        ("patience", -1, "must not be negative"),
        ("rest", -1, "must not be negative"),
        ("mask_id", -1, "needs a mask"),
        ("draft_above", float("nan"), "finite"),
        ("last_id", -1, "not in the vocabulary"),
        ("fixed", 1, "must be blank"),
        ("ids", 20, "must be blank"),
        ("n_drafted", 17, "fit the first hole"),
        ("n_drafted", -1, "fit the first hole"),
        ("drafted", 8192, "not in the vocabulary"),
    ],
)
def test_a_verdict_that_cannot_be_is_refused(setting: Setting, field: str, value: float, message: str) -> None:
    refused(setting, setting.judging(drafted=[20, 21]), field, value, message)


def refused(setting: Setting, control: native.Control, field: str, value: float, message: str) -> None:
    """The library refuses a control once `field`, or its first row, holds `value`."""
    if field in ("ids", "probability", "fixed", "drafted"):
        getattr(control, field)[0] = value
    else:
        setattr(control, field, value)
    if field == "mask_id" and value == -1:
        control.ids[:16] = [-1] * 16
    with pytest.raises(ValueError, match=message):
        setting.run(control)


def test_a_control_needs_its_context(setting: Setting) -> None:
    with pytest.raises(ValueError, match="in front of the canvas"):
        native.NativeRun(setting.model, setting.cache, 0, setting.judging(), setting.flags)
    with pytest.raises(ValueError, match="do not fit the cache"):  # what is judged has slots of its own
        native.NativeRun(setting.model, setting.cache, 235, setting.judging(), setting.flags)


def test_a_canvas_beyond_the_capacity_is_refused(setting: Setting) -> None:
    with pytest.raises(ValueError, match="do not fit the cache"):
        native.NativeRun(setting.model, setting.cache, 250, setting.control(16), setting.flags)


def test_token_by_token_writes_one_row_a_pass_and_ends_with_an_end_or_a_full_canvas(setting: Setting) -> None:
    with setting.run(setting.judging(16, TOKEN_BY_TOKEN)) as run:
        drafts = list(run)
    assert [draft.step for draft in drafts] == list(range(1, len(drafts) + 1))
    for n, draft in enumerate(drafts[:-1], start=1):
        assert all(i not in (OURS.mask, OURS.end) for i in draft.ids[:n])
        assert draft.ids[n:16] == [OURS.mask] * (16 - n)
        assert draft.guess[n:16] == [OURS.end] * (16 - n)
        assert draft.cached == len(setting.context) + n - 1  # the newest token has not gone through the model
    assert drafts[-1].done and OURS.mask not in drafts[-1].ids[:16]
    assert len(drafts) == 16 or OURS.end in drafts[-1].ids[:16]


@pytest.mark.parametrize("policy", [TOKEN_BY_TOKEN, Verdict()])
def test_a_verdict_leaves_the_context_as_it_was(setting: Setting, policy: Verdict) -> None:
    before = [list(draft.ids) for draft in setting.run(setting.control())]
    list(setting.run(setting.judging(16, policy)))
    assert [list(draft.ids) for draft in setting.run(setting.control())] == before


def test_a_right_draft_is_accepted_in_one_pass(setting: Setting) -> None:
    *_, plain = setting.run(setting.judging(16, TOKEN_BY_TOKEN))
    text = [token for token in plain.ids[:16] if token != OURS.end]
    *_, judged = setting.run(setting.judging(16, Verdict(judge_rows=16), text))
    assert (judged.ids[:16], judged.step) == (plain.ids[:16], 1)
    assert judged.cached == len(setting.context) + min(len(text), 15)


def test_what_a_verdict_leaves_in_the_cache_is_what_encoding_it_gives(setting: Setting) -> None:
    *_, last = setting.run(setting.judging(16, Verdict(draft_above=0.0)))
    text = [token for token in last.ids[:16] if token != OURS.end][: last.cached - len(setting.context)]
    assert text
    fresh, canvas = native.NativeCache(setting.model, 256), [OURS.mask] * 8
    setting.model.encode(fresh, setting.context + text, 0)
    found, expected = (setting.model.forward(cache, [], canvas, last.cached) for cache in (setting.cache, fresh))
    np.testing.assert_array_equal(found, expected)


def test_a_verdict_at_its_deadline_ends_with_what_is_decided(setting: Setting) -> None:
    control = setting.judging(16)
    control.deadline_us = 0
    with setting.run(control) as run:
        (draft,) = run
    assert (draft.step, draft.late, draft.done, draft.cached) == (0, 1, 1, len(setting.context))
    assert draft.ids[:16] == [OURS.mask] * 16 and draft.guess[:16] == [OURS.end] * 16


def test_closing_a_run_tells_how_many_passes_ran_though_nobody_read_them(setting: Setting) -> None:
    run = setting.run(setting.control(32, SLOW))
    first = run.next(native.FOREVER_US)
    while run.steps < 5:
        time.sleep(0.001)
    assert first is not None and first.step == 1
    assert run.close() >= 5


def test_what_is_closed_is_not_used(setting: Setting) -> None:
    with setting.run(setting.control()) as run:
        pass
    run.cancel()
    with pytest.raises(ValueError, match="NativeRun is closed"):
        run.next(0)


def test_a_run_ends_where_what_it_decided_is_not_sure_enough(setting: Setting) -> None:
    control = setting.control(32, SLOW)
    control.stop_below = 0.5
    with setting.run(control) as run:
        drafts = list(run)
        assert run.steps == len(drafts)  # no forward pass behind the last draft
    assert drafts[-1].done
    assert OURS.mask in drafts[-1].ids[:32]
