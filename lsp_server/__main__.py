"""`python -m lsp_server` starts the language server, as `mezzotint lsp` does."""

import sys

from lsp_server.cli import main

if __name__ == "__main__":
    sys.exit(main(["lsp", *sys.argv[1:]]))
