"""Which facts a note states, and which of them its reference or dialogue supports.

`score_note` is the entry point. `statements` reads notes, `dialogue` reads dialogues, `matching`
compares the facts of one text with the statements of another.

Generated encounters come with a record of their facts and are scored against it by
`synthesis.fact_scores`; `evaluation.scores` chooses between the two.
"""

from medisum_utils.facts.score import (
    NoteFacts as NoteFacts,
    dialogue_omissions as dialogue_omissions,
    score_note as score_note,
)
