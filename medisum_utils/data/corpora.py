"""The real corpora as encounters, in their official splits, and the texts for pretraining.

    splits = load_mts_dialog()   # {"train": [Encounter, ...], "valid": ..., "test1": ..., ...}

Files come from `corpora_fetch`; oddities of the files are handled here and in `transcript`, and
described in `data/README.md`. All four corpora are CC BY 4.0 and must be attributed: see there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

from medisum_utils.data.corpora_fetch import corpus_files, iter_zip_xml
from medisum_utils.data.leaks import remove_leaks
from medisum_utils.data.transcript import parse_turns
from medisum_utils.encounter import Encounter, NoteSection, Turn
from medisum_utils.notes.headers import WHOLE_NOTE, soap_of_headers, split_aci_note
from medisum_utils.notes.text_files import unix_lines

# Split to file and official count, in the order in which a leak is dropped: training goes first.
ACI_BENCH = {
    "train": ("data/challenge_data/train.csv", 67),
    "valid": ("data/challenge_data/valid.csv", 20),
    "test1": ("data/challenge_data/clinicalnlp_taskB_test1.csv", 40),
    "test2": ("data/challenge_data/clinicalnlp_taskC_test2.csv", 40),
    "test3": ("data/challenge_data/clef_taskC_test3.csv", 40),
}
MTS_DIALOG = {
    "train": ("Main-Dataset/MTS-Dialog-TrainingSet.csv", 1201),
    "valid": ("Main-Dataset/MTS-Dialog-ValidationSet.csv", 100),
    "test1": ("Main-Dataset/MTS-Dialog-TestSet-1-MEDIQA-Chat-2023.csv", 200),
    "test2": ("Main-Dataset/MTS-Dialog-TestSet-2-MEDIQA-Sum-2023.csv", 200),
}
N_PRIMOCK57 = 57
N_MEDQUAD_QUESTIONS = 47_457


def load_aci_bench() -> dict[str, list[Encounter]]:
    """ACI-Bench: full visits with sectioned notes, splits train, valid, test1, test2, test3.

    Upstream's known defect stays: in some transcripts the speaker tags are swapped.

    Raises: ValueError if a split has not its official count; `corpus_files` says what else.
    Source: Yim et al. 2023, doi:10.1038/s41597-023-02487-3, repository wyim/aci-bench.
    """
    files = corpus_files("aci-bench")
    return {
        split: parse_aci_bench(files[path], split, n_expected)
        for split, (path, n_expected) in ACI_BENCH.items()
    }


def load_mts_dialog(drop_leaks: bool = True) -> dict[str, list[Encounter]]:
    """MTS-Dialog: short dialogues with one note section each, splits train, valid, test1, test2.

    With `drop_leaks`, the training copies of dialogues that also stand in valid or a test are
    left out after the official counts were checked; the official tests stay whole.

    Raises: ValueError if a split has not its official count; `corpus_files` says what else.
    Source: Ben Abacha et al. 2023, aclanthology.org/2023.eacl-main.168, abachaa/MTS-Dialog.
    """
    files = corpus_files("mts-dialog")
    splits = {
        split: parse_mts_dialog(files[path], split, n_expected)
        for split, (path, n_expected) in MTS_DIALOG.items()
    }
    return remove_leaks(splits)[0] if drop_leaks else splits


def load_primock57() -> list[Encounter]:
    """PriMock57: 57 acted UK consultations with shorthand notes; all of it is test data.

    The note is one section "Note", since its shorthand headers follow no scheme.

    Raises: ValueError if there are not 57; `corpus_files` says what else.
    Source: Papadopoulos Korfiatis et al. 2022, aclanthology.org/2022.acl-short.65.
    """
    files = corpus_files("primock57")
    names = sorted(Path(path).stem for path in files if path.startswith("notes/"))
    _require_count(len(names), N_PRIMOCK57, "primock57")
    return [
        parse_primock57(
            files[f"notes/{name}.json"],
            files[f"transcripts/{name}_doctor.TextGrid"],
            files[f"transcripts/{name}_patient.TextGrid"],
        )
        for name in names
    ]


def parse_aci_bench(path: Path, split: str, n_expected: int) -> list[Encounter]:
    """Reads one ACI-Bench file: columns dataset, encounter_id, dialogue, note."""
    return [
        Encounter(
            id=f"aci-{row['encounter_id']}",
            source="aci-bench",
            split=split,
            # One dialogue (D2N131) lacks the tag of its first line, which the doctor says.
            turns=parse_turns(row["dialogue"], first_speaker="doctor"),
            note=split_aci_note(row["note"]),
            meta={"subset": row["dataset"]},
        )
        for row in _read_csv(path, n_expected)
    ]


def parse_mts_dialog(
    path: Path, split: str, n_expected: int, first_speaker: str | None = None
) -> list[Encounter]:
    """Reads one MTS-Dialog file: columns ID, section_header, section_text, dialogue.

    `first_speaker` says the words before a dialogue's first label, which official splits lack.
    """
    return [
        Encounter(
            id=f"mts-{split}-{row['ID']}",
            source="mts-dialog",
            split=split,
            turns=parse_turns(row["dialogue"], first_speaker),
            note=(_mts_section(row["section_header"].strip(), row["section_text"]),),
        )
        for row in _read_csv(path, n_expected)
    ]


def _mts_section(header: str, text: str) -> NoteSection:
    soap = soap_of_headers("mts-dialog")
    return NoteSection(header, soap[header], unix_lines(text).strip())


def parse_primock57(note: Path, doctor: Path, patient: Path) -> Encounter:
    """Reads one consultation: its note (JSON) and the TextGrids of both speakers.

    Utterances are ordered by their start; neighbours of one speaker are one turn.
    """
    record = json.loads(note.read_text(encoding="utf-8"))
    utterances = [
        (start, speaker, text)
        for speaker, path in (("doctor", doctor), ("patient", patient))
        for start, text in read_textgrid(path)
    ]
    turns: list[Turn] = []
    for _, speaker, marked in sorted(utterances, key=lambda utterance: utterance[0]):
        text = strip_markup(marked)
        if not re.search(r"\w", text):
            continue
        if turns and turns[-1].speaker == speaker:
            turns[-1] = Turn(speaker, f"{turns[-1].text} {text}")
        else:
            turns.append(Turn(speaker, text))
    return Encounter(
        id=f"primock57-day{record['day']}-{record['consultation']:02d}",
        source="primock57",
        split="test",
        turns=tuple(turns),
        note=(NoteSection(WHOLE_NOTE, "", unix_lines(record["note"]).strip()),),
    )


def read_textgrid(path: Path) -> list[tuple[float, str]]:
    """The utterances of a Praat TextGrid with interval tiers: (start in s, text), empty ones out.

    Raises: ValueError if fewer or more intervals are found than the file declares.
    Source: fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html (a quote in a text is doubled).
    """
    content = path.read_text(encoding="utf-8-sig")
    interval = r'xmin\s*=\s*(\S+)\s+xmax\s*=\s*\S+\s+text\s*=\s*"((?:[^"]|"")*)"'
    intervals = re.findall(interval, content)
    declared = sum(int(n) for n in re.findall(r"intervals: size\s*=\s*(\d+)", content))
    if not declared or len(intervals) != declared:
        raise ValueError(
            f"{path}: expected a TextGrid with its {declared} intervals, got {len(intervals)}"
        )
    return [(float(start), text.replace('""', '"')) for start, text in intervals if text.strip()]


def strip_markup(text: str) -> str:
    """An utterance without PriMock57's tags: unsure words stay, unheard ones leave nothing.

    Source: strip_transcript_tags in scripts/utils.py of babylonhealth/primock57.
    """
    heard = re.sub(r"</?UNSURE\s*>", "", text)
    return " ".join(re.sub(r"</?(?:UNIN|INAUDIBLE_SPEECH)\s*/?>", " ", heard).split())


def training_encounters() -> list[Encounter]:
    """Training encounters of ACI-Bench and MTS-Dialog that no validation or test split repeats."""
    aci, mts = load_aci_bench(), load_mts_dialog(drop_leaks=False)
    splits = {"train": [*aci.pop("train"), *mts.pop("train")], "primock57": load_primock57()}
    splits |= {f"aci-{name}": encounters for name, encounters in aci.items()}
    splits |= {f"mts-{name}": encounters for name, encounters in mts.items()}
    return remove_leaks(splits)[0]["train"]


def iter_medquad_answers() -> Iterator[str]:
    """The distinct answers of MedQuAD where upstream kept them, spaces single, lines stripped.

    Raises: ValueError if the archive has not its official count of questions.
    Source: Ben Abacha and Demner-Fushman 2019, doi:10.1186/s12859-019-3119-4, abachaa/MedQuAD.
    """
    (path,) = corpus_files("medquad").values()
    n_questions, seen = 0, set()
    for _, content in iter_zip_xml(path):
        for answer in parse_medquad(content):
            n_questions += 1
            if answer and answer not in seen:
                seen.add(answer)
                yield answer
    _require_count(n_questions, N_MEDQUAD_QUESTIONS, "medquad")


def parse_medquad(content: bytes) -> list[str]:
    """The answers of one MedQuAD file, "" where upstream removed them.

    Four files name their elements `pair` and `answer` instead of `QAPair` and `Answer`.
    """
    answers = []
    for element in ElementTree.fromstring(content).iter():
        if element.tag in ("QAPair", "pair"):
            answer = element.findtext("Answer") or element.findtext("answer") or ""
            lines = (" ".join(line.split()) for line in unix_lines(answer).split("\n"))
            answers.append("\n".join(filter(None, lines)))
    return answers


def _read_csv(path: Path, n_expected: int) -> list[dict[str, str]]:
    """The rows as text; a note that says "None" or "N/A" is a note, not a missing one."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    _require_count(len(table), n_expected, str(path))
    return table.to_dict("records")


def _require_count(n: int, n_expected: int, what: str) -> None:
    if n != n_expected:
        raise ValueError(f"{what}: expected {n_expected} records, the official count, got {n}")
