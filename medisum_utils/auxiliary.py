"""What an adapter reads before the training split where that is too small: other pairs of its kind.

    encounters = load_auxiliary("mts-dialog", n_one_section=5000, back_translated=True, seed=17)

They are for training alone; no validation and no score ever uses them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from medisum_utils.corpora import read_table
from medisum_utils.corpora_fetch import corpus_files
from medisum_utils.encounter import Encounter
from medisum_utils.sources import MTS, mts_as_soap
from medisum_utils.splits import normalise, remove_leaks
from medisum_utils.synthesis.casebook import FOLDER as CASEBOOK
from medisum_utils.synthesis.one_section import WORDINGS, one_section_encounters
from medisum_utils.transcript import parse_turns

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
    or more than a fifth of their words on the way: they broke off, under a whole note.

    Raises: ValueError if the file has not its official count; `corpus_files` says what else.
    Source: abachaa/MTS-Dialog, folder Augmented-Data; see `load_mts_dialog`.
    """
    (path,) = corpus_files(BACK_TRANSLATED).values()
    splits = mts_as_soap()
    originals = {one.id: one for one in splits.pop("train")}
    found = []
    for row in read_table(path, COLUMNS, N_BACK_TRANSLATED):
        translated = TRANSLATED_ID.fullmatch(row["ID"].strip())
        original = translated and originals.get(f"mts-train-{translated['number']}")
        if original is None:  # an original itself, or of one that a test repeats
            continue
        try:
            turns = parse_turns(MISSPELT.sub("Patient:", row["dialogue"]))
        except ValueError:  # the translation swallowed its first speaker
            continue
        name = f"{original.id}-{translated['language'].lower()}"
        one = replace(original, id=name, turns=turns, meta={})
        if _is_another_whole_one(one, original):
            found.append(one)
    return remove_leaks({"train": found, **splits})[0]["train"]


def _is_another_whole_one(translated: Encounter, original: Encounter) -> bool:
    before, after = (normalise(one.dialogue_text) for one in (original, translated))
    return after != before and len(after.split()) >= SHORTEST_SHARE * len(before.split())


def auxiliary_files(n_one_section: int, back_translated: bool) -> list[Path]:
    """What `load_auxiliary` reads beside the source's own files."""
    files = [CASEBOOK, WORDINGS] if n_one_section else []
    return files + (list(corpus_files(BACK_TRANSLATED).values()) if back_translated else [])
