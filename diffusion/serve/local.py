"""The model server in one process, without a cluster: for trying, for tests and for a team of a few.

Rule: the same application as on Ray Serve; only who runs it differs. The port that was bound is printed on stderr.

    run(Settings(), token="...")    # until SIGINT or SIGTERM; streams that run are finished first
"""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from diffusion.model.memory import context_bytes
from diffusion.serve.app import App
from diffusion.serve.limits import Limits
from diffusion.serve.metrics import Metrics
from diffusion.serve.replica import Engine, Replica
from diffusion.serve.settings import Model, Settings
from diffusion.serve.users import Users

Load = Callable[[Model], Engine]


def load_engine(model: Model) -> Engine:
    """The engine of a model; ValueError says what is wrong with it."""
    from diffusion import engine
    from diffusion.hub.cache import folder_of

    folder, adapter = folder_of(model.model), Path(model.adapter) if model.adapter else None
    return engine.Engine.load(folder, device=model.device, threads=model.threads or None, adapter=adapter)


def build(model: Model, limits: Limits, users: Users, load: Load = load_engine, name: str = "") -> App:
    """One replica and its application; the engine is loaded here."""
    engine = load(model)
    budget(engine, limits.context_mb, model.batch)
    replica = Replica(engine, limits, Metrics(), model.batch)
    replica.start()
    return App(replica, users, model.name, name)


def budget(engine: Engine, megabytes: int, least: int) -> None:
    """Let an engine keep as many contexts as fit into so much memory, and one for each request that runs."""
    from diffusion import engine as engines

    if isinstance(engine, engines.Engine):
        engine.contexts.most = max(least, megabytes * 1_000_000 // context_bytes(engine.backend.config))


def users_of(settings: Settings, token: str) -> Users:
    """Those of the file, or who knows the token."""
    return Users.read(Path(settings.users)) if settings.users else Users.one(token)


def run(settings: Settings, token: str, load: Load = load_engine) -> None:
    """Answer until the process is told to end."""
    import uvicorn

    if len(settings.models) > 1:
        raise ValueError("one process serves one model; a cluster serves several")
    users = users_of(settings, token)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    bound = socket.create_server((settings.host, settings.port), family=family, backlog=256)
    app = build(settings.models[0], settings.limits, users, load)
    config = uvicorn.Config(
        app.asgi,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=settings.drain_s,
        timeout_keep_alive=600,
        h11_max_incomplete_event_size=65_536,
        server_header=False,
    )
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn drains, then raises it again: then it is not to kill
    print(f"mezzotint serve: http://{settings.host}:{bound.getsockname()[1]}", file=sys.stderr, flush=True)
    try:
        uvicorn.Server(config).run(sockets=[bound])
    finally:
        app.replica.end()
