"""The only types that cross the border of `diffusion`: `InfillRequest` down, `Draft` up.

Rule: frozen, plain Python, no tensors and no LSP types. All positions in a `Draft` are code points of its `text`.

    request = InfillRequest(prefix="def add(a, b): return ", suffix="")
    for draft in engine.infill(request, cancelled=lambda: False): print(draft.text)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

CANVAS_SIZES = (16, 32, 64, 128)
OTHER_TOKENS = 64  # of `InfillRequest.other_files` that the model sees, the last ones


@dataclass(frozen=True)
class Hole:
    """A gap to fill with at most `max_tokens` tokens (one of CANVAS_SIZES is cheapest).

    `multiline=False` ends the hole before its first line break, whatever the model wrote after it.
    """

    max_tokens: int = 16
    multiline: bool = False


@dataclass(frozen=True)
class Start:
    """What the first hole holds before the first denoising step, instead of masks.

    `pieces` are stretches of text, each with the chance that it is right if all before it are; a token that touches a
    piece of probability 0 is masked.
    `closed`: the hole ends behind them, else masks follow. Without any text the hole is all masks.
    """

    pieces: tuple[tuple[str, float], ...]
    closed: bool = True

    @property
    def text(self) -> str:
        """All pieces, the doubtful ones included."""
        return "".join(text for text, _ in self.pieces)


UNSURE = "unsure"
NO_END = ("length", "deadline")  # reasons of a done draft whose text may break off anywhere
FROM_MASKS = Start((), closed=False)


@dataclass(frozen=True)
class InfillRequest:
    """What to fill, and between what.

    `middle` is what lies between `prefix` and `suffix`: holes, and the fixed text between two holes.
    `other_files` are chunks of related files, least relevant first; they are encoded before everything else.
    `recall_from` are whole texts of related files that the hole may be recalled from; the model does not see them.
    `start` is what the first hole starts from; None means masks, or what `recall` finds.
    `stop_below`: stop once the probability of the decided text falls below this; 0 disables early stopping.
    `language` (an LSP language id) and `path` (relative to the workspace, or the file's name alone) tell what the text
    is; "" where nobody knows.
    `breaks`: whether a text for the middle breaks the file; None where nobody knows. It is asked between two lengths.
    `deadline_ms` counts from the first `next()` of the generator and includes encoding; None means no deadline.
    """

    prefix: str
    suffix: str
    middle: tuple[Hole | str, ...] = (Hole(),)
    other_files: tuple[str, ...] = ()
    recall_from: tuple[str, ...] = ()
    deadline_ms: float | None = None
    seed: int = 0
    temperature: float = 0.0
    start: Start | None = None
    stop_below: float = 0.0
    language: str = ""
    path: str = ""
    breaks: Callable[[str], bool] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Raise ValueError for a middle without a hole or a hole without room."""
        holes = [part for part in self.middle if isinstance(part, Hole)]
        if not holes:
            raise ValueError("an InfillRequest needs at least one Hole in its middle")
        if any(hole.max_tokens < 1 for hole in holes):
            raise ValueError("Hole.max_tokens must be at least 1")


@dataclass(frozen=True)
class Draft:
    """One stage of a completion, coarse to fine.

    `text` fills the whole middle: what is decided, plus the model's present best guess where it is not.
    `masked` are the half-open spans of `text`, in code points, that are still guesses, sorted and disjoint.
    `tokens` are (start, stop, probability) of every token of `text`: the chance that it is right if all before it are,
    0 where it is a guess. Fixed text is right where the hole before it ends.
    `confidence` is the geometric mean probability of the decided tokens (0 when none is decided).
    `reason` is "" while denoising; a draft with `done` has "complete", "deadline", "length" (no end of the hole was
    found on the canvas) or UNSURE (ended by `stop_below`, or cut where it was not sure enough). A cancelled run simply
    yields no further draft.
    `whole`: the draft that this one is the beginning of, None if it is all of it.
    """

    step: int
    text: str
    masked: tuple[tuple[int, int], ...]
    confidence: float
    forward_passes: int
    done: bool = False
    reason: str = ""
    tokens: tuple[tuple[int, int, float], ...] = ()
    whole: Draft | None = None

    @property
    def is_part(self) -> bool:
        """Whether it is finished and says nothing of how it goes on, or where it ends."""
        return self.done and self.whole is not None

    @property
    def decided(self) -> str:
        """The text in front of the first guess."""
        return self.text[: self.masked[0][0]] if self.masked else self.text

    @property
    def finished(self) -> Draft:
        """What is decided, as a draft that is complete."""
        text = self.decided
        tokens = tuple(token for token in self.tokens if token[1] <= len(text))
        return dataclasses.replace(self, text=text, masked=(), tokens=tokens, done=True, reason="complete")
