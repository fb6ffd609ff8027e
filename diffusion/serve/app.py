"""The model server as an ASGI application: routes, who may ask, and what is said to those who may not.

    replica = Replica(engine, limits, metrics); replica.start()
    app = App(replica, users, "embedded"); uvicorn.run(app.asgi)      # or a replica of Ray Serve

Rule: nothing here knows Ray or which server runs it. Every refusal is an HTTP status and one sentence; bodies are
bounded before they are read; whatever comes, the next request is answered.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from diffusion import wire
from diffusion.fields import FieldError, shown
from diffusion.request import Draft
from diffusion.serve import completions
from diffusion.serve.limits import RETRY_S, Refused
from diffusion.serve.replica import NO_TIME, EngineFailedError, Job, Replica
from diffusion.serve.stream import Lines, while_there
from diffusion.serve.users import Users

logger = logging.getLogger(__name__)

BODY_S = 10.0  # how long a body may take to come
REPLICA_HEADER = "Mezzotint-Replica"
NO_TOKEN = "a token is needed: Authorization: Bearer TOKEN"
WRONG_TOKEN = "this token is nobody's; who runs the server gives you another"


class App:
    """One replica's answers over HTTP."""

    def __init__(self, replica: Replica, users: Users, model: str, name: str = "") -> None:
        self.replica, self.users, self.model = replica, users, model
        self.headers = {wire.VERSION_HEADER: str(wire.VERSION), REPLICA_HEADER: name or str(os.getpid())}
        routes: list[tuple[str, str, Callable[[Request, str], Awaitable[Any]]]] = [
            ("POST", "/v1/infill", self.infill),
            ("POST", "/v1/prepare", self.prepare),
            ("POST", "/v1/completions", self.complete),
            ("GET", "/v1/models", self.models),
            ("GET", "/metrics", self.metrics),
        ]
        self.asgi = Starlette(
            routes=[
                Route("/healthz", self.health, methods=["GET"]),
                *(Route(path, self.guarded(answer), methods=[method]) for method, path, answer in routes),
            ],
            exception_handlers={HTTPException: self.refuse, Exception: self.fail},
        )

    def guarded(self, answer: Callable[[Request, str], Awaitable[Any]]) -> Callable[[Request], Awaitable[Any]]:
        """A route that only users reach, and whose refusals are sentences."""

        async def guarded(request: Request) -> Any:
            try:
                return await answer(request, self.user_of(request))
            except Refused as error:
                return self.said(error.status, error.why)
            except FieldError as error:
                return self.said(400, str(error))
            except EngineFailedError as error:
                return self.said(500, str(error))
            except ClientDisconnect:
                return self.said(499, "the client has gone")

        return guarded

    def user_of(self, request: Request) -> str:
        """Who asks; Refused if nobody whom we know, or in a version that we do not speak."""
        authorization = request.headers.get("authorization", "")
        user = self.users.name_of(authorization)
        if user is None:
            raise Refused(401, WRONG_TOKEN if authorization else NO_TOKEN)
        version = request.headers.get(wire.VERSION_HEADER, str(wire.VERSION))
        if version != str(wire.VERSION):
            raise Refused(400, f"this server speaks version {wire.VERSION} of the protocol, not {shown(version)}")
        return user

    def of_model(self, name: str) -> None:
        """Refused if another model is wanted than the one that is here."""
        if name not in ("", self.model):
            raise Refused(404, f"the model here is {self.model!r}, not {shown(name)}; /v1/models lists it")

    async def infill(self, request: Request, user: str) -> Response:
        """Drafts, a line each."""
        asked = wire.read_request(await body_of(request, wire.MAX_BODY_BYTES))
        self.of_model(asked.model)
        document = request.headers.get(wire.DOCUMENT_HEADER, "")
        return Lines(drafts_of(self.replica.submit(asked.request, user, document=document)), self.headers)

    async def prepare(self, request: Request, user: str) -> Response:
        """Encode a context ahead of time; nothing where something else is to be done."""
        asked = wire.read_request(await body_of(request, wire.MAX_BODY_BYTES))
        self.of_model(asked.model)
        await while_there(request.receive, last_of(self.replica.submit(asked.request, user, ahead=True)))
        return Response(status_code=204, headers=self.headers)

    async def complete(self, request: Request, user: str) -> Response:
        """The final text alone, as OpenAI's completions with a suffix."""
        asked = completions.read(await body_of(request, wire.MAX_BODY_BYTES))
        self.of_model(asked.model)
        last = await while_there(request.receive, last_of(self.replica.submit(asked.request, user)))
        return self.json(completions.answer(asked, last, self.model, uuid.uuid4().hex, int(time.time())))

    async def models(self, request: Request, user: str) -> Response:
        """The model that is here, and what a client must know of it."""
        told = {name: value for name, value in self.replica.engine.info.items() if name in TOLD}
        model = {"id": self.model, "object": "model", "created": 0, "owned_by": "mezzotint", "info": told}
        return self.json({"object": "list", "data": [model]})

    async def metrics(self, request: Request, user: str) -> Response:
        """What this replica counted."""
        return PlainTextResponse(self.replica.metrics.text(), headers=self.headers)

    async def health(self, request: Request) -> Response:
        """Whether requests are answered."""
        return self.json({"ok": True}) if self.replica.is_well else self.said(503, "the engine's thread has ended")

    def json(self, content: object, status: int = 200) -> Response:
        """An object as the answer."""
        return JSONResponse(content, status, self.headers)

    def said(self, status: int, why: str) -> Response:
        """A refusal."""
        response = self.json({"error": {"message": why}}, status)
        if status in (429, 503):
            response.headers["Retry-After"] = str(RETRY_S)
        return response

    def refuse(self, request: Request, error: Exception) -> Response:
        """What a route that is not there says."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        return self.said(status, {404: "there is nothing here", 405: "not with this method"}.get(status, str(error)))

    def fail(self, request: Request, error: Exception) -> Response:
        """What nobody foresaw; the log says more."""
        return self.said(500, "the server failed on this request; its log says how")


TOLD = ("policy", "other_tokens", "adapter", "max_context", "parameters", "weights", "device", "backend", "precision")


async def last_of(job: Job) -> Draft:
    """A job's last draft, an empty one if there is none."""
    last = NO_TIME
    async for draft in job.drafts():
        last = draft
    return last


async def drafts_of(job: Job) -> AsyncIterator[bytes]:
    """A job's drafts as lines; the last one says what it cost."""
    drafts = job.drafts()
    try:
        async for draft in drafts:
            line = wire.draft_line(draft)
            if draft.done:
                cost = {"contextTokens": job.context_tokens, "encodedTokens": job.encoded_tokens}
                cost_of = json.dumps({**cost, "waitedMs": round(job.waited_s * 1000, 1)})
                line = line[:-2] + b',"cost":' + cost_of.encode() + b"}\n"
            yield line
    except EngineFailedError as error:
        yield wire.error_line(str(error))
    finally:
        await drafts.aclose()  # type: ignore[attr-defined]


async def body_of(request: Request, most: int) -> bytes:
    """A body of at most `most` bytes; Refused if it is larger, or does not come."""
    too_large = Refused(413, f"the request is larger than {most:,} bytes")
    if (length := request.headers.get("content-length", "0")).isdecimal() and int(length[:20]) > most:
        raise too_large
    body = bytearray()

    async def read() -> None:
        async for chunk in request.stream():
            body.extend(chunk)
            if len(body) > most:
                raise too_large

    try:
        await asyncio.wait_for(read(), BODY_S)
    except asyncio.TimeoutError:
        raise Refused(408, f"the request did not come within {BODY_S:g} seconds") from None
    return bytes(body)
