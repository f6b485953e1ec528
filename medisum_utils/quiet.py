"""Silences known clutter of the libraries in reports, each line by its own name, never all."""

from __future__ import annotations

import logging
import warnings

# bitsandbytes offers a faster CPU kernel that is not needed; transformers says that it did what
# `dequantize` asked for.
LOGGERS = ("bitsandbytes.backends.cpu.ops", "transformers.integrations.bitsandbytes")
WARNINGS = (
    "IProgress not found",  # tqdm: reports show a plot or a table instead of a moving bar
    "`is_gradient_checkpointing` is deprecated",  # transformers, of its own code
)


def silence_clutter() -> None:
    """Call before models load. The warning "autograd kernel was not registered" always stays."""
    for message in WARNINGS:
        warnings.filterwarnings("ignore", message)
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
