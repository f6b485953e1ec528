"""The loaders, on small files made up here, and on the real corpora where these are present."""

import csv
import re
from pathlib import Path
from statistics import mean

import pytest

from medisum_utils.data import corpora as loaders
from medisum_utils.data.leaks import check_leaks, find_leaks
from medisum_utils.data.transcript import parse_turns
from medisum_utils.notes.headers import soap_of_headers

CARD = Path(__file__).parents[2] / "data" / "README.md"


# Files made up here, in the corpora's form


def write_csv(path: Path, rows: list[list[str]], **options) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, **options).writerows(rows)
    return path


def test_mts_dialog_file_with_line_breaks_inside_fields(tmp_path):
    rows = [
        ["ID", "section_header", "section_text", "dialogue"],
        ["0", "ALLERGY", "None", "Doctor: Any allergies?\r\n Patient: No."],
        ["1", "FAM/SOCHX", "N/A ", 'Doctor: "Smoke"?\r\nGest_family: He does.'],
    ]
    path = write_csv(tmp_path / "a.csv", rows, lineterminator="\r\n")
    first, second = loaders.parse_mts_dialog(path, "train", 2)
    assert (first.id, first.source, first.split) == ("mts-train-0", "mts-dialog", "train")
    assert first.dialogue_text == "Doctor: Any allergies?\nPatient: No."
    assert (first.note[0].soap, first.note[0].text) == ("subjective", "None")
    assert (second.turns[1].speaker, second.note[0].text) == ("guest_family", "N/A")
    with pytest.raises(ValueError, match="expected 3 records, the official count, got 2"):
        loaders.parse_mts_dialog(path, "train", 3)


def test_aci_bench_file(tmp_path):
    rows = [
        ["dataset", "encounter_id", "dialogue", "note"],
        ["aci", "X1", "hi\n[patient] hello", "CHIEF COMPLAINT\n\nKnee.\n\nPLAN\n\nRest."],
    ]
    (one,) = loaders.parse_aci_bench(write_csv(tmp_path / "a.csv", rows), "valid", 1)
    assert one.dialogue_text == "Doctor: hi\nPatient: hello"
    assert one.note_text == "CHIEF COMPLAINT:\nKnee.\n\nPLAN:\nRest."
    assert one.meta == {"subset": "aci"}


def textgrid(utterances: list[tuple[float, float, str]], declared: int | None = None) -> str:
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "xmin = 0", "xmax = 9"]
    lines += ["item []:", "  item [1]:", '    class = "IntervalTier"', '    name = "Speaker"']
    lines += [
        "    xmin = 0",
        "    xmax = 9",
        f"    intervals: size = {declared or len(utterances)}",
    ]
    for number, (start, end, text) in enumerate(utterances, start=1):
        lines += [f"    intervals [{number}]:", f"      xmin = {start}", f"      xmax = {end}"]
        lines += [f'      text = "{text}"']
    return "\r\n".join(lines) + "\r\n"


def test_primock57_consultation_is_merged_by_time(tmp_path):
    doctor = tmp_path / "d.TextGrid"
    patient = tmp_path / "p.TextGrid"
    note = tmp_path / "n.json"
    doctor.write_text(
        textgrid(
            [
                (0, 1, "Hi, <UNSURE>Ms A</UNSURE>."),
                (1, 3, ""),
                (3.5, 4, 'A ""pop""?'),
                (6, 7, "<UNIN/>."),
            ]
        )
    )
    patient.write_text(
        textgrid([(0, 2, ""), (2, 2.5, "My <UNIN/> knee"), (3, 3.2, "hurts."), (5, 6, "<UNIN/>")])
    )
    note.write_text('{"day": 1, "consultation": 2, "note": "Knee pain\\r\\nImp: sprain \\n"}')
    one = loaders.parse_primock57(note, doctor, patient)
    assert one.dialogue_text == 'Doctor: Hi, Ms A.\nPatient: My knee hurts.\nDoctor: A "pop"?'
    assert one.note_text == "Note:\nKnee pain\nImp: sprain"
    assert (one.id, one.split) == ("primock57-day1-02", "test")


def test_a_cut_textgrid_is_refused(tmp_path):
    path = tmp_path / "a.TextGrid"
    path.write_text(textgrid([(0, 1, "secret")], declared=2))
    with pytest.raises(ValueError, match="its 2 intervals, got 1") as caught:
        loaders.read_textgrid(path)
    assert "secret" not in str(caught.value)


def test_markup_never_closed_goes_too():
    assert loaders.strip_markup("so <UNSURE>sharp <INAUDIBLE_SPEECH/>pain") == "so sharp pain"
    assert loaders.strip_markup("pain < 5 of 10") == "pain < 5 of 10"


def test_medquad_answers_in_both_spellings():
    usual = b"<D><QAPairs><QAPair><Question>q</Question><Answer> a  b\r\n\r\n c </Answer></QAPair>"
    usual += b"<QAPair><Question>q</Question><Answer/></QAPair></QAPairs></D>"
    other = b"<doc><qaPairs><pair><question>q</question><answer>d</answer></pair></qaPairs></doc>"
    assert loaders.parse_medquad(usual) == ["a b\nc", ""]
    assert loaders.parse_medquad(other) == ["d"]


# The real corpora


@pytest.mark.corpus
def test_official_splits_and_the_data_card(corpora):
    splits = {("ACI-Bench", k): v for k, v in loaders.load_aci_bench().items()}
    splits |= {("MTS-Dialog", k): v for k, v in loaders.load_mts_dialog(drop_leaks=False).items()}
    splits |= {("PriMock57", "test"): loaders.load_primock57()}
    section = CARD.read_text(encoding="utf-8").split("## Official splits")[1].split("\n## ")[0]
    card = [[cell.strip() for cell in row.split("|")[1:-1]] for row in section.split("\n")]
    card = [row for row in card if len(row) == 6][2:]

    def n_words(texts):
        return sum(len(text.split()) for text in texts)

    expected = []
    for (corpus, split), encounters in splits.items():
        turns = mean(len(e.turns) for e in encounters)
        dialogue = mean(n_words(turn.text for turn in e.turns) for e in encounters)
        note = mean(n_words(part.text for part in e.note) for e in encounters)
        figures = [str(len(encounters)), f"{turns:.1f}", f"{dialogue:.0f}", f"{note:.0f}"]
        expected.append([corpus, split, *figures])
    assert card == expected
    for encounters in splits.values():
        for item in encounters:
            assert parse_turns(item.dialogue_text) == item.turns


@pytest.mark.corpus
def test_mts_dialog_copies_in_train_are_found_and_dropped(corpora):
    whole = loaders.load_mts_dialog(drop_leaks=False)
    leaks = find_leaks(whole)
    exact = {(leak.id, leak.other_id) for leak in leaks if leak.kind == "exact"}
    known = [(284, "valid-4"), (56, "valid-58"), (318, "test1-96"), (926, "test1-106")]
    known += [(989, "test2-59"), (989, "test2-153")]
    assert {(f"mts-train-{train}", f"mts-{other}") for train, other in known} <= exact
    assert {leak.split for leak in leaks} == {"train"}

    clean = loaders.load_mts_dialog()
    check_leaks(clean)
    assert {name: len(part) for name, part in clean.items()} == {
        "train": 1181,
        "valid": 100,
        "test1": 200,
        "test2": 200,
    }
    dropped = {e.id for e in whole["train"]} - {e.id for e in clean["train"]}
    section = CARD.read_text(encoding="utf-8").split("| training IDs | why |")[1].split("\n\n")[0]
    listed = re.findall(r"^\| ([0-9, ]+) \|", section, re.MULTILINE)
    card = {f"mts-train-{number}" for cell in listed for number in cell.split(", ")}
    assert dropped == card


@pytest.mark.corpus
def test_mts_dialog_roles_and_headers(corpora):
    items = [e for part in loaders.load_mts_dialog(drop_leaks=False).values() for e in part]
    roles = {turn.speaker for e in items for turn in e.turns}
    numbered = {"doctor_2", "guest_family_1", "guest_family_2"}
    assert roles == {"doctor", "patient", "guest_family", "guest_clinician", *numbered}
    assert {e.note[0].header for e in items} == set(soap_of_headers("mts-dialog"))
    assert all(e.note[0].text and "\r" not in e.dialogue_text for e in items)
    label = re.compile(r"(?:Doctor|Patient|Guest_\w+):\s*\S")
    assert not [e.id for e in items for turn in e.turns if label.search(turn.text)]


@pytest.mark.corpus
def test_aci_bench_notes_have_their_sections(corpora):
    splits = loaders.load_aci_bench()
    check_leaks(splits)
    items = [e for part in splits.values() for e in part]
    assert sum(any(part.header == "VITALS" for part in e.note) for e in items) == 77
    assert all(part.soap for e in items for part in e.note)
    assert all(any(part.soap == "subjective" and part.text for part in e.note) for e in items)
    assert {turn.speaker for e in items for turn in e.turns} == {
        "doctor",
        "patient",
        "patient_guest",
    }


@pytest.mark.corpus
def test_primock57_has_no_markup_and_two_speakers_in_turn(corpora):
    for item in loaders.load_primock57():
        assert not re.search(r"</?[A-Z_]+/?>", item.dialogue_text)
        speakers = [turn.speaker for turn in item.turns]
        assert set(speakers) == {"doctor", "patient"}
        assert all(a != b for a, b in zip(speakers, speakers[1:], strict=False))


@pytest.mark.corpus
@pytest.mark.slow
def test_pretraining_texts_hold_nothing_held_out(corpora):
    training = loaders.training_encounters()
    answers = list(loaders.iter_medquad_answers())
    assert (len(training), len(answers)) == (1248, 15_827)
    aci, mts = loaders.load_aci_bench(), loaders.load_mts_dialog(drop_leaks=False)
    held_out = [
        e for splits in (aci, mts) for name, part in splits.items() if name != "train" for e in part
    ]
    held_out += loaders.load_primock57()
    assert not {e.dialogue_text for e in held_out} & {e.dialogue_text for e in training}
    long_notes = {e.note_text for e in held_out if len(e.note_text.split()) > 16}
    assert not long_notes & {e.note_text for e in training}
    assert len(set(answers)) == len(answers)
    assert all(text == text.strip() != "" for text in answers)
