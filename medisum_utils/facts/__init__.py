"""Which facts a note states, and which of them its reference or dialogue bears out.

`score_note` is the door; behind it `statements` reads a note, `dialogue` a dialogue, and `matching`
holds the one against the other.
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
