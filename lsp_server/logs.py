"""Logging: to stderr, and without source text above debug level.

Rule: pygls puts whole messages into its log records; above debug only their types are kept.
"""

from __future__ import annotations

import logging
import sys


class _NoSourceText(logging.Filter):
    """Replaces what pygls would print of a message by the names of types."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, shortened."""
        if record.name.startswith(("pygls", "lsp_server.transports")) and record.levelno > logging.DEBUG:
            record.args = tuple(_short(arg) for arg in record.args) if isinstance(record.args, tuple) else None
            if record.exc_info and record.exc_info[1] is not None:
                record.msg = f"{record.msg} ({type(record.exc_info[1]).__name__})"
                record.exc_info = record.exc_text = None
        return True


def _short(arg: object) -> object:
    """Return an argument that cannot hold source text."""
    return arg if isinstance(arg, (int, float)) or (isinstance(arg, str) and len(arg) < 60) else type(arg).__name__


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
