"""One command for a machine with a GPU: build, check against plain torch, compare the loops, measure, write a report.

Rule: every part runs in a process of its own, with a time limit, so that a fault or a hang costs that part alone. Needs
numpy and torch (its CPU build will do), and nvcc unless the library is already there.

    python -m cuda_ext.gpu_check [FOLDER] [--quick] [--only PART ...]   # FOLDER, or $OUT: gpu_check.json and .md
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cuda_ext import native
from cuda_ext.native import CanvasState, Control, DraftSlot, NativeCache, NativeModel, NativeRun, Row, Rule, Shape
from cuda_ext.twin import Twin

HERE = Path(__file__).parent
LOOPS = ("while", "replay", "step")
SHAPES = {  # vocab, d_model, layers, heads, kv heads, d_ff
    "tiny": Shape(300, 128, 2, 2, 1, 192, 10_000.0),
    "default": Shape(8192, 256, 6, 4, 2, 704, 10_000.0),
    "0.5B": Shape(151_936, 896, 24, 14, 2, 4864, 1_000_000.0),
    "7B": Shape(152_064, 3584, 28, 28, 4, 18_944, 1_000_000.0),
}
END, BREAK, SPECIAL = 2, 4, 1  # token flags


def say(text: str) -> None:
    """Progress, at once."""
    print(text, flush=True)


# ---- Models with random weights


def tensor_shapes(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and sizes of all tensors of a model."""
    d, ff = shape.d_model, shape.d_ff
    d_head = d // shape.n_heads
    yield "embed.weight", (shape.vocab_size, d)
    for name in ("embed_norm.weight", "canvas_embed", "norm.weight"):
        yield name, (d,)
    for layer in range(shape.n_layers):
        for name, size in {
            "attn_norm.weight": (d,),
            "qkv.weight": ((shape.n_heads + 2 * shape.n_kv_heads) * d_head, d),
            "q_norm.weight": (d_head,),
            "k_norm.weight": (d_head,),
            "o.weight": (d, d),
            "mlp_norm.weight": (d,),
            "gate_up.weight": (2 * ff, d),
            "down.weight": (d, ff),
        }.items():
            yield f"blocks.{layer}.{name}", size


def random_tensors(shape: Shape, seed: int = 0) -> dict[str, np.ndarray]:
    """Bfloat16 words of every tensor, from one block of normal numbers that is repeated: quick also for 7B."""
    block = torch.randn(1 << 22, generator=torch.Generator().manual_seed(seed))
    out = {}
    for i, (name, size) in enumerate(tensor_shapes(shape)):
        n = int(np.prod(size))
        scale = 0.3 if len(size) == 1 or name == "embed.weight" else size[1] ** -0.5
        values = (block.roll(i * 7919) * scale + (len(size) == 1 and name != "canvas_embed")).bfloat16()
        out[name] = np.resize(values.view(torch.uint16).numpy(), n).reshape(size)
    return out


def simple_run(shape: Shape, n_rows: int, n_steps: int, seed: int = 0) -> tuple[Control, np.ndarray]:
    """A masked canvas whose loop takes exactly `n_steps` steps: nothing is ever sure enough to be revealed early."""
    flags = np.zeros(shape.vocab_size, np.uint8)
    flags[:4] = SPECIAL
    flags[1] = SPECIAL | END
    flags[5::31] = BREAK
    control = Control(seed=seed, deadline_us=-1, n_rows=n_rows, n_holes=1, mask_id=0, end_id=1, max_steps=n_steps)
    control.hole_stop[0], control.multiline[0] = n_rows, 1
    control.threshold, control.revise_below = 2.0, 0.0
    control.present = sum(1 << int(kind) for kind in np.unique(flags))
    return control, flags


@contextmanager
def looping(way: str) -> Iterator[None]:
    """Runs inside loop this way alone."""
    os.environ["MEZZOTINT_CUDA_LOOP"] = way
    try:
        yield
    finally:
        del os.environ["MEZZOTINT_CUDA_LOOP"]


def way_of(run: NativeRun) -> str:
    """How a run loops."""
    function = run.raw.mz_cuda_loop
    function.restype, function.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    return str(function(run.handle).decode())


# ---- Parts: each returns what goes into the report, and fails by an exception


def build() -> dict[str, Any]:
    """Find the library, or compile it for this machine's GPU; the parts' processes find it through the environment."""
    if not native.library_path("cuda").exists():
        nvcc = os.environ.get("NVCC") or shutil.which("nvcc")
        if nvcc is None:
            raise RuntimeError("neither libmezzotint_cuda.so nor nvcc")
        folder = Path(tempfile.mkdtemp(prefix="mezzotint"))
        for other in (HERE / "_lib").glob("*mezzotint_cpu*"):  # what it is compared with
            shutil.copy(other, folder)
        started = time.perf_counter()
        sources = sorted(map(str, (HERE / "cuda").glob("*.cu")))
        flags = ["-std=c++17", "-O3", "-shared", "-cudart", "static", "-arch=native", "-Xcompiler", "-fPIC"]
        out = folder / "libmezzotint_cuda.so"
        subprocess.run([nvcc, *flags, f"-I{HERE / 'include'}", f"-I{HERE}", *sources, "-o", str(out)], check=True)
        say(f"  compiled in {time.perf_counter() - started:.0f} s")
        os.environ["MEZZOTINT_NATIVE_LIB"] = str(folder)
    library, reason = native.find("cuda")
    if library is None:
        raise RuntimeError(reason)
    return {"library": library.path.name, "bytes": library.path.stat().st_size, "target": library.target}


def forward() -> dict[str, Any]:
    """Logits against the plain-torch twin; what differs is where bfloat16 is rounded to."""
    cases = [("tiny", 0, 1), ("tiny", 17, 5), ("tiny", 130, 64), ("default", 400, 32), ("default", 300, 128)]
    few_layers = {"0.5B": Shape(1000, 896, 2, 14, 2, 4864, 1e6), "7B": Shape(1000, 3584, 2, 28, 4, 18_944, 1e6)}
    cases += [("0.5B", 1000, 33), ("7B", 257, 64)]
    errors = {}
    for name, n_context, n_rows in cases:
        shape = few_layers.get(name, SHAPES[name])
        words = random_tensors(shape)
        model = NativeModel(shape, words, "bf16", 1, kind="cuda")
        rng = np.random.default_rng(n_context)
        context, rows = (rng.integers(4, shape.vocab_size, n).tolist() for n in (n_context, n_rows))
        cache, twin = NativeCache(model, n_context + n_rows + 3), Twin(shape, words, "bf16", n_context + n_rows)
        model.encode(cache, context, 0)
        if context:
            twin.forward(np.array(context), 0, causal=True)
        for causal in (False, True):
            wanted = twin.forward(np.array(rows), n_context, causal).numpy()
            got = model.forward(cache, rows, n_context, causal)
            error = float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))
            errors[f"{name} context {n_context} rows {n_rows} {'causal' if causal else 'canvas'}"] = error
            say(f"  {name} {n_context}+{n_rows} causal={causal}: {error:.2e}")
    worst = max(errors.values())
    if not worst < 2e-2:
        raise RuntimeError(f"relative error {worst}: {errors}")
    return errors


def rules() -> dict[str, Any]:
    """Statistics, decisions and random numbers on the device against the CPU library."""
    gpu, cpu = native.load("cuda"), native.load("cpu")
    if gpu is None or cpu is None:
        raise RuntimeError(f"needs both libraries: {native.why_not('cpu')} {native.why_not('cuda')}")
    rng, vocab, worst = np.random.default_rng(0), 500, 0.0
    for _ in range(200):
        control, flags = simple_run(Shape(vocab_size=vocab), int(rng.integers(1, 129)), 8, int(rng.integers(1 << 60)))
        control.threshold, control.max_revisions = 0.6, 3
        for row in range(control.n_rows):
            control.ids[row] = int(rng.integers(4, vocab)) * int(rng.random() < 0.4) or int(rng.random() < 0.2)
        n = control.n_rows
        results: list[tuple[Any, ...]] = []
        logits = rng.standard_normal((n, vocab)).astype(np.float32) * 5
        for library in (gpu, cpu):
            canvas = CanvasState(revisions_left=3)
            canvas.ids[:] = control.ids[:]
            allowed, rows, draft, noise = (Rule * n)(), (Row * n)(), DraftSlot(), np.zeros(vocab, np.float32)
            own, raw = np.array(control.ids[:n], np.int32), library.raw
            places = [ctypes.byref(control), ctypes.byref(canvas), flags.ctypes.data]
            raw.mz_test_rules(*places, allowed)
            raw.mz_test_row_stats(logits.ctypes.data, n, vocab, flags.ctypes.data, allowed, own.ctypes.data, rows)
            raw.mz_test_gumbel(control.seed, 3, 5, vocab, noise.ctypes.data)
            statistics_ = np.array([(r.best, r.probability, r.end, r.entropy, r.own) for r in rows])
            if results:  # the same rows for both, so that a rounding cannot change a decision
                rows = results[0][4]
            raw.mz_test_commit(*places, rows, 0, ctypes.byref(draft))
            results.append((bytes(allowed), statistics_, bytes(draft), noise, rows))
        (rules_a, stats_a, draft_a, noise_a, _), (rules_b, stats_b, draft_b, noise_b, _) = results
        if rules_a != rules_b or draft_a != draft_b or (stats_a[:, 0] != stats_b[:, 0]).any():
            raise RuntimeError("device and host decide differently")
        worst = max(worst, float(np.abs(stats_a - stats_b).max()), float(np.abs(noise_a - noise_b).max()))
    if not worst < 1e-3:
        raise RuntimeError(f"statistics differ by {worst}")
    return {"cases": 200, "largest difference": worst}


def host_loop(model: NativeModel, cache: NativeCache, n_context: int, c: Control, flags: np.ndarray) -> list[DraftSlot]:
    """The forward pass of the library, row statistics and decisions one by one through the tests' hooks."""
    raw, canvas, n = model.raw, CanvasState(revisions_left=c.max_revisions), c.n_rows
    drafts: list[DraftSlot] = []
    canvas.ids[:], canvas.probability[:n] = c.ids[:], [1.0] * n
    while not drafts or not drafts[-1].done:
        logits = model.forward(cache, canvas.ids[:n], n_context, causal=False)
        allowed, rows, draft = (Rule * n)(), (Row * n)(), DraftSlot()
        places = [ctypes.byref(c), ctypes.byref(canvas), flags.ctypes.data]
        own = np.array(canvas.ids[:n], np.int32)
        raw.mz_test_rules(*places, allowed)
        raw.mz_test_row_stats(logits.ctypes.data, n, len(flags), flags.ctypes.data, allowed, own.ctypes.data, rows)
        raw.mz_test_commit(*places, rows, 0, ctypes.byref(draft))
        drafts.append(draft)
    return drafts


def loops() -> dict[str, Any]:
    """WHILE, replay and plain steps: the same bytes, in order; the same tokens as a loop decided from outside."""
    out: dict[str, Any] = {}
    for name, n_rows in (("tiny", 8), ("tiny", 100), ("default", 24), ("default", 64)):
        shape = SHAPES[name]
        model = NativeModel(shape, random_tensors(shape), "bf16", 1, kind="cuda")
        cache = NativeCache(model, 300)
        context = np.random.default_rng(n_rows).integers(4, shape.vocab_size, 100).tolist()
        model.encode(cache, context, 0)
        control, flags = simple_run(shape, n_rows, 7)
        found = {}
        for way in LOOPS:
            try:
                with looping(way), NativeRun(model, cache, 100, control, flags) as run:
                    drafts = list(run)
            except ValueError as error:
                out[f"{way} is refused"] = str(error)
                continue
            found[way] = [bytes(draft) for draft in drafts]
            if [draft.step for draft in drafts] != list(range(1, 8)) or not drafts[-1].done:
                raise RuntimeError(f"{way}: drafts out of order: {[draft.step for draft in drafts]}")
        if len(set(map(tuple, found.values()))) != 1:
            raise RuntimeError(f"{name} {n_rows}: {list(found)} differ")
        wanted = host_loop(model, cache, 100, control, flags)
        mine = [DraftSlot.from_buffer_copy(draft) for draft in next(iter(found.values()))]
        same = [list(a.guess) == list(b.guess) for a, b in zip(mine, wanted, strict=True)]
        out[f"{name} {n_rows} rows"] = f"{'/'.join(found)} equal; {sum(same)} of {len(same)} drafts as decided outside"
        with NativeRun(model, cache, 100, control, flags) as run:
            out["chosen"] = way_of(run)
        with NativeRun(model, cache, 100, control, flags, autoregressive_from=context[-1]) as run:
            out[f"{name} {n_rows} rows, token by token"] = f"{len(list(run))} drafts"
        say(f"  {name} {n_rows}: {out[f'{name} {n_rows} rows']}")
    return out


def cancel() -> dict[str, Any]:
    """Microseconds from cancelling to the end of a run, and the steps that still ran."""
    shape = SHAPES["default"]
    model = NativeModel(shape, random_tensors(shape), "bf16", 1, kind="cuda")
    cache, out = NativeCache(model, 300), {}
    control, flags = simple_run(shape, 128, 128)
    for way in LOOPS:
        waits, extra = [], []
        for _ in range(20):
            with looping(way), NativeRun(model, cache, 0, control, flags) as run:
                first = run.next(10_000_000)
                started = time.perf_counter()
                run.cancel()
                n_more = len(list(run))
                waits.append((time.perf_counter() - started) * 1e6)
                extra.append(n_more)
                if first is None or n_more > 100:
                    raise RuntimeError(f"{way}: not cancelled")
        out[way] = {"median_us": statistics.median(waits), "most_us": max(waits), "drafts_after": max(extra)}
        say(f"  {way}: {out[way]}")
    return out


def memory_free() -> int:
    """Free device memory in bytes."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]) << 20


def leaks(n_runs: int = 10_000) -> dict[str, Any]:
    """Device memory before and after many runs, and after a hundred models and caches."""
    shape = SHAPES["tiny"]
    words = random_tensors(shape)
    model = NativeModel(shape, words, "bf16", 1, kind="cuda")
    cache = NativeCache(model, 64)
    control, flags = simple_run(shape, 16, 2)

    def complete(cache: NativeCache, model: NativeModel) -> None:
        with NativeRun(model, cache, 0, control, flags) as run:
            list(run)

    complete(cache, model)
    before = memory_free()
    for _ in range(n_runs):
        complete(cache, model)
    after_runs = memory_free()
    for _ in range(100):
        other = NativeModel(shape, words, "bf16", 1, kind="cuda")
        behind = NativeCache(other, 64)
        complete(behind, other)
        behind.close()
        other.close()
    out = {"runs": n_runs, "bytes by runs": before - after_runs, "bytes by 100 models": after_runs - memory_free()}
    if out["bytes by runs"] > 1 << 20 or out["bytes by 100 models"] > 64 << 20:
        raise RuntimeError(f"memory is lost: {out}")
    return out


def sanitize() -> dict[str, Any]:
    """compute-sanitizer over one tiny run of every loop."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        raise RuntimeError("no compute-sanitizer")
    out = {}
    for check in ("memcheck", "racecheck", "initcheck", "synccheck"):
        command = [tool, "--tool", check, "--error-exitcode", "9", sys.executable, "-m", "cuda_ext.gpu_check"]
        out_file = str(Path(tempfile.mkdtemp()) / "part.json")
        done = subprocess.run([*command, "--part", "smoke", out_file], capture_output=True, text=True)
        out[check] = f"exit {done.returncode}: {' '.join(done.stdout.split()[-12:])}"
        say(f"  {check}: {out[check]}")
    if any(not result.startswith("exit 0") for result in out.values()):
        raise RuntimeError(str(out))
    return out


def smoke() -> dict[str, Any]:
    """One tiny run: what the sanitizer looks at."""
    shape = SHAPES["tiny"]
    model = NativeModel(shape, random_tensors(shape), "bf16", 1, kind="cuda")
    cache = NativeCache(model, 100)
    model.encode(cache, list(range(4, 44)), 0)
    control, flags = simple_run(shape, 20, 2)
    out = {}
    for way in ("step", "replay"):
        with looping(way), NativeRun(model, cache, 40, control, flags) as run:
            out[way] = len(list(run))
    return out


def bandwidth() -> dict[str, Any]:
    """Copy bandwidth, bytes read and written: the ceiling of every step."""
    if not torch.cuda.is_available():
        raise RuntimeError("torch has no CUDA: bandwidth not measured")
    source = torch.empty(1 << 32, dtype=torch.uint8, device="cuda").random_()
    target, times = torch.empty_like(source), []
    for _ in range(12):
        torch.cuda.synchronize()
        started = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return {"bytes_per_s": 2 * source.numel() / statistics.median(times), "gpu": torch.cuda.get_device_name()}


def step_bytes(shape: Shape, n_context: int) -> int:
    """Bytes that one step must read: all weights and the context's keys and values."""
    weights = sum(int(np.prod(size)) * (2 if len(size) == 2 else 4) for _, size in tensor_shapes(shape))
    d_head: int = shape.d_model // shape.n_heads
    return weights + 4 * n_context * int(shape.n_layers) * int(shape.n_kv_heads) * d_head


def measure(name: str, n_steps: int = 16, repeats: int = 15) -> list[dict[str, Any]]:
    """Milliseconds of completions with `n_steps` steps, for canvases, contexts and ways of looping."""
    shape, rows = SHAPES[name], []
    model = NativeModel(shape, random_tensors(shape), "bf16", 1, kind="cuda")
    for n_context in (1024, 4096):
        cache = NativeCache(model, n_context + 64)
        context = np.random.default_rng(0).integers(4, shape.vocab_size, n_context).tolist()
        encoded = []
        for _ in range(3):
            started = time.perf_counter()
            model.encode(cache, context, 0)
            model.forward(cache, context[:1], n_context, causal=True)  # waits for it
            encoded.append((time.perf_counter() - started) * 1e3)
        for n_rows in (32, 64):
            for way in LOOPS:
                firsts, totals = [], []
                control, flags = simple_run(shape, n_rows, n_steps)
                for _ in range(repeats):
                    with looping(way):
                        started = time.perf_counter()
                        with NativeRun(model, cache, n_context, control, flags) as run:
                            run.next(60_000_000)
                            firsts.append((time.perf_counter() - started) * 1e3)
                            list(run)
                            totals.append((time.perf_counter() - started) * 1e3)
                total = statistics.median(totals[2:])
                row: dict[str, Any] = {
                    "model": name,
                    "context": n_context,
                    "rows": n_rows,
                    "loop": way,
                    "steps": n_steps,
                }
                row |= {"encode_ms": min(encoded), "first_draft_ms": statistics.median(firsts[2:])}
                row |= {"total_ms": total, "step_us": total / n_steps * 1e3, "bytes": step_bytes(shape, n_context)}
                rows.append(row)
                say(f"  {name} context {n_context} rows {n_rows} {way}: {row['step_us']:.0f} us a step")
    return rows


PARTS: dict[str, Callable[[], Any]] = {
    "smoke": smoke,
    "forward": forward,
    "rules": rules,
    "loops": loops,
    "cancel": cancel,
    "bandwidth": bandwidth,
    "speed default": lambda: measure("default"),
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
    lines += ["", "| model | context | rows | loop | step us | floor us | first draft ms | 16 steps ms | encode ms |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for name, part in report["parts"].items():
        for r in part.get("result", []) if name.startswith("speed") else []:
            floor = f"{r['bytes'] / ceiling * 1e6:.0f}" if ceiling else "?"
            lines.append(
                f"| {r['model']} | {r['context']} | {r['rows']} | {r['loop']} | {r['step_us']:.0f} | {floor} "
                f"| {r['first_draft_ms']:.2f} | {r['total_ms']:.2f} | {r['encode_ms']:.1f} |"
            )
    return "\n".join(lines) + "\n"


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
    say(f"failed: {', '.join(failed)}" if failed else "all parts passed")
    return 1 if failed or "error" in report["build"] else 0


if __name__ == "__main__":
    sys.exit(main())
