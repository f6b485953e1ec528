"""The splits that a profile trains and tests on, by the name of their source.

    splits = load_source("mts-dialog")   # {"train": [Encounter, ...], "valid": ..., "test1": ...}

Each split's name is that of its file in `data/processed/<profile>/`; training comes first, tests
last, which is the order in which `leaks.remove_leaks` drops copies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from medisum_utils.data.corpora import ACI_BENCH, MTS_DIALOG, load_aci_bench, load_mts_dialog
from medisum_utils.data.corpora_fetch import corpus_files, is_at_hand
from medisum_utils.data.grouping import split_encounters
from medisum_utils.data.leaks import NEAR_DUPLICATE, remove_leaks
from medisum_utils.data.own_data import is_own, load_own
from medisum_utils.encounter import Encounter, NoteSection, write_jsonl
from medisum_utils.notes.headers import CORPUS_HEADER
from medisum_utils.runs import resolve, sha256_file
from medisum_utils.synthesis.augmented import with_exchanged_names
from medisum_utils.synthesis.casebook import FOLDER as CASEBOOK
from medisum_utils.synthesis.encounters import (
    OPEN_SPLITS,
    SPLITS,
    TEST_SPLITS,
    generate,
    generate_tests,
)
from medisum_utils.synthesis.soap import HEADERS

SYNTHETIC, ACI, MTS = "synthetic", "aci-bench", "mts-dialog"
BOTH = f"{ACI}+{MTS}"
ALL = f"{SYNTHETIC}+{BOTH}"

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
    """Returns the splits of "synthetic", a corpus, a join of them, or a JSONL or CSV file.

    Each source takes what is meant for it and ignores the rest. Generated data: `sizes` says how
    many encounters each of the generator's splits gets, `exchanged_share` in how many of the
    training ones names are exchanged. A file: `own_shares` are the parts of it that become train,
    valid and test, and sum to 1; `near_duplicate` is the Jaccard from which two of its dialogues
    are copies that belong into one split, see `grouping.split_encounters`. Corpora take none.

    Raises: ValueError for an unknown source, a size below 1, or a file that cannot be split;
    FileNotFoundError for a file that is not there; what the loaders raise.
    """
    if is_own(source):
        parts, _ = split_encounters(load_own(own_file(source)), own_shares, seed, near_duplicate)
        return {name: _labelled(encounters, name) for name, encounters in parts.items()}

    def generated() -> Splits:
        splits = synthetic(sizes, seed)
        return splits | {"train": with_exchanged_names(splits["train"], exchanged_share, seed=seed)}

    _require_known(source)
    loaders = {SYNTHETIC: generated, ACI: load_aci_bench, MTS: mts_as_soap}
    parts = {name: loaders[name]() for name in source.split("+")}
    return joined(parts) if len(parts) > 1 else parts[source]


def is_generated(source: str) -> bool:
    """Whether a source is this project's own generator."""
    return source == SYNTHETIC


def report_name(source: str) -> str:
    """What reports call a source; a user's file is not named in them."""
    if is_generated(source):
        return "generated data"
    return "your own data" if is_own(source) else source


def own_file(source: str) -> Path:
    """The user's file that a source names; a relative path is looked up under the project root.

    Raises: FileNotFoundError that says where it was looked for.
    """
    path = resolve(source)
    if not path.is_file():
        obstacle = "a folder" if path.is_dir() else "no file"
        raise FileNotFoundError(
            f"expected your own data at {path}, which 01_data.source names, got {obstacle}; a "
            "relative path is looked up under the project's folder"
        )
    return path


def _require_known(source: str) -> None:
    known, names = (SYNTHETIC, ACI, MTS), source.split("+")
    if not set(names) <= set(known) or len(set(names)) < len(names):
        raise ValueError(
            f"expected {', '.join(known)}, a join such as {BOTH}, or a path to a .jsonl or .csv "
            f"file, got {source!r}"
        )


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
    return {name: [as_soap(each) for each in encounters] for name, encounters in splits.items()}


def as_soap(encounter: Encounter) -> Encounter:
    """An encounter of MTS-Dialog with its note under a SOAP header; see `mts_as_soap`."""
    (section,) = encounter.note
    note = (NoteSection(HEADERS[section.soap], section.soap, section.text),)
    return replace(encounter, note=note, meta={**encounter.meta, CORPUS_HEADER: section.header})


def joined_corpora() -> Splits:
    """Both corpora as one; see `joined`."""
    return joined({ACI: load_aci_bench(), MTS: mts_as_soap()})


def joined(parts: Mapping[str, Splits]) -> Splits:
    """Several sources as one: train and valid joined, the tests of each source apart.

    A corpus's tests are named after it (aci_test1, mts_test1, ...), generated ones as they are.
    Validation encounters take turns, one of each source while it lasts, so that the first n, which
    03 uses, are of all sources. ACI-Bench notes keep their own headers, which its published
    evaluation reads. Of an encounter that stands in two splits, the copy in the earlier one goes.
    """
    splits = {
        "train": list(chain.from_iterable(part["train"] for part in parts.values())),
        "valid": _in_turn([part["valid"] for part in parts.values()]),
    }
    for source, part in parts.items():
        splits |= {_test_name(source, name): part[name] for name in part if name not in splits}
    return remove_leaks({name: _labelled(part, name) for name, part in splits.items()})[0]


def _in_turn(parts: Iterable[Sequence[Encounter]]) -> list[Encounter]:
    return [each for row in zip_longest(*parts) for each in row if each is not None]


def _test_name(source: str, split: str) -> str:
    prefix = {ACI: "aci_", MTS: "mts_"}.get(source, "")
    return f"{prefix}{split}"


def _labelled(encounters: Iterable[Encounter], split: str) -> list[Encounter]:
    return [replace(encounter, split=split) for encounter in encounters]


def load_beside(source: str) -> dict[str, tuple[list[Encounter], list[Encounter]]]:
    """Training and first test of each real corpus but the source itself, where it is at hand.

    Nothing is downloaded.
    """
    loaders = {ACI: load_aci_bench, MTS: mts_as_soap}
    beside = {
        corpus: load()
        for corpus, load in loaders.items()
        if corpus != source and is_at_hand(corpus)
    }
    return {corpus: (splits["train"], splits["test1"]) for corpus, splits in beside.items()}


def source_files(source: str) -> list[Path]:
    """The files that a source is read from, downloaded where they are not at hand.

    For synthetic encounters it is the folder of the casebook's word lists.

    Raises: ValueError for an unknown source; FileNotFoundError for a file that is not there.
    """
    if is_own(source):
        return [own_file(source)]
    _require_known(source)
    files: list[Path] = []
    for name in source.split("+"):
        files += [CASEBOOK] if is_generated(name) else corpus_files(name).values()
    return files


def official_counts(source: str) -> dict[str, int]:
    """How many encounters the authors' own splits have, {} for data that has none.

    The loaders hold the files against these; training is less where copies were dropped. Where
    generated encounters are joined to corpora, only the corpora's tests have such a count.
    """
    files, names = {ACI: ACI_BENCH, MTS: MTS_DIALOG}, source.split("+")
    counts: Counter[str] = Counter()
    for corpus in (name for name in names if name in files):
        for split, (_, n) in files[corpus].items():
            is_apart = len(names) > 1 and split not in OPEN_SPLITS
            counts[_test_name(corpus, split) if is_apart else split] += n
    has_generated = SYNTHETIC in names
    return {name: n for name, n in counts.items() if not (has_generated and name in OPEN_SPLITS)}


def write_split(path: Path, encounters: Sequence[Encounter]) -> dict[str, Any]:
    """Writes a split as JSON Lines and returns its entry in the manifest of the splits."""
    write_jsonl(path, encounters)
    return {
        "n": len(encounters),
        "sources": dict(sorted(Counter(encounter.source for encounter in encounters).items())),
        "sha256": sha256_file(path),
        "ids": [encounter.id for encounter in encounters],
    }
