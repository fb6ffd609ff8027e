"""REQUIRE_EDITORS=1, as in CI: a test that is skipped because something is not installed has failed."""

from __future__ import annotations

import pytest

MISSING = "SKIPPED"  # how the reasons of such tests begin


def judged(report: pytest.TestReport) -> pytest.TestReport:
    """The report of a test where nothing may be missing."""
    if report.skipped and f"Skipped: {MISSING}" in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = str(report.longrepr)
    return report
