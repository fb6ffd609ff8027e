"""Packages that not everybody needs: which extra of Mezzotint brings each, as one sentence for a user.

pip install 'mezzotint[torch]'
"""

from __future__ import annotations

EXTRA_OF = {
    "torch": "torch", "datasketch": "train", "packaging": "train", "gguf": "peers", "llama_cpp": "peers",
    "huggingface_hub": "hub", "ray": "serve", "starlette": "serve", "uvicorn": "serve",
}  # fmt: skip


def missing(what: str, package: str, extra: str = "") -> str:
    """The sentence that says what to install; `what` names what cannot run."""
    return f"{what} needs {package}, which is not installed: pip install 'mezzotint[{extra or EXTRA_OF[package]}]'"


def no_backend(reason: str) -> str:
    """The same where neither the native library (for this reason) nor torch can run the model."""
    return f"nothing here can run the model ({reason}; torch is not installed): pip install 'mezzotint[torch]'"
