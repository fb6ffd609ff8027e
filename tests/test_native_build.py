"""CMakeLists.txt: what must be true of the objects, not of what they compute."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CXX = shutil.which("c++") or shutil.which("g++")


@pytest.mark.skipif(
    CXX is None or shutil.which("nm") is None, reason="no C++ compiler: the CPU kernels were NOT compiled"
)
@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_kernels_share_no_function_between_instruction_sets(tmp_path: Path, level: str) -> None:
    """A weak symbol would be linked once for all: with AVX-512 inside, on processors that have none."""
    out = tmp_path / "kernels.o"
    command = [str(CXX), "-std=c++20", level, "-fopenmp-simd", "-DMZ_VARIANT=portable", "-c", "-o", str(out)]
    sources = [f"-I{ROOT / 'cuda_ext/include'}", str(ROOT / "cuda_ext/cpu/kernels.cpp")]
    subprocess.run(command + sources, check=True)
    symbols = subprocess.run(["nm", "-C", str(out)], capture_output=True, text=True, check=True).stdout
    assert "mz_kernels_portable" in symbols
    assert [line for line in symbols.splitlines() if " W " in line] == []
