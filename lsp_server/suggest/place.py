"""A question to the model, the place that it is about, and what is told while it is answered: values, no work.

Rule: all that a completion depends on is in its `Question`, as it was when the client asked; nothing here changes.

    place = Place(Question(snapshot, others, known, options, line=3, column=7), plan, tell); place.frame, place.around
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from diffusion.request import Draft
from lsp_server.options import Options
from lsp_server.suggest import cells, cleanup, context, live, silence
from lsp_server.suggest.drafts import Suggestion, draft_params
from lsp_server.suggest.holes import Plan
from lsp_server.suggest.reasons import Refusal
from lsp_server.text.documents import Snapshot
from lsp_server.text.lines import Edit
from lsp_server.text.notebooks import ALONE, Cells


@dataclass(frozen=True)
class Question:
    """All that a completion depends on, as it was when the client asked.

    `others`: documents of the same language. `known`: what was suggested in this one. `invoked`: asked for by hand,
    which brings several suggestions, and all of each; who types gets what is sure enough. `entry`: of a popup menu.
    `cells`: of its notebook.
    """

    snapshot: Snapshot
    others: tuple[Snapshot, ...]
    known: live.Known
    options: Options
    line: int
    column: int
    token: int | str | None = None
    invoked: bool = False
    entry: Edit | None = None
    cells: Cells = ALONE

    @property
    def least(self) -> float:
        """How likely right must be what is shown."""
        return self.options.min_confidence_percent / 100


class News(NamedTuple):
    """What the event loop is told meanwhile: a draft for the client, something to remember, a counter to count up.

    `refused` is told once it is known whether the question is refused; of one that is not, it is ALLOWED.
    """

    draft: dict[str, Any] | None = None
    remembered: live.Suggestion | None = None
    counted: str = ""
    refused: Refusal | None = None


Tell = Callable[[News], None]
ASKED = "asked"  # counted when the model is asked


def over(cancelled: Callable[[], bool], until_s: float | None) -> bool:
    """Whether nobody waits for an answer any more: cancelled, or past the deadline."""
    return cancelled() or (until_s is not None and time.perf_counter() >= until_s)


@dataclass(frozen=True)
class Place:
    """A question's hole, and what is around it."""

    question: Question
    plan: Plan
    tell: Tell

    @property
    def snapshot(self) -> Snapshot:
        """The document."""
        return self.question.snapshot

    @cached_property
    def around(self) -> live.Around:
        """What tells this place from others."""
        return live.around(self.snapshot, self.plan)

    @cached_property
    def whole(self) -> tuple[Snapshot, Plan]:
        """The document and the plan as the model sees them: with the rest of the notebook around a cell."""
        return cells.joined(self.snapshot, self.question.cells, self.plan, self.question.options)

    @cached_property
    def frame(self) -> cleanup.Frame:
        """The code around the hole."""
        return context.frame(*self.whole)

    def worth(self, text: str) -> bool:
        """Whether a text is worth showing to who types; who asks by hand gets everything."""
        return self.question.invoked or not silence.of(self.snapshot, self.plan, text)

    def remembered(self, draft: Draft, text: str) -> live.Suggestion:
        """What is remembered of a draft that is shown as `text`."""
        return live.Suggestion(self.around, draft, text, self.unshown(draft))

    def unshown(self, draft: Draft) -> str:
        """The fixed text at the end of what is shown of a draft that does not say whether its hole ends there."""
        return self.plan.fixed_end if draft.is_part else ""

    def told(self, draft: Draft, cleaned: cleanup.Cleaned, unshown: str) -> dict[str, Any] | None:
        """What a client that wants drafts is told of one."""
        if not self.question.options.drafts:
            return None
        shown = self.suggestion(cleaned.of(draft.text), unshown)
        return draft_params(self.question.token, shown, draft, cleaned.keep)

    def suggestion(self, text: str, unshown: str) -> Suggestion:
        """A text as a client gets it: without what is `unshown` at its end, which stays behind it where it stands."""
        stays = self.snapshot.text[self.plan.start : self.plan.end].endswith(unshown)  # it may be typed over by now
        plan = self.plan._replace(end=self.plan.end - len(unshown) * stays)
        return Suggestion(self.snapshot, plan, text.removesuffix(unshown))
