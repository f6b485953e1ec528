"""What an adapter reads before the training split where that is too small: other pairs of its kind.

    encounters = load_auxiliary("mts-dialog", n_one_section=5000, back_translated=True, seed=17)

They are for training alone; no validation and no score ever uses them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from medisum_utils.corpora import load_mts_dialog, read_table
from medisum_utils.corpora_fetch import corpus_files
from medisum_utils.encounter import Encounter, NoteSection
from medisum_utils.note_headers import soap_of_headers
from medisum_utils.sources import MTS
from medisum_utils.splits import normalise, remove_leaks
from medisum_utils.synthesis.casebook import FOLDER as CASEBOOK
from medisum_utils.synthesis.one_section import WORDINGS, one_section_encounters
from medisum_utils.synthesis.soap import HEADERS
from medisum_utils.transcript import parse_turns, unix_lines

BACK_TRANSLATED = "mts-dialog-back-translated"  # its name in corpora_sources.csv
N_BACK_TRANSLATED = 3603  # rows of its file, a third of them the originals
COLUMNS = ["ID", "section_header", "section_text", "dialogue"]
TRANSLATED_ID = re.compile(r"TR=EN-(?P<language>\w\w)-EN (?P<number>\d+)")
SHORTEST_SHARE = 0.8  # of the original's words in a translation
MISSPELT = re.compile(r"\bPattor\s*:")  # what came back of "Patient:" in a hundred places


def load_auxiliary(
    source: str, *, n_one_section: int, back_translated: bool, seed: int
) -> list[Encounter]:
    """Generated dialogues of one section, then MTS-Dialog's own training pairs in other words.

    Raises: ValueError for a negative count, or for translations beside another source;
    `corpus_files` says what else.
    """
    found = one_section_encounters(n_one_section, seed=seed)
    if back_translated:
        if source != MTS:
            raise ValueError(f"expected back-translations beside {MTS!r} alone, got {source!r}")
        found += load_back_translated()
    return found


def load_back_translated() -> list[Encounter]:
    """MTS-Dialog's training dialogues, translated to French or Spanish and back by its authors.

    Each stands beside its original's note, which was not translated, under its SOAP header. Left
    out are those of originals that `load_mts_dialog` leaves out of training, those that came out
    as copies of a held-out dialogue or of their original, and those that lost their first speaker
    or more than a fifth of their words on the way: one in eight broke off, under a whole note.

    Raises: ValueError if the file has not its official count; `corpus_files` says what else.
    Source: abachaa/MTS-Dialog, folder Augmented-Data; see `load_mts_dialog`.
    """
    (path,) = corpus_files(BACK_TRANSLATED).values()
    soap = soap_of_headers(MTS)
    splits = load_mts_dialog()
    originals = {one.id: one for one in splits.pop("train")}
    found = []
    for row in read_table(path, COLUMNS, N_BACK_TRANSLATED):
        translated = TRANSLATED_ID.fullmatch(row["ID"].strip())
        if translated is None or f"mts-train-{translated['number']}" not in originals:
            continue  # an original, or one that a test repeats
        original = originals[f"mts-train-{translated['number']}"]
        try:
            turns = parse_turns(MISSPELT.sub("Patient:", row["dialogue"]))
        except ValueError:  # the translation swallowed its first speaker
            continue
        one = replace(
            original, id=f"{original.id}-{translated['language'].lower()}", turns=turns, note=()
        )
        if _is_another_whole_one(one, original):
            section = soap[row["section_header"].strip()]
            text = unix_lines(row["section_text"]).strip()
            found.append(replace(one, note=(NoteSection(HEADERS[section], section, text),)))
    return remove_leaks({"train": found, **splits})[0]["train"]


def _is_another_whole_one(translated: Encounter, original: Encounter) -> bool:
    before, after = (normalise(one.dialogue_text) for one in (original, translated))
    return after != before and len(after.split()) >= SHORTEST_SHARE * len(before.split())


def auxiliary_files(n_one_section: int, back_translated: bool) -> list[Path]:
    """What `load_auxiliary` reads beside the source's own files."""
    files = [CASEBOOK, WORDINGS] if n_one_section else []
    return files + (list(corpus_files(BACK_TRANSLATED).values()) if back_translated else [])
