"""Fixtures shared by all tests: the embedded model, loaded once, in float32 so that results are exact.

Rule: torch is imported by the fixtures that need it; `make test-lowest` runs where there is none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import cast

import pytest

from cuda_ext import native
from cuda_ext.rules import Policy
from diffusion.engine import Engine
from diffusion.tokenizer import Tokenizer
from tests import fuzzing
from tests.emulated import emulated, emulated_folder  # noqa: F401
from tests.models import SMALL


@pytest.fixture(scope="session", autouse=True)
def no_configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the developer has configured for their own editors is not tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(SMALL / "tokenizer.json")


@pytest.fixture
def engine() -> Engine:
    """A fresh engine (empty caches) around the embedded weights, which starts from masks."""
    import torch

    from diffusion.backends.torch import TorchBackend
    from diffusion.model.load import load_model

    torch.set_num_threads(2)
    model, loaded = load_model(SMALL, torch.float32)
    return from_masks(Engine(TorchBackend(model), loaded, Policy(), {}))


def from_masks(engine: Engine) -> Engine:
    """The engine, recalling nothing."""
    engine.recall_above = 1.0
    return engine


@pytest.fixture(params=["torch", "native"])
def any_engine(request: pytest.FixtureRequest) -> Engine:
    """A fresh engine around the embedded weights, on each backend that runs here."""
    if request.param == "torch":
        return cast(Engine, request.getfixturevalue("engine"))
    if native.why_not("cpu"):
        pytest.skip(f"native backend: {native.why_not('cpu')}")
    return from_masks(Engine.load(SMALL, backend="native"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """End-to-end tests run last."""
    items.sort(key=lambda item: "e2e" in str(item.path))


def pytest_sessionfinish() -> None:
    """Say how much was tried, where `make fuzz` asks."""
    if fuzzing.TIMES:
        print(f"\nfuzzed {json.dumps(fuzzing.COUNTS)}")
