"""Where a model runs: the one place that reads a device's name.

Rule: pure; whether the device is there, the backends find out.

    parse_device("cuda:1")  # ("cuda", 1)
"""

from __future__ import annotations

import re

NAMES = re.compile(r"(cpu)|(cuda)(?::(\d{1,3}))?")


def parse_device(device: str) -> tuple[str, int]:
    """("cpu" or "cuda", which of them); ValueError says what is allowed."""
    found = NAMES.fullmatch(device)
    if found is None:
        raise ValueError(f"device {device!r} is none of cpu, cuda, cuda:0, cuda:1, ...")
    return found[1] or found[2], int(found[3] or 0)
