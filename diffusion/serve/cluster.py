"""The model server as an application of Ray Serve: replicas, autoscaling, draining, and a document's requests together.

Rule: nothing about answering a request is here; a replica is `local.build`, as in one process. Which replica gets a
request is Ray Serve's own `ConsistentHashRouter` to decide: by the header `X-Session-Id`, in which a client names the
document (hashed). Ray sends nothing about its use to anybody.

    run(Settings.read(Path("serve.json")), token="")
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from diffusion.serve.local import Load, build, load_engine, users_of
from diffusion.serve.metrics import COUNTER, METRICS, PREFIX, Metrics
from diffusion.serve.settings import Model, Settings

ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
COUNTS_S = 5.0  # between two reports to Ray's metrics
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1"}
HEALTH_S = 1.0  # how often a health check asks
LOGS = {"log_level": "WARNING", "enable_access_log": False}  # a line a request would fill the disk of whoever has many


class TeamReplica:
    """One replica of a model, as Ray Serve makes it."""

    def __init__(self, model: Model, settings: Settings, token: str, load: Load) -> None:
        from ray import serve

        name = f"{serve.get_replica_context().replica_id.unique_id}.{os.getpid()}"
        self.service = build(model, settings.limits, users_of(settings, token), load, name)
        self.reporting: asyncio.Task[None] | None = None

    async def __serve_build_asgi_app__(self) -> Any:
        """What answers requests (called by Ray Serve)."""
        self.reporting = asyncio.ensure_future(report(self.service.replica.metrics))
        return self.service.asgi

    def check_health(self) -> None:
        """Raise if this replica has to be replaced (called by Ray Serve)."""
        if not self.service.replica.is_well:
            raise RuntimeError("the engine's thread has ended")


async def report(metrics: Metrics) -> None:
    """Say now and then what was counted; Prometheus reads it from Ray's own port on every node."""
    from ray.serve import metrics as theirs

    names = list(metrics.values)
    kinds = {name: theirs.Counter if METRICS[name].kind == COUNTER else theirs.Gauge for name in names}
    told = {name: kinds[name](PREFIX + name, description=METRICS[name].help) for name in names}
    before = dict.fromkeys(names, 0.0)
    while True:
        await asyncio.sleep(COUNTS_S)
        now = dict(metrics.values)
        for name, metric in told.items():
            if kinds[name] is theirs.Gauge:
                metric.set(now[name])
            elif now[name] > before[name]:
                metric.inc(now[name] - before[name])
        before = now


def application(model: Model, settings: Settings, token: str = "", load: Load = load_engine) -> Any:
    """A model as an application of Ray Serve."""
    from ray import serve
    from ray.serve.config import AutoscalingConfig, RequestRouterConfig

    least, most = model.replicas
    scaling: dict[str, Any] = {"num_replicas": least}
    if most > least:
        scaling = {
            "autoscaling_config": AutoscalingConfig(
                min_replicas=least, max_replicas=most, target_ongoing_requests=model.target
            )
        }
    if settings.by_document:
        scaling["request_router_config"] = RequestRouterConfig(request_router_class=ROUTER)
    deployment = serve.deployment(
        serve.ingress()(TeamReplica),
        name=model.name,
        ray_actor_options={"num_cpus": model.cpus, "num_gpus": model.gpus},
        max_ongoing_requests=settings.limits.waiting + model.batch,
        max_queued_requests=2 * settings.limits.waiting,
        graceful_shutdown_timeout_s=settings.drain_s,
        graceful_shutdown_wait_loop_s=1,
        health_check_period_s=HEALTH_S,
        logging_config=LOGS,
        **scaling,
    )
    return deployment.bind(model, settings, token, load)


def from_file(args: dict[str, str]) -> Any:
    """The application for a Serve configuration (KubeRay); `args` name the file, and the model where it has several."""
    settings = Settings.read(Path(args["config"]))
    wanted = args.get("model", settings.models[0].name)
    return application(next(model for model in settings.models if model.name == wanted), settings)


def run(settings: Settings, token: str, load: Load = load_engine) -> None:
    """Serve until the process is told to end; a cluster that was started here ends with it."""
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    import ray
    from ray import serve

    users_of(settings, token)  # what is wrong with the file is said before a cluster is started
    ray.init(address=settings.cluster or "local", include_dashboard=False, log_to_driver=False, logging_level="warning")
    try:
        serve.start(http_options={"host": settings.host, "port": settings.port}, logging_config=LOGS)
        several = len(settings.models) > 1
        for model in settings.models:
            prefix = f"/{model.name}" if several else "/"
            serve.run(application(model, settings, token, load), name=model.name, route_prefix=prefix)
        print(f"mezzotint serve: http://{settings.host}:{settings.port}", file=sys.stderr, flush=True)
        wait_for_the_end()
        for model in settings.models:
            serve.delete(model.name)  # its replicas finish what they have; a shutdown alone would cut streams off
    finally:
        serve.shutdown()
        ray.shutdown()


def wait_for_the_end() -> None:
    """Return on SIGINT or SIGTERM."""
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    while not told.wait(1):
        pass
