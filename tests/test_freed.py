"""lsp_server/freed: memory is given back where the C library can do it, and nothing happens elsewhere."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from lsp_server import freed


@pytest.fixture(autouse=True)
def looked_for_anew() -> Iterator[None]:
    freed._found.cache_clear()
    yield
    freed._found.cache_clear()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_glibc_gives_memory_back() -> None:
    assert freed.give_back()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_large_piece_is_given_back_when_it_is_freed_whatever_was_freed_before() -> None:
    """In a process of its own: the setting is the whole process's."""
    program = """if True:
        import ctypes, os, sys
        from lsp_server import freed
        if sys.argv[1] == "apart":
            assert freed.keep_large_apart()
        malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
        malloc.argtypes, malloc.restype, free.argtypes = [ctypes.c_size_t], ctypes.c_void_p, [ctypes.c_void_p]
        free(malloc(30_000_000))  # from now on glibc would take what is smaller from its heap
        pieces = [malloc(1_000_000) for _ in range(40)]
        for piece in pieces[:-1]:
            ctypes.memset(piece, 1, 1_000_000)
            free(piece)
        print(int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE"))
    """
    sizes = {
        how: int(
            subprocess.run([sys.executable, "-c", program, how], capture_output=True, text=True, check=True).stdout
        )
        for how in ("apart", "as it is")
    }
    assert sizes["as it is"] - sizes["apart"] > 30_000_000


def test_where_the_c_library_cannot_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freed.ctypes, "CDLL", lambda name: SimpleNamespace())
    assert not freed.give_back() and not freed.keep_large_apart()


def test_on_another_system_it_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert not freed.give_back() and not freed.keep_large_apart()
