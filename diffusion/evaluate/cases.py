"""Cuts evaluation holes into source files: what a person would ask to have completed.

Rule: text level and deterministic. The same files and the same seed give the same holes on every machine; the suffix
starts right behind the hole; nothing trivial (blank lines, comments, licence headers, closing brackets) is asked for.

    for case in cut([SourceFile("a.py", text)], "rest_of_line", n_cases=500, seed=0): print(case.answer)
"""

from __future__ import annotations

import ast
import hashlib
import random
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from diffusion.grammars import language_of, parse
from diffusion.request import Hole, InfillRequest

REST_OF_LINE, STATEMENT, ARGUMENTS = "rest_of_line", "statement", "arguments"
BLOCK, MULTI_LINE, RANDOM_SPAN = "block", "multi_line", "random_span"
OTHERS = (STATEMENT, ARGUMENTS, BLOCK, RANDOM_SPAN)
REST_OF_LINE_TOKENS, MULTI_LINE_TOKENS = 32, 64  # of 1,000 answers 2 and 90 are longer
MIN_FILE_CHARS, MAX_FILE_CHARS = 400, 200_000
MIN_ANSWER_WORDS = 2  # "):" and "0" are no test of anything
SPAN_CHARS = range(5, 81)  # of a random span
MAX_LINE_CHARS = 160
LINE_COUNTS = range(2, 7)
MAX_ROUNDS = 50  # over all files without finding a new hole
MAX_BLOCK_CHARS = 400
BLOCK_SHARE = 0.5  # of the multi-line holes: the body under a line that opens a block
MAX_PACKAGE_FILES = 40  # so that no package is most of an evaluation
COMMENT_STARTS = ("//", "/*", "*", "#", "--")
OPENER = {"python": ":", "javascript": "{", "typescript": "{"}  # what a line that opens a block ends with
NOT_SOURCE = re.compile(r"(^|/)(_?vendor\w*|_?tests?|__tests__|examples?|dist|generated)/|\.(d|test|spec|test-d)\.\w+$")


@dataclass(frozen=True)
class SourceFile:
    """A held-out file; `name` is relative to the folder it was found in."""

    name: str
    text: str


@dataclass(frozen=True)
class Case:
    """A hole in a file: `prefix + answer + suffix` is the file; `test` is code that checks it, run behind it."""

    name: str
    kind: str
    prefix: str
    answer: str
    suffix: str
    multiline: bool = False
    test: str = ""

    def request(self, seed: int = 0) -> InfillRequest:
        """What the engine is asked: room for the usual answer of this kind, not for this very answer."""
        hole = Hole(MULTI_LINE_TOKENS if self.multiline else REST_OF_LINE_TOKENS, self.multiline)
        return InfillRequest(self.prefix, self.suffix, (hole,), seed=seed)

    def program(self, completion: str) -> str:
        """The completed file with its test behind it."""
        return f"{self.prefix}{completion}{self.suffix}\n{self.test}\n"


def read_folder(
    folder: Path,
    packages: Iterable[str],
    languages: Collection[str] = ("python",),
    max_package_files: int = MAX_PACKAGE_FILES,
) -> list[SourceFile]:
    """Files of `packages` (their folders, or modules) under `folder` in `languages`, sorted by name.

    Tests, vendored copies and what was built are left out; of a large package a part is taken, always the same.
    """
    files = []
    for package in sorted(packages):
        of_package = []
        for path in sorted((folder / package).rglob("*")) or [folder / f"{package}.py"]:
            name = path.relative_to(folder).as_posix()
            if language_of(name) in languages and path.is_file() and not NOT_SOURCE.search(name):
                of_package += [SourceFile(name, text)] if (text := read_source(path)) else []
        chosen = sorted(of_package, key=lambda file: hashlib.sha256(file.name.encode()).digest())[:max_package_files]
        files += sorted(chosen, key=lambda file: file.name)
    return files


def read_source(path: Path) -> str | None:
    """Text of a file with LF line ends, or None if it is too short, too long or not UTF-8."""
    try:
        text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError):
        return None
    return text if MIN_FILE_CHARS <= len(text) <= MAX_FILE_CHARS else None


def cut(files: list[SourceFile], kind: str, n_cases: int, seed: int) -> Iterator[Case]:
    """`n_cases` holes of one kind, spread evenly over the files; fewer only if the files give no more."""
    rng = random.Random(f"{kind} {seed}")
    order = list(files)
    rng.shuffle(order)
    seen: set[tuple[str, int]] = set()
    lines = {file.name: code_lines(file.text, file.name) for file in order}
    misses = 0  # since the last hole
    while n_cases > 0 and misses < MAX_ROUNDS * len(order):
        for file in order[: max(n_cases, 1)]:
            case = cut_one(file, lines[file.name], kind, rng)
            if case is None or (key := (case.name, len(case.prefix))) in seen:
                misses += 1
                continue
            seen.add(key)
            n_cases, misses = n_cases - 1, 0
            yield case
        rng.shuffle(order)


def cut_one(file: SourceFile, lines: list[tuple[int, int]], kind: str, rng: random.Random) -> Case | None:
    """One hole in one of the code lines of `file`, or None if the line drawn gives no worthwhile hole."""
    if not lines:
        return None
    span = draw_span(file, lines, rng.randrange(len(lines)), kind, rng)
    if span is None or not worthwhile(answer := file.text[slice(*span)], kind):
        return None
    start, stop = span
    multiline = kind in (MULTI_LINE, BLOCK) or "\n" in answer
    return Case(file.name, kind, file.text[:start], answer, file.text[stop:], multiline)


def draw_span(
    file: SourceFile, lines: list[tuple[int, int]], index: int, kind: str, rng: random.Random
) -> tuple[int, int] | None:
    """A hole of one kind at the code line `index`, None if there is none."""
    text, (start, stop) = file.text, lines[index]
    if kind == REST_OF_LINE:
        return rest_of_line_span(lines[index], rng)
    if kind == STATEMENT:
        return lines[index] if is_statement(text[start:stop], file.name) else None
    if kind == ARGUMENTS:
        return arguments_span(file, lines[index], rng)
    if kind == RANDOM_SPAN:
        begin = rng.randrange(start, stop)
        return begin, min(len(text), begin + rng.choice(SPAN_CHARS))
    if kind == BLOCK or rng.random() < BLOCK_SHARE:
        return block_span(file, lines, index)
    return lines_span(text, lines[index : index + rng.choice(LINE_COUNTS)])


def is_statement(line: str, name: str = "a.py") -> bool:
    """Whether a line is a whole simple statement in the language of the file `name`."""
    if language_of(name) != "python":
        root = parse(name, line.encode()).root_node
        return len(root.children) == 1 and not root.has_error
    try:
        return len(ast.parse(line).body) == 1
    except (SyntaxError, ValueError):
        return False


def arguments_span(file: SourceFile, line: tuple[int, int], rng: random.Random) -> tuple[int, int] | None:
    """What stands between the brackets of one of the line's calls."""
    code = file.text[slice(*line)].encode()
    nodes, calls = [parse(file.name, code).root_node], []
    while nodes:
        node = nodes.pop()
        of_call = node.type in ("argument_list", "arguments")
        calls += [node] if of_call and code[node.end_byte - 1 :][:1] == b")" else []
        nodes.extend(node.children)
    if not calls:
        return None
    call = rng.choice(calls)
    return line[0] + len(code[: call.start_byte + 1].decode()), line[0] + len(code[: call.end_byte - 1].decode())


def rest_of_line_span(line: tuple[int, int], rng: random.Random) -> tuple[int, int]:
    """From any character of the line's code, mid-word included, to the line's end."""
    start, stop = line
    return rng.randrange(start, stop), stop


def lines_span(text: str, lines: list[tuple[int, int]]) -> tuple[int, int] | None:
    """All of `lines`, from behind the indentation of the first; None if they leave its block or hold prose."""
    start, stop = lines[0][0], lines[-1][1]
    dedents = any(column(text, line) < column(text, lines[0]) for line in lines)
    holds_prose = len(filled_lines(text[start:stop])) != len(lines)
    return None if dedents or holds_prose or len(lines) < LINE_COUNTS[0] else (start, stop)


def block_span(file: SourceFile, lines: list[tuple[int, int]], index: int) -> tuple[int, int] | None:
    """The first lines of the body under the next line at or behind `index` that opens a block."""
    text, opens = file.text, OPENER[language_of(file.name)]
    for opener in range(index, min(index + 10, len(lines) - 1)):
        indent = column(text, lines[opener])
        if text[slice(*lines[opener])].endswith(opens) and column(text, lines[opener + 1]) > indent:
            n_lines = 1
            while n_lines < LINE_COUNTS[-1] and column(text, lines[min(opener + 1 + n_lines, len(lines) - 1)]) > indent:
                n_lines += 1
            return lines_span(text, lines[opener + 1 : opener + 1 + n_lines])
    return None


def column(text: str, line: tuple[int, int]) -> int:
    """Characters of indentation in front of a code line."""
    return line[0] - text.rfind("\n", 0, line[0]) - 1


def filled_lines(text: str) -> list[str]:
    """The lines of `text` that are not blank."""
    return [line for line in text.split("\n") if line.strip()]


def worthwhile(answer: str, kind: str) -> bool:
    """Whether there is anything to guess in `answer`, and not too much."""
    n_words = len(re.findall(r"\w+", answer))
    if kind == ARGUMENTS:
        return n_words >= 1 and len(answer) <= MAX_LINE_CHARS
    if kind not in (MULTI_LINE, BLOCK):
        return n_words >= MIN_ANSWER_WORDS and len(answer) <= MAX_LINE_CHARS
    return n_words >= 2 * MIN_ANSWER_WORDS and len(answer) <= MAX_BLOCK_CHARS


def code_lines(text: str, name: str = "a.py") -> list[tuple[int, int]]:
    """(start, stop) of the code of every line that holds code and nothing else: no comment, no long string."""
    prose = prose_rows(text, name)
    spans, start = [], 0
    for row, line in enumerate(text.split("\n")):
        if line.strip() and row not in prose:
            spans.append((start + len(line) - len(line.lstrip()), start + len(line.rstrip())))
        start += len(line) + 1
    return spans


def prose_rows(text: str, name: str = "a.py") -> set[int]:
    """Rows with a comment, with a string that stands alone (a docstring), or in a string of several lines."""
    if not language_of(name):  # no grammar here: lines that begin as comments do
        return {row for row, line in enumerate(text.split("\n")) if line.lstrip().startswith(COMMENT_STARTS)}
    prose: set[int] = set()
    nodes = [parse(name, text.encode()).root_node]
    while nodes:
        node = nodes.pop()
        rows = range(node.start_point[0], node.end_point[0] + 1)
        alone = node.parent is not None and node.parent.type == "expression_statement"
        text_node = node.type in ("string", "template_string")
        if node.type == "comment" or (text_node and (alone or len(rows) > 1)):
            prose.update(rows)
        nodes.extend(node.children)
    return prose
