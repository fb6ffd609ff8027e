"""How often the fuzz tests try: some dozen times in `make test`, as often as MEZZOTINT_FUZZ says in `make fuzz`.

Rule: no test here looks at the clock, and what was found once is an example that is always tried.

    @fuzz(50)
    @given(st.text())
    def test_x(text: str) -> None: count("texts") ...

What was counted is printed at the end of a run of `make fuzz` (fuzz_shards.py).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings

COUNTS: Counter[str] = Counter()
TIMES = os.environ.get("MEZZOTINT_FUZZ", "")
CHECKS = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture)


def fuzz(tries: int, by: int = 1) -> Callable[[Any], Any]:
    """Settings of a test: `tries` examples, or of the environment's number one for each `by` (slow tests have more)."""
    count = max(1, int(TIMES) // by) if TIMES else tries
    phases = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
    return settings(max_examples=count, deadline=None, suppress_health_check=CHECKS, phases=phases, print_blob=True)


def count(what: str, n: int = 1) -> None:
    """Note what was tried."""
    COUNTS[what] += n
