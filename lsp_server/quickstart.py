"""Imports lsprotocol in a third of its usual time, so that `initialize` is answered sooner.

Rule: import this module before anything that imports lsprotocol; it does nothing if that already happened.
lsprotocol defines 550 attrs classes; most of its import time is compiling `__repr__`, `__eq__`, slots and setters that
a server never uses, and collecting garbage that is not there.

    from lsp_server import quickstart  # noqa: F401  (first)
    from lsprotocol import types
"""

from __future__ import annotations

import functools
import gc
import sys

import attrs


def _import_lsprotocol() -> None:
    """Import lsprotocol.types and the pygls server with lean attrs classes and no garbage collection."""
    define = attrs.define
    collecting = gc.isenabled()
    gc.disable()
    attrs.define = functools.partial(define, repr=False, eq=False, slots=False, on_setattr=[])  # type: ignore
    try:
        import lsprotocol.types  # noqa: F401
    finally:
        attrs.define = define
    import pygls.lsp.server  # noqa: F401

    gc.freeze()
    if collecting:
        gc.enable()


if "lsprotocol.types" not in sys.modules:
    _import_lsprotocol()
