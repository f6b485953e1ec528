"""What 04 shows: systems and baselines, scores, tables, figures, notes side by side.

`systems` writes and keeps the notes, `scores` scores them, `metrics` makes the entries of
metrics.json; `text`, `tables`, `plots`, `dangers` and `note_views` are what a reader sees.
"""

from medisum_utils.evaluation.metrics import (
    SCHEMA_FILE as SCHEMA_FILE,
    data_digest as data_digest,
    split_metrics as split_metrics,
)
from medisum_utils.evaluation.scores import (
    SplitScores as SplitScores,
    difference as difference,
    facts_known as facts_known,
    named_tests as named_tests,
    same_encounters as same_encounters,
    score_split as score_split,
)
