"""The splits that a profile trains and tests on, by the name of their source.

    splits = load_source("mts-dialog")   # {"train": [Encounter, ...], "valid": ..., "test1": ...}

Each split's name is that of its file in `data/processed/<profile>/`; training comes first, tests
last, which is the order in which `splits.remove_leaks` drops copies.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from medisum_utils.data.corpora import (
    ACI_BENCH,
    MTS_DIALOG,
    load_aci_bench,
    load_mts_dialog,
)
from medisum_utils.data.corpora_fetch import MIRROR_VARIABLE, corpora_sources, corpus_files
from medisum_utils.data.grouping import split_encounters
from medisum_utils.data.own_data import load_own
from medisum_utils.data.splits import NEAR_DUPLICATE, remove_leaks
from medisum_utils.encounter import Encounter, NoteSection
from medisum_utils.runs import project_root, resolve
from medisum_utils.synthesis.augmented import with_exchanged_names
from medisum_utils.synthesis.casebook import FOLDER as CASEBOOK
from medisum_utils.synthesis.encounters import SPLITS, TEST_SPLITS, generate, generate_tests
from medisum_utils.synthesis.soap import HEADERS

SYNTHETIC, ACI, MTS = "synthetic", "aci-bench", "mts-dialog"
BOTH = f"{ACI}+{MTS}"
CORPUS_HEADER = "section_header"  # key of `Encounter.meta`: MTS-Dialog's own header of the section

Splits = dict[str, list[Encounter]]


def load_source(
    source: str,
    *,
    seed: int,
    sizes: Mapping[str, int],
    own_shares: Mapping[str, float],
    exchanged_share: float = 0.0,
    near_duplicate: float = NEAR_DUPLICATE,
) -> Splits:
    """Returns the splits of "synthetic", a corpus, both corpora, or a JSONL or CSV file.

    Each source takes what is meant for it and ignores the rest. Generated data: `sizes` says how
    many encounters each of the generator's splits gets, `exchanged_share` in how many of the
    training ones names are exchanged. A file: `own_shares` are the parts of it that become train,
    valid and test, and sum to 1; `near_duplicate` is the Jaccard from which two of its dialogues
    are copies that belong into one split, see `grouping.split_encounters`. Corpora take none.

    Raises: ValueError for an unknown source, a size below 1, or a file that cannot be split;
    FileNotFoundError for a file that is not there; what the loaders raise.
    """
    if is_generated(source):
        splits = synthetic(sizes, seed)
        return splits | {"train": with_exchanged_names(splits["train"], exchanged_share, seed=seed)}
    if is_own(source):
        parts, _ = split_encounters(load_own(own_file(source)), own_shares, seed, near_duplicate)
        return {name: _labelled(encounters, name) for name, encounters in parts.items()}
    loaders = {ACI: load_aci_bench, MTS: mts_as_soap, BOTH: joined_corpora}
    _require_known(source)
    return loaders[source]()


def is_generated(source: str) -> bool:
    """Whether a source is this project's own generator."""
    return source == SYNTHETIC


def is_own(source: str) -> bool:
    """Whether a source is a user's JSONL or CSV file, by its name."""
    return Path(source).suffix.lower() in (".jsonl", ".csv")


def report_name(source: str) -> str:
    """What reports call a source; a user's file is not named in them."""
    if is_generated(source):
        return "generated data"
    return "your own data" if is_own(source) else source


def may_show_text(source: str) -> bool:
    """Whether reports may show dialogues and notes unasked: generated ones only."""
    return is_generated(source)


def own_file(source: str) -> Path:
    """The user's file that a source names; a relative path is looked up under the project root.

    Raises: FileNotFoundError that says where it was looked for.
    """
    path = resolve(source)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no file"
        raise FileNotFoundError(
            f"expected your own data at {path}, which 01_data.source names, got {found}; a "
            "relative path is looked up under the project's folder"
        )
    return path


def _require_known(source: str) -> None:
    corpora = (ACI, MTS, BOTH)
    if source not in corpora:
        known = ", ".join((SYNTHETIC, *corpora))
        raise ValueError(f"expected {known}, or a path to a .jsonl or .csv file, got {source!r}")


def synthetic(sizes: Mapping[str, int], seed: int) -> Splits:
    """Generates each split; the same seed gives the same encounters, fewer are the first ones."""
    if set(sizes) != set(SPLITS) or min(sizes.values()) < 1:
        raise ValueError(f"expected at least 1 encounter for each of {SPLITS}, got {dict(sizes)}")
    draws = {name: generate_tests if name in TEST_SPLITS else generate for name in SPLITS}
    return {name: list(draws[name](sizes[name], seed=seed, split=name)) for name in SPLITS}


def mts_as_soap() -> Splits:
    """MTS-Dialog whose notes stand under the SOAP header to which their own header maps.

    The corpus has one note section a dialogue. Its text becomes a note with one of the four
    headers that every model here writes; the corpus's own header stays in `meta` under
    `CORPUS_HEADER`, and the text is untouched.
    """
    splits = load_mts_dialog()
    return {name: [_as_soap(one) for one in encounters] for name, encounters in splits.items()}


def _as_soap(encounter: Encounter) -> Encounter:
    (section,) = encounter.note
    note = (NoteSection(HEADERS[section.soap], section.soap, section.text),)
    return replace(encounter, note=note, meta={**encounter.meta, CORPUS_HEADER: section.header})


def joined_corpora() -> Splits:
    """Both corpora: train and valid joined, every official test apart (aci_test1, mts_test1, ...).

    ACI-Bench notes keep their own headers, which its published evaluation reads.
    """
    corpora = {"aci": load_aci_bench(), "mts": mts_as_soap()}
    joined: Splits = {
        name: [one for splits in corpora.values() for one in splits.pop(name)]
        for name in ("train", "valid")
    }
    for corpus, splits in corpora.items():
        for name, encounters in splits.items():
            joined[f"{corpus}_{name}"] = _labelled(encounters, f"{corpus}_{name}")
    n_official = {name: len(tests) for name, tests in joined.items() if name != "train"}
    kept = remove_leaks(joined)[0]
    changed = [name for name, n in n_official.items() if len(kept[name]) != n]
    if changed:
        raise ValueError(f"expected copies in train only, got some in {', '.join(changed)}")
    return kept


def _labelled(encounters: Iterable[Encounter], split: str) -> list[Encounter]:
    return [replace(encounter, split=split) for encounter in encounters]


def is_at_hand(corpus: str) -> bool:
    """True where a corpus can be read without a download: in the mirror folder or `data/raw`.

    Raises: ValueError for an unknown corpus.
    """
    table = corpora_sources()
    rows = table[table["corpus"] == corpus].to_dict("records")
    if not rows:
        known = ", ".join(sorted(table["corpus"].unique()))
        raise ValueError(f"expected one of the corpora {known}, got {corpus!r}")
    mirror = os.environ.get(MIRROR_VARIABLE)
    folder = Path(mirror).expanduser() if mirror else project_root() / "data" / "raw"
    return all((folder / row["repository"] / row["path"]).is_file() for row in rows)


def load_beside(source: str) -> dict[str, tuple[list[Encounter], list[Encounter]]]:
    """Training and first test of each real corpus but the source itself, where it is at hand.

    Nothing is downloaded.
    """
    loaders = {ACI: load_aci_bench, MTS: mts_as_soap}
    beside = {}
    for corpus, load in loaders.items():
        if corpus != source and is_at_hand(corpus):
            splits = load()
            beside[corpus] = (splits["train"], splits["test1"])
    return beside


def source_files(source: str) -> list[Path]:
    """The files that a source is read from, downloaded where they are not at hand.

    For synthetic encounters it is the folder of the casebook's word lists.

    Raises: ValueError for an unknown source; FileNotFoundError for a file that is not there.
    """
    if is_generated(source):
        return [CASEBOOK]
    if is_own(source):
        return [own_file(source)]
    _require_known(source)
    return [path for corpus in source.split("+") for path in corpus_files(corpus).values()]


def official_counts(source: str) -> dict[str, int]:
    """How many encounters the authors' own splits have, {} for data that has none.

    The loaders hold the files against these; training is less where copies were dropped.
    """
    files = {ACI: ACI_BENCH, MTS: MTS_DIALOG}
    if source in files:
        return {name: n for name, (_, n) in files[source].items()}
    if source != BOTH:
        return {}
    counts = {
        name: sum(splits[name][1] for splits in files.values()) for name in ("train", "valid")
    }
    for corpus, splits in files.items():
        prefix = corpus.partition("-")[0]
        tests = {name: n for name, (_, n) in splits.items() if name not in counts}
        counts |= {f"{prefix}_{name}": n for name, n in tests.items()}
    return counts
