"""One command for a machine with a GPU: build, check against plain torch, compare the loops, measure, write a report.

Rule: every part runs in a process of its own, with a time limit, so that a fault or a hang costs that part alone. Needs
numpy and torch (its CPU build will do), and nvcc unless the library is already there.

    python -m cuda_ext.gpu_check [FOLDER] [--quick] [--only PART ...]   # FOLDER, or $OUT: gpu_check.json and .md
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cuda_ext.gpu_check.checks import cancel, forward, leaks, loops, rules, sanitize, smoke
from cuda_ext.gpu_check.models import build, say
from cuda_ext.gpu_check.speed import bandwidth, measure
from cuda_ext.gpu_check.verdict import verdict, verdict_rules

PARTS: dict[str, Callable[[], Any]] = {
    "smoke": smoke,
    "forward": forward,
    "rules": rules,
    "loops": loops,
    "verdict rules": verdict_rules,
    "verdict": verdict,
    "cancel": cancel,
    "bandwidth": bandwidth,
    "speed embedded": lambda: measure("embedded"),
    "speed 135M": lambda: measure("135M"),
    "speed 0.5B": lambda: measure("0.5B"),
    "leaks": leaks,
    "sanitize": sanitize,
    "speed 7B": lambda: measure("7B"),
}


def markdown(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = ["| part | seconds | result |", "|---|---|---|"]
    for name, part in report["parts"].items():
        result = part.get("error") or ("see below" if name.startswith("speed") else json.dumps(part["result"]))
        lines.append(f"| {name} | {part['seconds']:.1f} | {result.strip().splitlines()[-1]} |")
    ceiling = report["parts"].get("bandwidth", {}).get("result", {}).get("bytes_per_s")
    lines += [
        "",
        "| model | context | rows | loop | passes | pass us | bytes / copy bandwidth us | share | first draft ms ",
    ]
    lines[-1] += "| all ms | tokens/s | encode ms |"
    lines += ["|---" * 12 + "|"]
    for name, part in report["parts"].items():
        lines += [speed_row(r, ceiling) for r in part.get("result", []) if name.startswith("speed")]
    return "\n".join(lines) + "\n"


def speed_row(r: dict[str, Any], ceiling: float | None) -> str:
    """One line of the table of times; `ceiling`: bytes per second of a copy, if that was measured."""
    floor_us = r["bytes"] / ceiling * 1e6 if ceiling else None
    of_ceiling = "? | ?" if floor_us is None else f"{floor_us:.0f} | {floor_us / r['pass_us']:.0%}"
    return (
        f"| {r['model']} | {r['context']} | {r['rows']} | {r['loop']} | {r['passes']} | {r['pass_us']:.0f} "
        f"| {of_ceiling} | {r['first_draft_ms']:.2f} | {r['total_ms']:.2f} | {r['tokens_per_s']:.0f} "
        f"| {r['encode_ms']:.1f} |"
    )


def run_part(name: str, out: Path) -> None:
    """One part in this process; its result, or what went wrong, goes to `out`."""
    started = time.perf_counter()
    part: dict[str, Any] = {}
    try:
        part["result"] = PARTS[name]()
    except Exception:
        part["error"] = traceback.format_exc()
        say(part["error"])
    part["seconds"] = time.perf_counter() - started
    out.write_text(json.dumps(part))


def run_apart(name: str, limit_s: float) -> dict[str, Any]:
    """One part in a process of its own."""
    started = time.perf_counter()
    out = Path(tempfile.mkdtemp()) / "part.json"
    command = [sys.executable, "-m", "cuda_ext.gpu_check", "--part", name, str(out)]
    try:
        code = subprocess.run(command, timeout=limit_s).returncode
        error = f"ended with {code} and no result"
    except subprocess.TimeoutExpired:
        error = f"took longer than {limit_s:.0f} s"
    if out.exists():
        result: dict[str, Any] = json.loads(out.read_text())
        return result
    say(f"  {error}")
    return {"error": error, "seconds": time.perf_counter() - started}


def main() -> int:
    """Run the parts, write the report after each of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(os.environ.get("OUT", ".")))
    parser.add_argument("--only", nargs="+", choices=list(PARTS), help="parts to run")
    parser.add_argument("--quick", action="store_true", help="leave 7B and the sanitizer out")
    parser.add_argument("--limit-s", type=float, default=240, help="time limit of each part")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        run_part(options.part, options.folder)
        return 0
    report: dict[str, Any] = {"parts": {}}
    try:
        report["build"] = build()
        say(f"build: {report['build']}")
    except Exception:
        report["build"] = {"error": traceback.format_exc()}
        say(report["build"]["error"])
    names = options.only or list(PARTS)
    if options.quick:
        names = [name for name in names if name not in ("speed 7B", "sanitize")]
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in names if "error" not in report["build"] else []:
        say(f"{name} ...")
        report["parts"][name] = run_apart(name, options.limit_s)
        (options.folder / "gpu_check.md").write_text(markdown(report))
        (options.folder / "gpu_check.json").write_text(json.dumps(report, indent=1))
    say(markdown(report))
    failed = [name for name, part in report["parts"].items() if "error" in part]
    if "error" in report["build"]:
        say("nothing was checked: there is no library, or no device")
        return 1
    say(f"failed: {', '.join(failed)}" if failed else "all parts passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
