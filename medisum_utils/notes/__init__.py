"""Notes as text: headers, SOAP sections, the corpora's divisions, and the texts to score."""

from medisum_utils.notes.headers import (
    JOINT as JOINT,
    UNKNOWN as UNKNOWN,
    split_sections as split_sections,
)
