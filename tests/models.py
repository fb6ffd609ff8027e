"""The model that tests run on: the former embedded one, small enough to load a hundred times, whatever is shipped."""

from pathlib import Path

SMALL = Path(__file__).parent / "data" / "small"  # 6.7M parameters, our own tokenizer, threshold denoising
