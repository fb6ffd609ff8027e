"""CMakeLists.txt: what must be true of the objects, not of what they compute."""

from __future__ import annotations

import os
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


@pytest.mark.skipif(CXX is None or shutil.which("cmake") is None, reason="no C++ compiler or no cmake")
@pytest.mark.parametrize(
    ("option", "compiler", "status", "says"),
    [
        ("-DMZ_NATIVE=ON", "/bin/false", 1, "does not work"),
        ("-DMZ_NATIVE=OFF", "/bin/false", 0, "torch runs the model"),
    ],
)
def test_a_compiler_that_does_not_work_is_an_error_unless_none_is_wanted(
    tmp_path: Path, option: str, compiler: str, status: int, says: str
) -> None:
    command = ["cmake", "-S", ROOT, "-B", tmp_path, "-DMZ_CUDA=OFF", option]
    done = subprocess.run(command, env={**os.environ, "CXX": compiler}, capture_output=True, text=True)
    assert done.returncode == status
    assert says in done.stdout + done.stderr


@pytest.mark.skipif(CXX is None or shutil.which("cmake") is None, reason="no C++ compiler or no cmake")
@pytest.mark.parametrize("named", [None, f"{CXX} -O1"])
def test_a_compiler_is_found_where_the_environment_names_none_or_one_with_flags(
    tmp_path: Path, named: str | None
) -> None:
    env = {name: value for name, value in os.environ.items() if name != "CXX"} | ({"CXX": named} if named else {})
    command = ["cmake", "-S", ROOT, "-B", tmp_path, "-DMZ_CUDA=OFF"]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
