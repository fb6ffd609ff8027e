"""lsp_server/freed: memory is given back where the C library can do it, and nothing happens elsewhere."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from lsp_server import freed


@pytest.fixture(autouse=True)
def looked_for_anew() -> Iterator[None]:
    freed._trim.cache_clear()
    yield
    freed._trim.cache_clear()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_glibc_gives_memory_back() -> None:
    assert freed.give_back()


def test_where_the_c_library_cannot_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freed.ctypes, "CDLL", lambda name: SimpleNamespace())
    assert not freed.give_back()


def test_on_another_system_it_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert not freed.give_back()
