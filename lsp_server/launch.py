"""Command lines that start this program and run no code of the folder they are started in.

Rule: never `python -m` and never a bare `python -c`: both put the current folder first on sys.path, and editors start a
server in the folder that the user opened, whose `argparse.py` would then run. `-I` leaves that folder out.

    subprocess.Popen(isolated("lsp", "--stdio"))
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # last on sys.path: -I does not look into a user's own site-packages
START = f"import sys; sys.path.append({str(ROOT)!r}); from lsp_server.cli import main; sys.exit(main())"


def isolated(*arguments: str) -> list[str]:
    """`mezzotint ARGUMENTS` by this interpreter and this very package."""
    return [sys.executable, "-I", "-c", START, *arguments]


def server_command() -> list[str]:
    """The server's command line with an absolute path: an editor need not have this shell's PATH."""
    folders = [str(Path(sys.executable).parent), *filter(os.path.isabs, os.get_exec_path())]
    script = shutil.which("mezzotint", path=os.pathsep.join(folders))
    return [script, "lsp"] if script else isolated("lsp")
