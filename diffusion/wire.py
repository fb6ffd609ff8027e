"""`InfillRequest` and `Draft` as JSON between a language server and a model server: docs/protocol.md, "Remote".

Rule: pure and strict. What comes in is whole and within its bounds, or a `FieldError` says in one sentence what is
wrong. `recall_from` and `path` never go out: what they are for is done on the editor's side.

    body = request_body(InfillRequest("x = ", ""))           # of a POST
    request = read_request(body).request; draft = read_draft(draft_line(draft))
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from diffusion.fields import FieldError, Fields, bad, number_of, shown, text_of, whole_of
from diffusion.request import Draft, Hole, InfillRequest, Start

VERSION = 1
VERSION_HEADER = "Mezzotint-Protocol"
DOCUMENT_HEADER = "X-Session-Id"  # by which Ray Serve chooses the replica
MAX_BODY_BYTES = 2_000_000
MAX_LINE_BYTES = 1_000_000
MAX_TEXT_CHARS = 200_000  # of a prefix, a suffix, all chunks of other files together, a draft
MAX_PARTS = 16  # of a middle
MAX_FIXED_CHARS = 1_000  # of the text between two holes
MAX_CHUNKS = 64  # of other files
MAX_PIECES = 4096  # of a start; tokens of a draft
MAX_HOLE_TOKENS = 128
MAX_DEADLINE_MS = 600_000
MAX_NAME_CHARS = 200
MAX_COUNT = 2**63 - 1
REASONS = ("", "complete", "deadline", "length", "unsure")  # of a draft; "" while it is not done


class Asked(NamedTuple):
    """A request, and the name of the model that shall answer it; "" is whichever the server has."""

    request: InfillRequest
    model: str = ""


def request_body(request: InfillRequest, model: str = "") -> bytes:
    """The body of a request; what has its default is left out."""
    start = request.start
    fields = {
        "model": model,
        "middle": [
            part if isinstance(part, str) else {"maxTokens": part.max_tokens, "multiline": part.multiline}
            for part in request.middle
        ],
        "otherFiles": request.other_files,
        "deadlineMs": request.deadline_ms,
        "seed": request.seed,
        "temperature": request.temperature,
        "start": None if start is None else {"pieces": start.pieces, "closed": start.closed},
        "stopBelow": request.stop_below,
        "language": request.language,
    }
    needed = {"version": VERSION, "prefix": request.prefix, "suffix": request.suffix}
    given = {name: value for name, value in fields.items() if value or (name == "deadlineMs" and value is not None)}
    return packed({**needed, **given})


def read_request(body: bytes) -> Asked:
    """The request in a body."""
    fields = Fields.of(body, "the request", MAX_BODY_BYTES)
    version = fields.take("version")
    if version != VERSION or isinstance(version, bool):
        raise FieldError(f"this server speaks version {VERSION} of the protocol, not {shown(version)}")
    asked = Asked(request_of(fields), fields.text("model", MAX_NAME_CHARS, ""))
    fields.end(f"a request of version {VERSION}")
    return asked


def request_of(fields: Fields) -> InfillRequest:
    """The request that an object's fields make."""
    deadline = fields.take("deadlineMs", None)
    middle = fields.each("middle", MAX_PARTS, part_of, ({},))
    if not any(isinstance(part, Hole) for part in middle):
        bad("middle", "a list with at least one hole")
    request = InfillRequest(
        prefix=fields.text("prefix", MAX_TEXT_CHARS),
        suffix=fields.text("suffix", MAX_TEXT_CHARS),
        middle=middle,
        other_files=fields.each("otherFiles", MAX_CHUNKS, lambda raw: text_of("otherFiles", raw, MAX_TEXT_CHARS)),
        deadline_ms=None if deadline is None else number_of("deadlineMs", deadline, 0, MAX_DEADLINE_MS),
        seed=fields.whole("seed", 0, MAX_COUNT, 0),
        temperature=fields.number("temperature", 0, 10, 0),
        start=start_of(fields.take("start", None)),
        stop_below=fields.number("stopBelow", 0, 1, 0),
        language=fields.text("language", MAX_NAME_CHARS, ""),
    )
    if sum(map(len, request.other_files)) > MAX_TEXT_CHARS:
        bad("otherFiles", f"texts of at most {MAX_TEXT_CHARS:,} characters together")
    return request


def part_of(raw: Any) -> Hole | str:
    """A hole, or the fixed text between two."""
    if isinstance(raw, str):
        return text_of("middle", raw, MAX_FIXED_CHARS)
    fields = Fields(raw, "each part of middle")
    hole = Hole(fields.whole("maxTokens", 1, MAX_HOLE_TOKENS, Hole.max_tokens), fields.flag("multiline", False))
    fields.end("a hole")
    return hole


def start_of(raw: Any) -> Start | None:
    """What the first hole starts from."""
    if raw is None:
        return None
    fields = Fields(raw, "start")
    start = Start(fields.each("pieces", MAX_PIECES, piece_of), fields.flag("closed", True))
    fields.end("start")
    if len(start.text) > MAX_TEXT_CHARS:
        bad("start", f"texts of at most {MAX_TEXT_CHARS:,} characters together")
    return start


def piece_of(raw: Any) -> tuple[str, float]:
    """A text of a start, and the chance that it is right."""
    if not isinstance(raw, (list, tuple)) or len(raw) != 2:
        bad("pieces", "a list of pairs of a text and a probability")
    return text_of("pieces", raw[0], MAX_TEXT_CHARS), number_of("pieces", raw[1], 0, 1)


def draft_line(draft: Draft) -> bytes:
    """A draft as one line."""
    fields = {
        "step": draft.step,
        "text": draft.text,
        "masked": draft.masked,
        "confidence": draft.confidence,
        "passes": draft.forward_passes,
        "done": draft.done,
        "reason": draft.reason,
        "tokens": draft.tokens,
    }
    return packed(fields) + b"\n"


def error_line(message: str) -> bytes:
    """The line that ends a stream whose engine failed."""
    return packed({"error": message}) + b"\n"


def read_draft(line: bytes) -> Draft:
    """The draft in a line; FieldError may be what the server says went wrong. Unknown fields are a later version's."""
    fields = Fields.of(line, "the draft", MAX_LINE_BYTES)
    if error := fields.text("error", MAX_TEXT_CHARS, ""):
        raise FieldError(f"the server says: {error[:MAX_NAME_CHARS]}")
    text, done, reason = fields.text("text", MAX_TEXT_CHARS), fields.flag("done"), fields.take("reason", "")
    if reason not in REASONS or bool(reason) != done:
        bad("reason", f"one of {', '.join(REASONS[1:])} in a draft that is done, else empty")
    return Draft(
        step=fields.whole("step", 0, MAX_COUNT),
        text=text,
        masked=disjoint(fields.each("masked", MAX_PIECES, lambda raw: span_of("masked", raw, 2, len(text)))),
        confidence=fields.number("confidence", 0, 1),
        forward_passes=fields.whole("passes", 0, MAX_COUNT),
        done=done,
        reason=reason,
        tokens=fields.each("tokens", MAX_PIECES, lambda raw: token_of(raw, len(text))),
    )


def token_of(raw: Any, n_chars: int) -> tuple[int, int, float]:
    """Where a token is in a text, and its probability."""
    return (*span_of("tokens", raw, 3, n_chars), number_of("tokens", raw[2], 0, 1))


def span_of(name: str, raw: Any, n_numbers: int, n_chars: int) -> tuple[int, int]:
    """A stretch of a text of `n_chars` characters."""
    if not isinstance(raw, list) or len(raw) != n_numbers:
        bad(name, f"a list of lists of {n_numbers} numbers")
    start, stop = (whole_of(name, value, 0, n_chars) for value in raw[:2])
    return (start, stop) if start <= stop else bad(name, "stretches of the text")


def disjoint(spans: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """The spans, if they are sorted and none touches another or is empty."""
    ends = [at for span in spans for at in span]
    good = all(a < b for a, b in zip(ends, ends[1:], strict=False))
    return spans if good else bad("masked", "sorted stretches of the text with something between them")


def packed(fields: dict[str, Any]) -> bytes:
    """JSON in UTF-8, which holds no lone surrogates."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
