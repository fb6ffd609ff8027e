"""The models that have a name here: one table of what is known about each before it is fetched.

Rule: facts only, each from the model's own page or report, or from the source that its row names; a figure that was not
published is "". What a checkpoint's files say (ids, shape, policy), the files say.

    KNOWN["dreamon-7b"].repo    # "Dream-org/DreamOn-v0-7B"
"""

from __future__ import annotations

from typing import NamedTuple

EMBEDDED_NAME = "embedded"
# Who sees whom decides whether this version can run a checkpoint.
LAYOUTS = {
    "causal": "rows see what is before them",
    "context once": "a causal context, then a canvas that sees itself",
    "blocks": "rows see their own block and all before it",
    "in place": "every row sees every row",
    "reordered": "known tokens are moved to the front",
}
# Whether this version runs it; "with torch": the native library does not.
RUNS = {
    "causal": "yes",
    "context once": "yes",
    "in place": "with torch",
    "blocks": "with torch",
    "reordered": "no",
}

SAYS_NOTHING = "its page states no licence for the weights: find out whether you may use them"
NON_COMMERCIAL = "non-commercial use only"


class Known(NamedTuple):
    """One model. `bf16_gb`: its weights as bfloat16, in 10^9 bytes. `limits`: what its licence forbids, "" if nothing.

    `single`, `multi`: HumanEval-Infilling pass@1 in percent, single-line and multi-line; `source`: key of SOURCES.
    """

    repo: str
    parameters: str
    bf16_gb: float
    licence: str
    layout: str
    limits: str = ""
    single: str = ""
    multi: str = ""
    source: str = ""
    stored_bytes: int = 2  # of a number in its files

    @property
    def download_gb(self) -> float:
        """What is to be fetched."""
        return self.bf16_gb * self.stored_bytes / 2 if self.repo else 0

    @property
    def runs(self) -> str:
        """Whether this version can run it: a word of RUNS."""
        return RUNS[self.layout]

    @property
    def cannot(self) -> str:
        """Why this version cannot run it; "" if it can."""
        return f"this version cannot run it: {LAYOUTS[self.layout]}" if self.runs == "no" else ""


# fmt: off
KNOWN: dict[str, Known] = {
    EMBEDDED_NAME: Known("", "135M", 0.27, "Apache-2.0", "context once"),
    "smollm2-135m": Known("HuggingFaceTB/SmolLM2-135M", "135M", 0.27, "Apache-2.0", "causal"),
    "qwen2.5-coder-0.5b": Known(
        "Qwen/Qwen2.5-Coder-0.5B", "0.5B", 1.0, "Apache-2.0", "causal", "", "78.7", "39.6", "rerun"),
    "qwen3-0.6b": Known("Qwen/Qwen3-0.6B", "0.6B", 1.2, "Apache-2.0", "causal"),
    "open-dcoder-0.5b": Known(
        "fredzzp/open-dcoder-0.5B", "0.5B", 1.0, "Apache-2.0 (its repository)", "in place", "",
        "32.5; told the length 77.4", "", "open-dllm"),
    "qwen2.5-coder-0.5b-mdlm": Known(
        "dllm-hub/Qwen2.5-Coder-0.5B-Instruct-diffusion-mdlm-v0.1", "0.5B", 1.0, "Apache-2.0", "in place"),
    "qwen2.5-coder-0.5b-bd3lm": Known(
        "dllm-hub/Qwen2.5-Coder-0.5B-Instruct-diffusion-bd3lm-v0.1", "0.5B", 1.0, "Apache-2.0", "blocks"),
    "fast-dllm-v2-1.5b": Known("Efficient-Large-Model/Fast_dLLM_v2_1.5B", "1.5B", 3.1, "Apache-2.0", "blocks"),
    "sdar-1.7b": Known("JetLM/SDAR-1.7B-Chat", "1.7B", 4.1, "Apache-2.0", "blocks"),
    "coda-1.7b": Known(
        "Salesforce/CoDA-v0-Base", "1.7B", 4.05, "CC BY-NC 4.0", "in place", NON_COMMERCIAL, stored_bytes=4),
    "dreamon-7b": Known(
        "Dream-org/DreamOn-v0-7B", "7B", 15.2, "Apache-2.0", "in place", "", "90.8", "57.1", "dreamon"),
    "dream-coder-7b": Known(
        "Dream-org/Dream-Coder-v0-Base-7B", "7B", 15.2, "Apache-2.0", "in place", "",
        "55.5; told the length 91.6", "43.2; told the length 69.0", "dreamon"),
    "diffucoder-7b": Known(
        "apple/DiffuCoder-7B-Base", "7B", 15.2, "Apple's own, unclear", "in place", SAYS_NOTHING,
        "53.7", "45.0", "dreamon"),
    "llada-8b": Known("GSAI-ML/LLaDA-8B-Base", "8B", 16.1, "MIT", "in place", "", "48.3", "21.1", "dreamon"),
    "stable-diffcoder-8b": Known("ByteDance-Seed/Stable-DiffCoder-8B-Base", "8B", 16.5, "MIT", "blocks"),
    "dreamreasoner-8b": Known("Dream-org/DreamReasoner-8B", "8B", 16.4, "Apache-2.0", "blocks"),
    "wedlm-8b": Known(
        "tencent/WeDLM-8B-Base", "8B", 16.4, "Tencent's own", "reordered", "no use in the European Union"),
}
SOURCES = {
    "rerun": "somebody's own run with fill-in-the-middle tokens on 164 problems of each kind, quoted second-hand",
    "open-dllm": "README of pengzhangzhi/Open-dLLM",
    "dreamon": "DreamOn, arXiv 2602.01326, table 1, quoted second-hand; DreamOn itself as the mean over start lengths",
}
# fmt: on


def known_by_repo(repo: str) -> Known | None:
    """The row of a repository of the hub."""
    return next((known for known in KNOWN.values() if known.repo.lower() == repo.lower()), None)


def limits_of(licence: str) -> str:
    """What the hub's name of a licence tells of what it forbids; "" if nothing unusual."""
    words = licence.lower()
    if not words:
        return SAYS_NOTHING
    if "-nc" in words or "non-commercial" in words or "research" in words:
        return NON_COMMERCIAL
    return "a licence of its own: read it before you use the model" if words == "other" else ""
