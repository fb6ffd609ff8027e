"""What becomes of a draft: how much of it is shown while denoising goes on, and what of a finished one is good.

Rule: in the model thread; the place says all that is known of the document. What is shown meanwhile is told; what is
said of a finished draft is a `Verdict`, by which `candidates.py` denoises again what broke, and ranks.

    verdict = judged(place, draft); verdict.shown
"""

from __future__ import annotations

from typing import NamedTuple

from diffusion.request import NO_END, UNSURE, Draft
from lsp_server.suggest import cleanup, feedback
from lsp_server.suggest.place import News, Place


class Verdict(NamedTuple):
    """What is left of a candidate ("" for nothing), the spans of it that break the file, and a part that does not."""

    text: str
    broken: tuple[tuple[int, int], ...] = ()
    sound: str = ""

    @property
    def shown(self) -> str:
        """What is good enough to be shown."""
        return self.sound if self.broken else self.text


def show(place: Place, draft: Draft) -> None:
    """Tell of a draft, as much of it as cleanup leaves; a done one is clean."""
    cleaned = cleanup.Cleaned(len(draft.text)) if draft.done else cleanup.clean(draft.text, place.frame)
    if cleaned is not None and (draft.done or place.worth(cleaned.of(draft.text))):
        place.tell(
            News(place.told(draft, cleaned, place.unshown(draft)), place.remembered(draft, cleaned.of(draft.text)))
        )


def judged(place: Place, draft: Draft) -> Verdict:
    """Return what of a finished draft would be shown, and what of it breaks the file; nothing if it is not worth it."""
    verdict = parsed(place, draft)
    return verdict if place.worth(verdict.shown) else verdict._replace(text="", sound="")


def parsed(place: Place, draft: Draft) -> Verdict:
    """Return what of a finished draft would be shown, and what of it breaks the file."""
    whole = cleanup.whole_lines(draft.text, place.frame.kept) if draft.reason in NO_END else draft.text
    end = place.unshown(draft)  # cleanup takes it away again; without it, it would take a part's own last bracket

    def fit(part: str) -> str:
        return cleanup.cleaned(part + end, place.frame)

    text = fit(whole)
    feeds_back = place.question.options.syntax_feedback
    broken = feedback.broken_spans(place.snapshot, place.plan, text) if feeds_back else ()
    if not broken:
        return Verdict(text)
    place.tell(News(counted="broken"))
    unsure = draft.reason == UNSURE  # what was cut there is not finished, which is not wrong
    sound = feedback.sound_part(place.snapshot, place.plan, whole, fit, words=unsure)
    return Verdict(sound) if unsure else Verdict(text, broken, sound)


def cut_for_good(place: Place, text: str) -> bool:
    """Return whether nothing of what is denoised behind a text, all of it decided, will be shown."""
    return cleanup.cut_for_good(text, place.frame)


def breaks(place: Place, text: str) -> bool:
    """Return whether what would be shown of a text breaks the file."""
    return bool(feedback.broken_spans(place.snapshot, place.plan, cleanup.cleaned(text, place.frame)))
