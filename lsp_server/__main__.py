"""`python -m lsp_server` starts the language server, as `mezzotint lsp` does.

Rule: nothing is imported before the current folder has left sys.path. That comes too late for a folder with an
`lsp_server` of its own, which `-m` has then imported already: what starts us for an editor uses launch.py instead.
"""

import os
import sys


def forget_current_folder() -> None:
    """Take away what `-m` put first on sys.path, unless it is where this package lies."""
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if sys.path[0] in ("", os.getcwd()) and os.getcwd() != ours:
        del sys.path[0]


if __name__ == "__main__":
    forget_current_folder()
    from lsp_server.cli import main

    sys.exit(main(["lsp", *sys.argv[1:]]))
