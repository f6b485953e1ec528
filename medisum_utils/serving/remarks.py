"""What the demo page says of the served model's training data."""

from __future__ import annotations

from medisum_utils.data.sources import SYNTHETIC, report_name
from medisum_utils.runs import read_manifest

ONLY_GENERATED = (
    "This model was trained on generated conversations only. From a real one, expect a note that "
    "omits most facts and states dangerous ones."
)


def data_remark(profile: str) -> str:
    """A warning if a profile's data are generated, by the manifest of its run; else nothing.

    Raises: ValueError for a manifest that cannot be read.
    """
    source = read_manifest(profile)["steps"].get("01_data", {}).get("source")
    return ONLY_GENERATED if source == report_name(SYNTHETIC) else ""
