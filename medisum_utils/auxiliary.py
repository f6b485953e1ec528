"""What an adapter reads before the training split where that is too small: other pairs of its kind.

    encounters = load_auxiliary("mts-dialog", n_one_section=5000, back_translated=True, seed=17)

They are for training alone; no validation and no score ever uses them.
"""

from __future__ import annotations

import re

from medisum_utils.corpora import load_mts_dialog, read_table
from medisum_utils.corpora_fetch import corpus_files
from medisum_utils.encounter import Encounter, NoteSection
from medisum_utils.note_headers import soap_of_headers
from medisum_utils.sources import MTS
from medisum_utils.splits import remove_leaks
from medisum_utils.synthesis.one_section import one_section_encounters
from medisum_utils.synthesis.soap import HEADERS
from medisum_utils.transcript import parse_turns, unix_lines

BACK_TRANSLATED = "mts-dialog-back-translated"  # its name in corpora_sources.csv
N_BACK_TRANSLATED = 3603  # rows of its file, a third of them the originals
COLUMNS = ["ID", "section_header", "section_text", "dialogue"]
TRANSLATED_ID = re.compile(r"TR=EN-(?P<language>\w\w)-EN (?P<number>\d+)")
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
    as copies of a held-out dialogue, and those that lost their first speaker on the way.

    Raises: ValueError if the file has not its official count; `corpus_files` says what else.
    Source: abachaa/MTS-Dialog, folder Augmented-Data; see `load_mts_dialog`.
    """
    (path,) = corpus_files(BACK_TRANSLATED).values()
    soap = soap_of_headers(MTS)
    splits = load_mts_dialog()
    trained_on = {encounter.id for encounter in splits.pop("train")}
    found = []
    for row in read_table(path, COLUMNS, N_BACK_TRANSLATED):
        translated = TRANSLATED_ID.fullmatch(row["ID"].strip())
        if translated is None or f"mts-train-{translated['number']}" not in trained_on:
            continue  # an original, or one that a test repeats
        try:
            turns = parse_turns(MISSPELT.sub("Patient:", row["dialogue"]))
        except ValueError:  # the translation swallowed its first speaker
            continue
        section = soap[row["section_header"].strip()]
        text = unix_lines(row["section_text"]).strip()
        found.append(
            Encounter(
                id=f"mts-train-{translated['number']}-{translated['language'].lower()}",
                source=MTS,
                split="train",
                turns=turns,
                note=(NoteSection(HEADERS[section], section, text),),
            )
        )
    return remove_leaks({"train": found, **splits})[0]["train"]
