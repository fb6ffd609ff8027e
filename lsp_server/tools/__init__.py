"""The command line's other commands."""
