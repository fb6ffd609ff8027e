"""Which files `mezzotint adapt` may learn from: what git tracks and what does not look secret, as text.

Rule: a file that would be refused as context for its name or for what is in it is not learned either; links are not
followed, binary and very large files are left out. What was left out is counted by reason, nothing is named.

    found = gather([Path("~/work/app")]); found.files, found.left_out
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffusion.evaluate.cases import SourceFile
from lsp_server.options import Options
from lsp_server.text.files import read_regular
from lsp_server.text.git import NoAnswerError, repository_of, tracked_by
from lsp_server.text.languages import language_of, of
from lsp_server.text.secrets import secret_in

LEAST_CHARS = 100
LONGEST_LINE = 2_000  # characters; beyond, a file was made by a program
NO_CODE = ("json", "jsonc", "html", "css")
SECRET, LARGE, BINARY, UNREADABLE = "secret", "too large", "not text", "not readable"
OTHER, SHORT, MADE = "no source code of a known language", "very short", "with lines that no person wrote"


@dataclass(frozen=True)
class Found:
    """The files, named by their folder and path in it, and how many were left out for which reason."""

    files: list[SourceFile]
    left_out: Counter[str]


def gather(folders: Sequence[Path], options: Options | None = None) -> Found:
    """The files of all folders; ValueError if one is no folder that git tracks files of."""
    options = options or Options()
    files: list[SourceFile] = []
    left_out: Counter[str] = Counter()
    for folder in folders:
        for path in tracked(folder):
            text, reason = read(path, options)
            if reason:
                left_out[reason] += 1
            else:
                files.append(SourceFile(f"{folder.resolve().name}/{path.relative_to(folder).as_posix()}", text))
    return Found(files, left_out)


def tracked(folder: Path) -> Iterator[Path]:
    """The files below a folder that git tracks."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    root = repository_of(folder.resolve())
    if root is None:
        raise ValueError(f"{folder} is in no git repository: only what git tracks is learned (git init, git add)")
    try:
        names = tracked_by(root, folder.resolve())
    except NoAnswerError as error:
        raise ValueError(f"{folder}: {error}") from error
    if not names:
        raise ValueError(f"git tracks no file below {folder} (git add)")
    return (folder / name for name in sorted(names))


def read(path: Path, options: Options) -> tuple[str, str]:
    """A file's text with LF line ends, and why it is left out, "" if it is not."""
    language = language_of("", path.name)
    if not of(language).id or language in NO_CODE:
        return "", OTHER
    uri = path.absolute().as_uri()
    if secret_in(uri, 0, "", options.secret_patterns):  # before it is read
        return "", SECRET
    try:
        data = read_regular(path, options.max_file_bytes + 1)
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError:
        return "", UNREADABLE
    except UnicodeDecodeError:
        return "", BINARY
    if len(data) > options.max_file_bytes:
        return "", LARGE
    if "\0" in text:
        return "", BINARY
    if secret_in(uri, 1, text, options.secret_patterns):
        return "", SECRET
    return text, reason_of(text)


def reason_of(text: str) -> str:
    """Why a text is not worth learning, "" if it is."""
    if len(text) < LEAST_CHARS:
        return SHORT
    return MADE if max(map(len, text.split("\n"))) > LONGEST_LINE else ""
