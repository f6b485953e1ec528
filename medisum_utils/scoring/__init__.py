"""Scores notes against references: ROUGE with intervals, published protocols, files, reports."""

from medisum_utils.scoring.protocols import (
    FACT_NAMES as FACT_NAMES,
    per_note as per_note,
    score as score,
    score_files as score_files,
)
