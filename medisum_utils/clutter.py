"""Silences, each by its name, the known messages of libraries that tell a reader nothing."""

from __future__ import annotations

import logging
import warnings


class _WithoutMissingKernel(logging.Filter):
    """bitsandbytes says at import that an optional kernel for serving is not installed."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "Failed to load CPU gemm_4bit_forward" not in record.getMessage()


def silence_known_clutter() -> None:
    """Call it before bitsandbytes, transformers and datasets are imported.

    What stays: every other warning, above all "autograd kernel was not registered", which means
    wrong gradients.
    """
    logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(_WithoutMissingKernel())
    for message in (
        r".*gradient_checkpointing.* is deprecated and will be removed in v6.*",
        r".*torch\.jit\.script_method.* is deprecated.*",
        r".*IProgress not found.*",
    ):
        warnings.filterwarnings("ignore", message=message)

    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
