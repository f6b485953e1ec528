"""Which facts a note states, and which of them its reference or dialogue supports.

`score_note` is the entry point. `statements` reads notes, `dialogue` reads dialogues, `matching`
compares the facts of one text with the statements of another.
"""

from medisum_utils.facts.score import (
    NoteFacts as NoteFacts,
)
from medisum_utils.facts.score import (
    dialogue_omissions as dialogue_omissions,
)
from medisum_utils.facts.score import (
    score_note as score_note,
)
