"""The option `remote`: a model server of the team, and the model on this machine for when that is away.

Rule: what is wrong with the option is one ValueError, said before anything is sent. The token is in a file that only
its owner may read, or in the environment; it is never an option, a log line or part of a URL.

    engine = load(partial(load_engine), options)    # without `remote`, what load_engine gives
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lsp_server.admission import read_token
from lsp_server.options import Options

if TYPE_CHECKING:
    from diffusion.backends.remote import RemoteEngine
    from lsp_server.worker import Infiller

VARIABLE = "MEZZOTINT_REMOTE_TOKEN"


def load(load_local: Callable[[Options], Infiller], options: Options) -> Infiller:
    """The engine that the options name, in the model thread; ValueError says what is wrong with them."""
    if not options.remote:
        return load_local(options)
    from diffusion.backends.fallback import Fallback

    engine = Fallback(remote_engine(options), lambda: load_local(options))
    engine.start()
    return engine


def remote_engine(options: Options) -> RemoteEngine:
    """The model server, not asked yet."""
    from diffusion.backends.link import Address, Link
    from diffusion.backends.remote import RemoteEngine

    return RemoteEngine(Link(Address.of(options.remote), token_of(options)), options.remote_patience_ms)


def token_of(options: Options) -> str:
    """The token to show; ValueError where there is none."""
    if options.remote_token_file:
        try:
            return read_token(Path(options.remote_token_file).expanduser())
        except OSError as error:
            raise ValueError(f"remoteTokenFile {options.remote_token_file}: {error.strerror}") from None
    if token := os.environ.get(VARIABLE, "").strip():
        return token
    raise ValueError(f"remote {options.remote} needs a token: in the file remoteTokenFile, or in {VARIABLE}")


def what_is_sent(options: Options) -> Iterator[str]:
    """What leaves this machine, a sentence each."""
    yield f"up to {options.max_prefix_chars:,} characters before the cursor and {options.max_suffix_chars:,} behind it"
    if options.other_files:
        yield "parts of other open files of the same language and far parts of this one, as many as the model sees"
    yield "the text that is suggested already, the language, how long to wait; no file names, no whole files"
    yield "never files that are secret by name or content, or that git ignores unless you ask by hand in one"
