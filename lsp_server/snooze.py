"""A pause that the user asks for: nothing is offered by itself for some minutes; what is asked for by hand still is.

Rule: as GitHub Copilot's snooze. It ends by itself, and with the server.

    snooze = Snooze(changed); snooze.set(5)    # {"until": "2026-11-28T10:05:00+00:00"}
    if snooze.refusal and not invoked: ...
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from lsp_server.suggest.reasons import ALLOWED, Refusal

MAX_MINUTES = 7 * 24 * 60


def minutes_of(params: Any) -> float:
    """Return the minutes of `mezzotint/snooze`; ValueError says what they should have been."""
    minutes = params.get("minutes") if isinstance(params, dict) else getattr(params, "minutes", None)
    if isinstance(minutes, bool) or not isinstance(minutes, (int, float)) or not 0 <= minutes <= MAX_MINUTES:
        raise ValueError(f"minutes must be a number from 0 to {MAX_MINUTES}")
    return minutes


class Snooze:
    """The pause of one session; it lives on the event loop."""

    def __init__(self, changed: Callable[[Refusal], None]) -> None:
        """Take who is told when it begins and ends."""
        self._changed = changed
        self._end: asyncio.TimerHandle | None = None
        self.refusal = ALLOWED

    def set(self, minutes: float) -> dict[str, str | None]:
        """Pause from now on, 0: no longer; return until when, as it is answered."""
        if self._end is not None:
            self._end.cancel()
            self._end = None
        until = datetime.now(timezone.utc) + timedelta(minutes=minutes) if minutes else None
        if until is not None:
            self._end = asyncio.get_running_loop().call_later(minutes * 60, self.set, 0)
        self.refusal = ALLOWED if until is None else Refusal("paused", f"{until.astimezone():%H:%M}")
        self._changed(self.refusal)
        return {"until": None if until is None else until.isoformat(timespec="seconds")}
