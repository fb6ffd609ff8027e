"""`POST /v1/completions` as OpenAI has it, with a `suffix`: for clients that know nothing of drafts.

Rule: pure. The final text alone; what changes nothing here (`top_p`, `user` and others) is not looked at.

    asked = read(b'{"prompt": "x = ", "suffix": ""}'); answer(asked, draft, "embedded", "id", created=0)
"""

from __future__ import annotations

from typing import Any, NamedTuple

from diffusion.fields import Fields, bad, text_of
from diffusion.request import Draft, Hole, InfillRequest
from diffusion.wire import MAX_BODY_BYTES, MAX_COUNT, MAX_HOLE_TOKENS, MAX_NAME_CHARS, MAX_TEXT_CHARS

MAX_STOPS = 16


class Completion(NamedTuple):
    """What is asked for: a request, the model's name, and texts to stop at."""

    request: InfillRequest
    model: str
    stops: tuple[str, ...]


def read(body: bytes) -> Completion:
    """The completion that a body asks for; FieldError says what is wrong with it."""
    fields = Fields.of(body, "the request", MAX_BODY_BYTES)
    if fields.flag("stream", False):
        bad("stream", "false: /v1/infill streams drafts")
    if fields.take("n", 1) not in (None, 1):
        bad("n", "1")
    tokens = fields.take("max_tokens", None)
    most = 16 if tokens is None else n_tokens("max_tokens", tokens)
    request = InfillRequest(
        prefix=fields.text("prompt", MAX_TEXT_CHARS),
        suffix=text_of("suffix", fields.take("suffix", "") or "", MAX_TEXT_CHARS),
        middle=(Hole(min(most, MAX_HOLE_TOKENS), multiline=True),),
        temperature=fields.number("temperature", 0, 10, 0),
        seed=fields.whole("seed", 0, MAX_COUNT, 0),
    )
    return Completion(request, fields.text("model", MAX_NAME_CHARS, ""), stops_of(fields.take("stop", None)))


def n_tokens(name: str, value: Any) -> int:
    """A number of tokens; more than a canvas holds is as much as one holds."""
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    return int(value) if good else bad(name, "a whole number from 1")


def stops_of(raw: Any) -> tuple[str, ...]:
    """Texts to stop at: one, several or none."""
    given = [] if raw is None else [raw] if isinstance(raw, str) else raw
    if not isinstance(given, list) or len(given) > MAX_STOPS:
        bad("stop", f"a text or at most {MAX_STOPS} texts")
    return tuple(text_of("stop", stop, MAX_NAME_CHARS) for stop in given)


def answer(asked: Completion, draft: Draft, model: str, id: str, created: int) -> dict[str, Any]:
    """What is answered."""
    found = [at for stop in asked.stops if stop and (at := draft.text.find(stop)) >= 0]
    text = draft.text[: min(found, default=None)]
    reason = "stop" if found or draft.reason in ("complete", "unsure") else "length"
    return {
        "id": f"cmpl-{id}",
        "object": "text_completion",
        "created": created,
        "model": model,
        "choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": reason}],
        "usage": {"completion_tokens": len(draft.tokens), "forward_passes": draft.forward_passes},
    }
