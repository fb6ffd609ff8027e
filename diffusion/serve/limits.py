"""What one replica takes on before it says that it is busy, and how it says so.

Rule: values only. Whoever is refused gets an HTTP status and one sentence, and may ask again after `RETRY_S`.

    raise Refused(503, "16 requests wait here already; try again")
"""

from __future__ import annotations

from dataclasses import dataclass

RETRY_S = 1  # said with 429 and 503


@dataclass(frozen=True)
class Limits:
    """How much one replica takes on.

    Attributes:
        waiting: requests that wait for the model.
        per_user: requests of one user that wait or run.
        deadline_ms: longest time for one request, whatever it asks for.
        context_mb: memory for the contexts of documents; one for each request that runs is kept at least.
    """

    waiting: int = 16
    per_user: int = 4
    deadline_ms: int = 10_000
    context_mb: int = 512


class Refused(Exception):
    """A request that is not answered: the HTTP status, and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why
