"""One look for all figures: a style, a fixed colour and marker for each system, PNGs at 2x."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from medisum_utils.runs.paths import report_dir

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from medisum_utils.runs import Step

STYLE = Path(__file__).with_name("medisum.mplstyle")

# Okabe and Ito's palette, distinct for colour-blind readers, and a marker each for grey print.
SYSTEMS: dict[str, tuple[str, str]] = {
    "copy": ("#E69F00", "s"),
    "nearest": ("#009E73", "^"),
    "base": ("#555555", "D"),
    "finetuned": ("#0072B2", "o"),
    "reference": ("#000000", "*"),
    "train": ("#0072B2", "o"),
    "valid": ("#D55E00", "s"),
    "test": ("#009E73", "^"),
    "test_unseen": ("#CC79A7", "D"),
}
OTHERS = (("#CC79A7", "v"), ("#56B4E9", "P"), ("#D55E00", "X"), ("#8A6D3B", "<"), ("#7B68A6", ">"))


def use_style() -> None:
    """Sets the project's plot style; inside a notebook, figures appear at twice the resolution."""
    import matplotlib.pyplot

    matplotlib.pyplot.style.use(STYLE)
    ipython = sys.modules.get("IPython")
    if ipython is not None and ipython.get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("png2x")


def colour_of(system: str) -> str:
    """The colour of a system, the same in every figure; of other names one chosen by the name."""
    return _look(system)[0]


def marker_of(system: str) -> str:
    """The marker of a system, the same in every figure, so that a figure reads without colour."""
    return _look(system)[1]


def _look(system: str) -> tuple[str, str]:
    other = OTHERS[zlib.crc32(system.encode()) % len(OTHERS)]  # hash() differs from run to run
    return SYSTEMS.get(system, other)


def plain_log_ticks(axis: Axis, multiples: tuple[int, ...] = (1, 2, 5)) -> None:
    """Labels a logarithmic axis with plain numbers, at these multiples of the powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set(
        major_locator=LogLocator(subs=multiples),
        major_formatter="{x:,g}",
        minor_formatter=NullFormatter(),
    )


def save(fig: Figure, step: Step, name: str) -> None:
    """Stages the figure at twice the screen's resolution for the running step.

    `step.finish` moves it to `reports/<profile>/figures/<name>.png`. Nothing is returned, since a
    cell that ends here would show this machine's folders in its report.
    """
    path = report_dir(step.profile) / "figures" / f"{name}.png"
    fig.savefig(step.stage(path), format="png")
