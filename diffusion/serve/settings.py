"""The configuration of a model server: one JSON file, every field checked, or the defaults.

Rule: pure but for reading the file. A value that cannot be is one sentence; what a field means is in docs/team.md.

    settings = Settings.read(Path("serve.json")); settings.models[0].replicas
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusion.fields import FieldError, Fields, bad, whole_of
from diffusion.serve.limits import Limits

MAX_BYTES = 1_000_000
MAX_PATH_CHARS = 4096
MAX_MODELS = 64
MAX_BATCH = 64
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}")


@dataclass(frozen=True)
class Model:
    """One model: a name for clients, what it is, and on how much of what it runs.

    `adapter`: a folder that `mezzotint adapt` made for the model; the same model may be there with several.
    `replicas`: the least and the most of them; where they differ, Ray Serve adds and removes replicas by load.
    `cpus`, `gpus`: what one replica takes of the cluster. `target`: requests that a replica has at once, on average;
    with more, a replica is added. `batch`: requests that a replica runs at once, their passes together.
    """

    name: str = "embedded"
    model: str = ""
    adapter: str = ""
    device: str = "cpu"
    threads: int = 0
    replicas: tuple[int, int] = (1, 1)
    cpus: float = 1.0
    gpus: float = 0.0
    target: float = 2.0
    batch: int = 1


@dataclass(frozen=True)
class Settings:
    """All of a server.

    `users`: the file of who may ask; "" makes a token for this process. `cluster`: "" starts one on this machine,
    "auto" joins the one that runs here. `drain_s`: how long a replica that is stopped may finish what it has.
    `by_document`: whether Ray Serve sends the requests of one document to one replica.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    users: str = ""
    allow_remote: bool = False
    cluster: str = ""
    drain_s: int = 20
    by_document: bool = True
    limits: Limits = Limits()
    models: tuple[Model, ...] = (Model(),)

    def __post_init__(self) -> None:
        """Raise FieldError for what would let strangers in."""
        if is_loopback(self.host):
            return
        if not self.allow_remote:
            bad("host", 'a loopback address; "allowRemote": true permits another, for a proxy with TLS in front of it')
        if not self.users:
            raise FieldError("a server that others reach needs a file of users")

    @classmethod
    def read(cls, path: Path) -> Settings:
        """The settings in a file; FieldError says what is wrong with them."""
        with path.open("rb") as file:
            return cls.of(Fields.of(file.read(MAX_BYTES + 1), str(path), MAX_BYTES))

    @classmethod
    def of(cls, fields: Fields) -> Settings:
        """The settings that an object makes."""
        models = fields.each("models", MAX_MODELS, model_of, ({},))
        if len({model.name for model in models}) != len(models) or not models:
            bad("models", "a list of models with different names")
        settings = cls(
            fields.text("host", MAX_PATH_CHARS, cls.host),
            fields.whole("port", 0, 65535, cls.port),
            fields.text("users", MAX_PATH_CHARS, cls.users),
            fields.flag("allowRemote", cls.allow_remote),
            fields.text("cluster", MAX_PATH_CHARS, cls.cluster),
            fields.whole("drainS", 0, 3600, cls.drain_s),
            fields.flag("byDocument", cls.by_document),
            limits_of(fields.take("limits", {})),
            models,
        )
        fields.end("the configuration")
        return settings


def limits_of(raw: Any) -> Limits:
    """What one replica takes on."""
    fields = Fields(raw, "limits")
    limits = Limits(
        fields.whole("waiting", 1, 10_000, Limits.waiting),
        fields.whole("perUser", 1, 10_000, Limits.per_user),
        fields.whole("deadlineMs", 1, 600_000, Limits.deadline_ms),
        fields.whole("contextMb", 1, 10_000_000, Limits.context_mb),
    )
    fields.end("limits")
    return limits


def model_of(raw: Any) -> Model:
    """One model."""
    fields = Fields(raw, "each of models")
    model = Model(
        fields.text("name", 64, Model.name),
        fields.text("model", MAX_PATH_CHARS, Model.model),
        fields.text("adapter", MAX_PATH_CHARS, Model.adapter),
        fields.text("device", 64, Model.device),
        fields.whole("threads", 0, 1024, Model.threads),
        replicas_of(fields.take("replicas", 1)),
        fields.number("cpus", 0, 1024, Model.cpus),
        fields.number("gpus", 0, 64, Model.gpus),
        fields.number("target", 0.1, 10_000, Model.target),
        fields.whole("batch", 1, MAX_BATCH, Model.batch),
    )
    fields.end("a model")
    if not NAME.fullmatch(model.name):
        bad("name", "letters, digits and ._-")
    return model


def replicas_of(raw: Any) -> tuple[int, int]:
    """A number of replicas, or the least and the most."""
    pair = raw if isinstance(raw, list) else [raw, raw]
    if len(pair) != 2:
        bad("replicas", "a number, or the least and the most")
    least, most = (whole_of("replicas", number, 1, 10_000) for number in pair)
    return (least, most) if least <= most else bad("replicas", "the least and the most, in this order")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
