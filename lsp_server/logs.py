"""Logging: to stderr, and without source text above debug level.

Rule: an argument that may hold text becomes the name of its type, an exception the name of its type and where it was
raised: its message may quote a document. At debug level everything is written.

    to_stderr("info"); logging.getLogger("lsp_server.x").error("failed", exc_info=error)
"""

from __future__ import annotations

import logging
import os
import sys
import traceback

OTHERS = ("pygls", "asyncio", "websockets")  # whose records may hold whole messages


class _NoSourceText(logging.Filter):
    """Shortens what could hold a document's text."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, shortened unless the level is debug."""
        if record.levelno <= logging.DEBUG or logging.root.isEnabledFor(logging.DEBUG):
            return True
        if record.name.startswith(OTHERS):
            if not record.args:  # asyncio writes on further lines what a task came to
                record.msg = str(record.msg).split("\n")[0]
            record.args = tuple(_short(arg) for arg in record.args) if isinstance(record.args, tuple) else None
        if record.exc_info and record.exc_info[1] is not None:
            record.msg = f"{record.getMessage()} ({_without_message(record.exc_info[1])})"
            record.args, record.exc_info, record.exc_text = None, None, None
        return True


def _short(arg: object) -> object:
    """Return an argument that cannot hold source text."""
    return arg if isinstance(arg, (int, float, type)) else type(arg).__name__


def _without_message(error: BaseException) -> str:
    """Return the type of an exception, and where it was raised."""
    places = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    return ", ".join([type(error).__name__, *reversed(places)])


def to_stderr(level: str) -> None:
    """Log to stderr. pygls reports every message at info level; that is debug for us."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(_NoSourceText())
    logging.root.handlers[:] = [handler]
    set_level(level)


def set_level(level: str | None) -> None:
    """Set the level; None leaves it."""
    if level is not None:
        number = logging.getLevelName(level.upper())
        logging.root.setLevel(number)
        logging.getLogger("pygls").setLevel(number if number != logging.INFO else logging.WARNING)


def end() -> None:
    """Drop what a full disk did not take of the log; else Python, which would write it last of all, ends with 120."""
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
