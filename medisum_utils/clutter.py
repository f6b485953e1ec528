"""Silences known noise of the libraries, each message by its own words, never all of them."""

from __future__ import annotations

import logging
import os
import warnings
from functools import partial

# What stays is every other message, above all the warning "autograd kernel was not registered",
# which means wrong gradients.
LOGGED = {
    # An optional kernel for serving is not installed; nothing here needs it.
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward",
    # `dequantize` did what it was asked for.
    "transformers.integrations.bitsandbytes": "The modules are dequantized",
}
WARNED = (
    r".*gradient_checkpointing.* is deprecated",  # transformers and trl, of their own code
    r".*torch\.jit\.script_method.* is deprecated",  # torch, likewise
    r".*IProgress not found",  # tqdm: reports show a plot or a table instead of a moving bar
)


def _lacks(words: str, record: logging.LogRecord) -> bool:
    return words not in record.getMessage()


FILTERS = {name: partial(_lacks, words) for name, words in LOGGED.items()}


def silence_clutter() -> None:
    """Call it before bitsandbytes and datasets are imported and before a model is loaded."""
    for name, lacks_clutter in FILTERS.items():
        logging.getLogger(name).addFilter(
            lacks_clutter
        )  # a filter that is there is not added again
    for message in WARNED:
        warnings.filterwarnings("ignore", message=message)
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
