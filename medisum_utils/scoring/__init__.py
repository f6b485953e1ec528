"""Scores notes against references: ROUGE with intervals, published protocols, files, reports."""

from medisum_utils.scoring.protocols import (
    FACT_NAMES as FACT_NAMES,
)
from medisum_utils.scoring.protocols import (
    per_note as per_note,
)
from medisum_utils.scoring.protocols import (
    score as score,
)
from medisum_utils.scoring.protocols import (
    score_files as score_files,
)
