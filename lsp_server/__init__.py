"""The language server: editor -> protocol -> syntax -> infill request; drafts -> editor."""

__version__ = "0.1.0"
