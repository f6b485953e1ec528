"""Notes as text: headers, SOAP sections, the divisions of the corpora, what of a note is scored."""

from medisum_utils.notes.text import (
    UNKNOWN as UNKNOWN,
)
from medisum_utils.notes.text import (
    split_sections as split_sections,
)
