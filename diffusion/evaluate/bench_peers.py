"""`mezzotint bench peers`: the rest of a line by our engine and by llama.cpp, in turns in one process.

Rule: whoever is measured gets the same places, the same threads, and a context that is cached up to the last key; each
stops where the line ends. llama.cpp runs the base token by token in 8 bits and sees the text before the cursor only:
the base knows of no suffix. The last line of stdout is one JSON object.

    mezzotint bench peers --model FOLDER --prompts 30
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from diffusion.engine import Engine
from diffusion.evaluate.cases import REST_OF_LINE, Case, SourceFile, cut, read_source
from diffusion.evaluate.report import aligned, cpu_name
from diffusion.request import Hole, InfillRequest

SETTLE_S = 0.1  # threads of whoever ran before spin for a while before they sleep
MOST_DISTURBED = 0.2  # of the runs, before we warn; llama.cpp waits in spinning threads and suffers most
MODULES = ("argparse", "dataclasses", "inspect", "logging/handlers", "pathlib", "shutil", "subprocess", "tarfile")
SOURCE, Q8 = Path(".base/SmolLM2-135M-Instruct.Q4_1.gguf"), Path(".base/SmolLM2-135M-Instruct.Q8_0.gguf")


@dataclass(frozen=True)
class Answer:
    """What one run wrote; `passes` forward passes, those for keys of the context left out."""

    text: str
    tokens: int
    passes: int


@dataclass(frozen=True)
class Peer:
    """Somebody to measure: `prepare` makes what it needs of (prefix, suffix) known, `complete` answers."""

    prepare: Callable[[str, str], None]
    complete: Callable[[str, str], Answer]


@dataclass(frozen=True)
class Row:
    """One peer at one place; `ms` to the final text, the median of the repeats, and `best` the least of them.

    `disturbed`: the share of the repeats during which another process was given a core of ours.
    """

    place: str
    peer: str
    ms: float
    best: float
    disturbed: float
    tokens: int
    passes: int
    exact: bool
    text: str

    @property
    def ms_per_token(self) -> float:
        """Nothing written counts as one token: that there is none had to be found out."""
        return self.ms / max(self.tokens, 1)


def never() -> bool:
    """Nobody cancels a benchmark."""
    return False


def ours(engine: Engine, max_tokens: int, by_token: bool = False) -> Peer:
    """Our engine as it ships, or the same weights token by token."""

    def request(prefix: str, suffix: str) -> InfillRequest:
        return InfillRequest(prefix, suffix, (Hole(max_tokens),))

    def complete(prefix: str, suffix: str) -> Answer:
        run = engine.autoregress if by_token else engine.infill
        *_, draft = run(request(prefix, suffix), never)
        return Answer(draft.text, len(draft.tokens), draft.forward_passes)

    return Peer(lambda prefix, suffix: engine.prepare(request(prefix, suffix), never), complete)


def llama_cpp(path: Path, max_tokens: int, threads: int) -> Peer:
    """llama.cpp, greedy, behind the text before the cursor; its cache keeps the longest common beginning."""
    from llama_cpp import Llama

    llama = Llama(str(path), n_ctx=2048, n_threads=threads, n_threads_batch=threads, verbose=False)

    def generate(prefix: str) -> Iterable[int]:
        # The blank before a word is part of its token: one that stands before the cursor is given back.
        tokens = llama.tokenize(prefix.removesuffix(" ").encode(), add_bos=False)
        return llama.generate(tokens, temp=0.0)  # type: ignore[no-any-return]

    def complete(prefix: str, _: str) -> Answer:
        pieces, passes = [], 0
        for token in generate(prefix):
            passes += 1
            piece = llama.detokenize([token])
            pieces.append(piece)
            if b"\n" in piece or not piece or len(pieces) == max_tokens:  # special tokens have no text
                break
        text = first_line(b"".join(pieces).decode("utf-8", errors="ignore"))
        return Answer(text.removeprefix(" ") if prefix.endswith(" ") else text, len(pieces), passes)

    def prepare(prefix: str, _: str) -> None:
        next(iter(generate(prefix)))

    return Peer(prepare, complete)


def first_line(text: str) -> str:
    """`text` up to its first line break."""
    return text.split("\n", 1)[0].removesuffix("\r")


def write_q8(source: Path, target: Path) -> None:
    """The model of a GGUF file with its matrices in 8 bits, Q8_0."""
    import gguf

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in ("general.architecture", "general.file_type"):
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], inner)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    q8 = gguf.GGMLQuantizationType.Q8_0
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if values.ndim == 1:
            writer.add_tensor(tensor.name, values)
        else:
            writer.add_tensor(tensor.name, gguf.quants.quantize(values, q8), raw_dtype=q8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def cached_q8(path: Path | None) -> Path:
    """The GGUF file asked for, or the base in 8 bits, made of what `make base` fetched."""
    if path is not None or Q8.exists():
        return path or Q8
    if not SOURCE.exists():
        raise ValueError(f"there is no {SOURCE}: `make base` fetches it")
    print(f"writing {Q8}", file=sys.stderr)
    part = Q8.with_suffix(".part")
    write_q8(SOURCE, part)
    return part.rename(Q8)


def places(files: Sequence[Path], n: int, chars: int, seed: int = 0) -> list[Case]:
    """Rest-of-line holes in real files, with so many characters before them, and a third of that behind."""
    library = Path(sysconfig.get_path("stdlib"))
    paths = list(files) or [library / f"{name}.py" for name in MODULES]
    texts = [(path, read_source(path)) for path in paths]
    unreadable = [str(path) for path, text in texts if text is None]
    if unreadable:
        raise ValueError(f"cannot read {', '.join(unreadable)}")
    cases = cut([SourceFile(path.name, text) for path, text in texts if text], REST_OF_LINE, n, seed)
    return [cropped(case, chars) for case in cases]


def cropped(case: Case, chars: int) -> Case:
    """The case with a shorter text around it, whole lines; its name tells line and column as we print them."""
    prefix = case.prefix
    line, column = prefix.count("\n") + 1, len(prefix) - prefix.rfind("\n")
    if len(prefix) > chars:
        start = prefix.find("\n", len(prefix) - chars) + 1
        prefix = prefix[start:]
    return replace(case, name=f"{case.name}:{line}:{column}", prefix=prefix, suffix=case.suffix[: chars // 3])


def measure(
    peers: Mapping[str, Peer],
    cases: Sequence[Case],
    repeats: int = 3,
    typed: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Row]:
    """Every peer at every place, in turns, whoever began last time last; the first turn is not counted.

    The `typed` last characters before the cursor are not yet in anybody's cache.
    """
    rows = []
    for number, case in enumerate(cases):
        print(f"\r{number}/{len(cases)} {case.name:30}", end="", file=sys.stderr, flush=True)
        runs: dict[str, list[tuple[float, bool]]] = {name: [] for name in peers}
        answers: dict[str, Answer] = {}
        order = list(peers)
        for turn in range(repeats + 1):
            for name in order:
                ms, disturbed, answers[name] = timed(peers[name], case, typed, clock)
                if turn:
                    runs[name].append((ms, disturbed))
            order.append(order.pop(0))
        for name, answer in answers.items():
            exact = answer.text.rstrip() == case.answer.rstrip()
            times = [ms for ms, _ in runs[name]]
            share = statistics.fmean(was for _, was in runs[name])
            ms, best = statistics.median(times), min(times)
            rows.append(Row(case.name, name, ms, best, share, answer.tokens, answer.passes, exact, answer.text))
    print(file=sys.stderr)
    return rows


def timed(peer: Peer, case: Case, typed: int, clock: Callable[[], float]) -> tuple[float, bool, Answer]:
    """Milliseconds to the final text behind a warm cache, and whether another process took a core meanwhile."""
    time.sleep(SETTLE_S)
    peer.prepare(case.prefix[: len(case.prefix) - typed], case.suffix)
    began, taken = clock(), times_taken()
    answer = peer.complete(case.prefix, case.suffix)
    return 1000 * (clock() - began), times_taken() > taken, answer


def times_taken() -> int:
    """How often a thread of ours had to leave its core to another; 0 where the system does not count it."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def summary(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Medians over the places, by peer; `exact` is a share."""
    found = {}
    for name in dict.fromkeys(row.peer for row in rows):
        mine = [row for row in rows if row.peer == name]
        found[name] = {
            "ms": round(statistics.median(row.ms for row in mine), 2),
            "ms_mean": round(statistics.fmean(row.ms for row in mine), 2),
            "best": round(statistics.median(row.best for row in mine), 2),
            "disturbed": round(statistics.fmean(row.disturbed for row in mine), 2),
            "tokens": statistics.median(row.tokens for row in mine),
            "passes": statistics.median(row.passes for row in mine),
            "ms_per_token": round(statistics.median(row.ms_per_token for row in mine), 2),
            "exact": round(statistics.fmean(row.exact for row in mine), 3),
        }
    return found


def ratios(rows: Sequence[Row], to: str) -> dict[str, float]:
    """Median over the places of a peer's time as a multiple of that of `to` at the same place."""
    base = {row.place: row.ms for row in rows if row.peer == to}
    found: dict[str, list[float]] = {row.peer: [] for row in rows if row.peer != to}
    for row in rows:
        if row.peer != to:
            found[row.peer].append(row.ms / base[row.place])
    return {name: round(statistics.median(of), 3) for name, of in found.items()}


def shown(rows: Sequence[Row], medians: Mapping[str, Mapping[str, float]]) -> str:
    """The table: a line per place and peer, then the medians."""
    cells = [["place", "peer", "ms", "best", "tokens", "passes", "ms/token", "exact", "text"]]
    for row in rows:
        numbers = [f"{row.ms:.1f}", f"{row.best:.1f}", str(row.tokens), str(row.passes), f"{row.ms_per_token:.1f}"]
        cells.append([row.place, row.peer, *numbers, "yes" if row.exact else "", row.text[:40]])
    for name, of in medians.items():
        numbers = [f"{of['ms']:.1f}", f"{of['best']:.1f}", f"{of['tokens']:g}", f"{of['passes']:g}"]
        cells.append(["median", name, *numbers, f"{of['ms_per_token']:.1f}", f"{of['exact']:.0%}", ""])
    return aligned(cells)


def build_parser() -> argparse.ArgumentParser:
    """The arguments of `mezzotint bench peers`."""
    about = "Time completions of one line by our engine and by llama.cpp, in turns, on the same places."
    parser = argparse.ArgumentParser(prog="mezzotint bench peers", description=about)
    parser.add_argument("--model", type=Path, help="our model folder (default: the embedded one)")
    parser.add_argument("--baseline", type=Path, help="another model folder of ours, decoded token by token")
    parser.add_argument("--gguf", type=Path, help=f"what llama.cpp runs (default: {Q8}, made of what `make base` got)")
    parser.add_argument("--files", nargs="+", type=Path, default=[], help="where to cut (default: standard library)")
    parser.add_argument("--prompts", type=int, default=20, metavar="N", help="places (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="of each (default %(default)s)")
    parser.add_argument("--chars", type=int, default=2000, metavar="N", help="before the cursor (default %(default)s)")
    parser.add_argument("--typed", type=int, default=1, metavar="N", help="keys that no cache knows yet (1)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="of everybody (default %(default)s)")
    parser.add_argument("--write", action="store_true", help="only make what llama.cpp runs")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Print the table and the JSON line; 2 and one line on stderr if something is missing."""
    args = build_parser().parse_args(argv)
    max_tokens = 16
    try:
        if args.write:
            print(cached_q8(args.gguf))
            return 0
        cases = places(args.files, args.prompts, args.chars)
        peers = {"llama.cpp": llama_cpp(cached_q8(args.gguf), max_tokens, args.threads)}
        engine = Engine.load(args.model, threads=args.threads)
        baseline = Engine.load(args.baseline, threads=args.threads) if args.baseline else None
    except (ImportError, OSError, ValueError) as error:
        hint = ": `make bench-peers` installs it, or pip install 'mezzotint[peers]'"
        print(f"mezzotint bench peers: {error}{hint * isinstance(error, ImportError)}", file=sys.stderr)
        return 2
    peers["ours"] = ours(engine, max_tokens)
    if engine.backend.config.has_causal_rows:
        peers["ours, by token"] = ours(engine, max_tokens, by_token=True)
    if baseline:
        peers[f"{args.baseline.name}, by token"] = ours(baseline, max_tokens, by_token=True)
    rows = measure(peers, cases, args.repeats, args.typed)
    medians, to = summary(rows), ratios(rows, "llama.cpp")
    print(shown(rows, medians))
    disturbed = statistics.fmean(row.disturbed for row in rows)
    if disturbed > MOST_DISTURBED:
        print(f"other processes took our cores in {disturbed:.0%} of the runs: times mean little", file=sys.stderr)
    about: dict[str, Any] = {"cpu": cpu_name(), "threads": args.threads, "typed": args.typed, "model": engine.info}
    about["llama_cpp_python"] = metadata.version("llama-cpp-python")
    print(json.dumps({"medians": medians, "times_llama_cpp": to, **about, "rows": [asdict(row) for row in rows]}))
    return 0
