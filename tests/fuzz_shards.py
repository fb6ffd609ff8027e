"""`make fuzz`: random inputs in shards, each with its own seed: a long count can be broken off and gone on with.

Rule: a shard that passed is a line of the ledger and is not run again; one that fails ends the run and says how to
repeat it. What is counted is what was sent, not what was asked for.

    python -m tests.fuzz_shards --what messages models --times 10000 --shards 20
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LEDGER = ROOT / "build/fuzz.jsonl"
TESTS = {  # what, and the tests that try it
    "messages": ["tests/e2e/test_fuzz_server.py"],
    "models": ["tests/test_fuzz_models.py"],
    "documents": ["tests/test_fuzz_documents.py", "tests/test_frames.py"],
    "blocks": ["tests/test_fuzz_native.py"],
    "bodies": [
        "tests/e2e/test_serve.py::test_whatever_body_comes_it_is_answered_and_so_is_the_next",
        "tests/test_wire.py",
    ],
}
PROGRAMS = {"cpu": "build/sanitize-address/fuzz", "cuda": "build/sanitize-address/fuzz_cuda"}  # `make sanitize`


def command(what: str, seed: int) -> list[str]:
    """What runs one shard."""
    if what in PROGRAMS:
        return [str(ROOT / PROGRAMS[what])]
    return [sys.executable, "-m", "pytest", "-q", "-s", f"--hypothesis-seed={seed}", *TESTS[what]]


def counted(output: str) -> dict[str, int]:
    """What a shard says that it tried."""
    found = re.findall(r"^fuzzed (\{.*\})$", output, re.MULTILINE)
    return dict(json.loads(found[-1])) if found else {}


def run(what: str, seed: int, times: int) -> dict[str, Any]:
    """Run one shard; its line of the ledger. SystemExit where it fails."""
    given = {"MEZZOTINT_FUZZ": str(times), "MEZZOTINT_FUZZ_SEED": str(seed)}
    line = command(what, seed)
    done = subprocess.run(line, cwd=ROOT, env={**os.environ, **given}, capture_output=True, text=True)
    if done.returncode:
        repeat = " ".join([*(f"{name}={value}" for name, value in given.items()), *line])
        sys.exit(f"{done.stdout[-4000:]}{done.stderr[-4000:]}\nfailed; again: {repeat}")
    return {"what": what, "seed": seed, "times": times, "counted": counted(done.stdout)}


def read(ledger: Path) -> list[dict[str, Any]]:
    """The shards that have passed."""
    return [json.loads(line) for line in ledger.read_text().splitlines()] if ledger.exists() else []


def sums(ledger: Path) -> dict[str, int]:
    """All that was tried so far."""
    found: dict[str, int] = {}
    for shard in read(ledger):
        for name, n in shard["counted"].items():
            found[name] = found.get(name, 0) + n
    return found


def main(argv: list[str] | None = None) -> int:
    """Run the shards that are not in the ledger; print what was tried in all."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=main.__doc__)
    parser.add_argument("--what", nargs="+", choices=[*TESTS, *PROGRAMS], default=list(TESTS))
    parser.add_argument("--times", type=int, default=20_000, help="inputs of a shard, or so (default %(default)s)")
    parser.add_argument("--shards", type=int, default=1, help="of each (default %(default)s)")
    parser.add_argument("--ledger", type=Path, default=LEDGER, help="default %(default)s")
    args = parser.parse_args(argv)
    args.ledger.parent.mkdir(parents=True, exist_ok=True)
    passed = {(shard["what"], shard["seed"], shard["times"]) for shard in read(args.ledger)}
    for seed in range(args.shards):
        for what in args.what:
            if (what, seed, args.times) not in passed:
                shard = run(what, seed, args.times)
                with args.ledger.open("a") as file:
                    file.write(json.dumps(shard) + "\n")
                print(json.dumps(shard), flush=True)
    print(json.dumps(sums(args.ledger)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
