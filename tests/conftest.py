"""Fixtures shared by all tests: the embedded model, loaded once, in float32 so that results are exact."""

from __future__ import annotations

import pytest
import torch

from cuda_ext.reference import Policy
from diffusion.checkpoint import EMBEDDED, load_model
from diffusion.engine import Engine
from diffusion.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(EMBEDDED / "tokenizer.json")


@pytest.fixture
def engine() -> Engine:
    """A fresh engine (empty caches) around the embedded weights."""
    torch.set_num_threads(2)
    model, loaded = load_model(EMBEDDED, torch.float32)
    return Engine(model, loaded, Policy(), {})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """End-to-end tests run last."""
    items.sort(key=lambda item: "e2e" in str(item.path))
