"""cuda_ext/cuda: compiles without spills, needs neither torch nor a driver, finds no device where there is none."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cuda_ext.native import Library, Shape

ROOT = Path(__file__).parent.parent
NVCC = os.environ.get("NVCC") or shutil.which("nvcc")
SOURCES = sorted((ROOT / "cuda_ext/cuda").glob("*.cu"))
ARCHITECTURES = ["sm_80", "sm_86", "sm_89", "sm_90a", "sm_100", "sm_120"]

pytestmark = pytest.mark.skipif(NVCC is None, reason="no nvcc: the CUDA sources were NOT compiled")


def compile_library(out: Path, architectures: list[str]) -> str:
    """Build the library for some architectures; returns what ptxas says."""
    flags = ["-std=c++17", "-O3", "-shared", "-cudart", "static", "-t", "2", "-Xptxas", "-v"]
    host = ["-Xcompiler", "-fPIC,-fvisibility=hidden,-Wall,-Wextra,-Werror"]
    include = [f"-I{ROOT / 'cuda_ext' / part}" for part in ("include", "")]
    targets = [f"-gencode=arch={name.replace('sm', 'compute')},code={name}" for name in architectures]
    command = [str(NVCC), *flags, *host, *include, *targets, *map(str, SOURCES), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower(), done.stderr
    return done.stderr


def check_spills(report: str) -> None:
    spills = re.findall(r"Function properties for (\S+)\n.*?(\d+) bytes spill stores, (\d+) bytes spill loads", report)
    assert spills
    assert [name for name, stores, loads in spills if int(stores) or int(loads)] == []


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cuda") / "libmezzotint_cuda.so"
    check_spills(compile_library(out, [os.environ.get("MEZZOTINT_CUDA_ARCH", "sm_90a")]))
    return out


@pytest.mark.slow
def test_loads_without_torch_and_without_a_driver(library: Path) -> None:
    needed = subprocess.run(["ldd", library], capture_output=True, text=True, check=True).stdout
    assert "torch" not in needed and "libcuda" not in needed and "not found" not in needed
    undefined = subprocess.run(["nm", "-D", "-u", library], capture_output=True, text=True, check=True).stdout
    assert not re.search(r"\b(cu[A-Z]\w+|c10\w*|at::\w+)", undefined)


@pytest.mark.slow
def test_says_what_it_finds(library: Path) -> None:
    loaded = Library(library, "cuda")
    if loaded.target:
        assert re.fullmatch(r"cuda sm_\d+", loaded.target)
    else:
        shape = Shape(300, 64, 1, 1, 1, 64, 64, 0, 1, 1, 1e4, 1e-6)
        assert loaded.raw.mz_model_create(ctypes.byref(shape), 0, 0, 1) is None
        assert "no CUDA device" in loaded.error() or "no kernels" in loaded.error()


@pytest.mark.slow
def test_exports_the_interface_alone(library: Path) -> None:
    exported = subprocess.run(
        ["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True
    ).stdout
    names = [line.split()[-1] for line in exported.splitlines()]
    assert "mz_run_start" in names
    inlined = re.compile(r"_Z\w*St\w*")  # of the C++ library, weak
    assert [name for name in names if not name.startswith("mz_") and not inlined.match(name)] == []


@pytest.mark.skipif(not os.environ.get("MEZZOTINT_CUDA_ALL"), reason="MEZZOTINT_CUDA_ALL is not set")
@pytest.mark.slow
def test_compiles_for_every_architecture(tmp_path: Path) -> None:
    check_spills(compile_library(tmp_path / "libmezzotint_cuda.so", ARCHITECTURES))
