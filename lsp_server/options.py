"""The server's options: one frozen dataclass, read from `initializationOptions` (camelCase).

Rule: a bad value never stops the server; it is reported in words for the user and the default is used.

    options, problems = from_client({"drafts": True, "deadlineMs": "soon"})
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

LOG_LEVELS = ("debug", "info", "warning", "error")
WANTED = ("on", "manual", "off")
OF_THE_MODEL = (  # another value loads the model anew
    *("model", "adapter", "device", "threads", "refresh"),
    *("remote", "remote_token_file", "remote_patience_ms"),
)


def _number(default: int, low: int, high: int) -> Any:
    """Declare a whole-number option with its allowed range."""
    return field(default=default, metadata={"range": (low, high)})


def _choice(default: str, *choices: str) -> Any:
    """Declare a text option with its allowed values."""
    return field(default=default, metadata={"choices": choices})


@dataclass(frozen=True)
class Options:
    """Everything a user can set, with defaults.

    Attributes:
        drafts: send `mezzotint/draft` notifications while denoising.
        status: send `mezzotint/status` notifications.
        model: a model folder, a file in one, or a name (`mezzotint models list`); "" is the embedded model.
        adapter: a folder that `mezzotint adapt` made for the model; "" is none.
        device: where the model runs: cpu, cuda or cuda:N.
        threads: CPU threads of the model; 0 leaves the choice to the engine.
        refresh: steps from one full pass to the next, of models that fill in place; 1 is exact, 0 is as the model says.
        remote: URL of a model server to ask instead; "" asks none, and nothing leaves the machine.
        remote_token_file: file with the token for it; "" takes the environment's MEZZOTINT_REMOTE_TOKEN.
        remote_patience_ms: wait so long for its first draft, then for the model on this machine.
        deadline_ms: longest time for one completion; 0 means no deadline.
        max_tokens: largest canvas, in tokens.
        max_prefix_chars: text before the cursor that the model may see.
        max_suffix_chars: text after the cursor that the model may see.
        max_file_bytes: larger files get no completions.
        multiline: "auto" offers several lines where a statement may begin; "never" does not.
        comments: complete in comments and docstrings: "on", "manual" (when the user asks by hand) or "off".
        strings: complete in strings, likewise.
        encode_ahead: encode a file's context when it is opened, and where the cursor rests.
        min_confidence_percent: show only text that is correct with at least this estimated probability; 0: all.
        candidates: most suggestions for a request that the user made by hand.
        live_canvas: start from the last draft while the user types, not from masks.
        syntax_feedback: denoise again what breaks the parse.
        other_files: let the model see parts of other open files, and far parts of this one.
        draft_delay_ms: wait between drafts, for demonstrations and screenshots.
        disabled_languages: LSP language ids that get no completions.
        schemes: URI schemes that are served besides file, untitled, notebook cells, vscode-vfs and vscode-remote.
        secret_patterns: globs of names, or with a slash of ends of paths, that are secret besides the known ones.
        log_level: how much is written to stderr; `--log-level` on the command line holds against it.
    """

    drafts: bool = False
    status: bool = False
    model: str = ""
    adapter: str = ""
    device: str = "cpu"
    threads: int = _number(0, 0, 1024)
    refresh: int = _number(0, 0, 1024)
    remote: str = ""
    remote_token_file: str = ""
    remote_patience_ms: int = _number(1000, 50, 60_000)
    deadline_ms: int = _number(3000, 0, 600_000)
    max_tokens: int = _number(64, 1, 128)
    max_prefix_chars: int = _number(8000, 200, 1_000_000)
    max_suffix_chars: int = _number(4000, 0, 1_000_000)
    max_file_bytes: int = _number(1_000_000, 1, 100_000_000)
    multiline: str = _choice("auto", "auto", "never")
    comments: str = _choice("manual", *WANTED)
    strings: str = _choice("on", *WANTED)
    encode_ahead: bool = True
    min_confidence_percent: int = _number(40, 0, 100)
    candidates: int = _number(2, 1, 8)
    live_canvas: bool = True
    syntax_feedback: bool = True
    other_files: bool = True
    draft_delay_ms: int = _number(0, 0, 10_000)
    disabled_languages: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()
    secret_patterns: tuple[str, ...] = ()
    log_level: str = _choice("info", *LOG_LEVELS)


def camel(name: str) -> str:
    """Return the name an option has in `initializationOptions`: max_tokens -> maxTokens."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def from_client(raw: object, initial: Options | None = None, now: Options | None = None) -> tuple[Options, list[str]]:
    """Read `initializationOptions`, or later settings; return the options and a sentence for each thing that was wrong.

    What `raw` leaves out is as in `initial`, and what is wrong as in `now`; both are the defaults at the start.
    """
    initial, stays = initial or Options(), "stays" if now else "is used"
    now = now or initial
    if raw is None:
        return initial, []
    if not isinstance(raw, dict):
        return now, [f"The options must be an object, not {type(raw).__name__}; what they were {stays}."]
    problems = []
    values: dict[str, Any] = {}
    fields = {camel(spec.name): spec for spec in dataclasses.fields(Options)}
    for key, value in raw.items():
        spec = fields.get(str(key))
        if spec is None:
            problems.append(f"Unknown option {key!r}.")
        elif wanted := _complaint(spec, value):
            old = values[spec.name] = getattr(now, spec.name)
            which = "" if stays == "stays" else "the default "
            problems.append(f"Option {key!r} must be {wanted}; {which}{old!r} {stays}.")
        else:
            values[spec.name] = tuple(value) if isinstance(value, list) else value
    return dataclasses.replace(initial, **values), problems


def _complaint(spec: dataclasses.Field[Any], value: object) -> str:
    """Return what `value` should have been for this option, or "" if it is good."""
    default = spec.default
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(default, int):
        low, high = spec.metadata["range"]
        good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return "" if good else f"a whole number from {low} to {high}"
    if isinstance(default, tuple):
        good = isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
        return "" if good else "a list of strings"
    choices = spec.metadata.get("choices")
    if choices:
        return "" if value in choices else "one of " + ", ".join(map(repr, choices))
    return "" if isinstance(value, str) else "a string"
