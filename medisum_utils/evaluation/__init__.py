"""What 04 shows: systems and baselines, scores, tables, figures, notes side by side."""

from medisum_utils.evaluation.metrics import (
    SCHEMA_FILE as SCHEMA_FILE,
)
from medisum_utils.evaluation.metrics import (
    data_digest as data_digest,
)
from medisum_utils.evaluation.metrics import (
    split_metrics as split_metrics,
)
from medisum_utils.evaluation.scores import (
    SplitScores as SplitScores,
)
from medisum_utils.evaluation.scores import (
    difference as difference,
)
from medisum_utils.evaluation.scores import (
    facts_known as facts_known,
)
from medisum_utils.evaluation.scores import (
    named_tests as named_tests,
)
from medisum_utils.evaluation.scores import (
    same_encounters as same_encounters,
)
from medisum_utils.evaluation.scores import (
    score_split as score_split,
)
