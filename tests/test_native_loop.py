"""The native denoising loop end to end on the embedded weights: drafts, cancelling, deadlines, errors."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from cuda_ext import native
from cuda_ext.rules import Policy
from diffusion.model.card import open_folder
from diffusion.model.config import EMBEDDED
from diffusion.tokenizer import Tokenizer
from diffusion.vocabulary import OURS

pytestmark = pytest.mark.skipif(native.load("cpu") is None, reason=native.why_not("cpu"))

PREFIX = "def add(a, b):\n    return "


class Setting:
    """The embedded model with a short context in its cache."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        from diffusion.native_backend import with_neighbour_tables

        folder = open_folder(EMBEDDED)
        c = folder.config
        shape = native.Shape(c.vocab_size, c.d_model, c.n_layers, c.n_heads, c.n_kv_heads, c.d_ff, c.rope_base)
        self.flags = tokenizer.flags
        tensors = with_neighbour_tables({name: w.words() for name, w in folder.weights().items()}, c)
        self.model = native.NativeModel(shape, tensors, "int8", threads=2)
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

    def run(self, control: native.Control, autoregressive: bool = False) -> native.NativeRun:
        last = self.context[-1] if autoregressive else None
        return native.NativeRun(self.model, self.cache, len(self.context), control, self.flags, last)


@pytest.fixture(scope="module")
def setting() -> Setting:
    return Setting(Tokenizer.load(EMBEDDED / "tokenizer.json"))


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
        ("n_holes", 0, "1 to 8 holes"),
        ("mask_id", -1, "not in the vocabulary"),
        ("max_steps", 0, "max_steps"),
        ("temperature", -1.0, "temperature"),
        ("temperature", float("nan"), "temperature"),
        ("threshold", float("nan"), "finite"),
    ],
)
def test_a_control_that_cannot_be_is_refused(setting: Setting, field: str, value: float, message: str) -> None:
    control = setting.control()
    setattr(control, field, value)
    with pytest.raises(ValueError, match=message):
        setting.run(control)


def test_a_canvas_beyond_the_capacity_is_refused(setting: Setting) -> None:
    with pytest.raises(ValueError, match="do not fit the cache"):
        native.NativeRun(setting.model, setting.cache, 250, setting.control(16), setting.flags)


def test_token_by_token_writes_one_row_a_step_and_ends_with_an_end_or_a_full_canvas(setting: Setting) -> None:
    with setting.run(setting.control(16), autoregressive=True) as run:
        drafts = list(run)
    assert [draft.step for draft in drafts] == list(range(1, len(drafts) + 1))
    for n, draft in enumerate(drafts[:-1], start=1):
        assert all(i not in (OURS.mask, OURS.end) for i in draft.ids[:n])
        assert draft.ids[n:16] == [OURS.mask] * (16 - n)
        assert draft.guess[n:16] == [OURS.end] * (16 - n)
    assert drafts[-1].done and OURS.mask not in drafts[-1].ids[:16]
    assert len(drafts) == 16 or OURS.end in drafts[-1].ids[:16]


def test_token_by_token_leaves_the_context_as_it_was(setting: Setting) -> None:
    before = [list(draft.ids) for draft in setting.run(setting.control())]
    list(setting.run(setting.control(16), autoregressive=True))
    assert [list(draft.ids) for draft in setting.run(setting.control())] == before


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
