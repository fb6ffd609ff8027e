"""diffusion/device.py, and that every backend reads a device the same way."""

import pytest

from diffusion.device import parse_device
from diffusion.engine import Engine
from tests.models import SMALL


@pytest.mark.parametrize(
    ("device", "found"),
    [("cpu", ("cpu", 0)), ("cuda", ("cuda", 0)), ("cuda:0", ("cuda", 0)), ("cuda:12", ("cuda", 12))],
)
def test_a_device_is_a_kind_and_a_number(device: str, found: tuple[str, int]) -> None:
    assert parse_device(device) == found


@pytest.mark.parametrize(
    "device", ["", "gpu", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "CUDA", "cuda:1 ", "cudaX", "mps"]
)
@pytest.mark.parametrize("backend", ["auto", "native", "torch"])
def test_any_other_name_is_an_error_that_says_what_is_allowed(device: str, backend: str) -> None:
    with pytest.raises(ValueError, match="none of cpu, cuda, cuda:0"):
        Engine.load(SMALL, device=device, backend=backend)
