"""Fact scores: errors lower them, and padding does not raise them."""

from __future__ import annotations

import time

import pytest

from medisum_utils.facts import NoteFacts, dialogue_omissions, score_note
from medisum_utils.facts.matching import Index
from medisum_utils.facts.statements import LIGHT_WEIGHT, Atom, Statement, Token

DIALOGUE = """Doctor: How old are you now?
Patient: I'm sixty four.
Doctor: What brings you in?
Patient: My left knee has been hurting for three weeks. It swells up too.
Doctor: Did you injure it?
Patient: No.
Doctor: Any fever or chills?
Patient: No, none.
Doctor: Are you taking anything for it?
Patient: I take naproxen, two hundred fifty milligrams, twice a day.
Doctor: And for your blood pressure?
Patient: Lisinopril, ten milligrams, every morning. It rained a lot on the way here.
Doctor: Any allergies?
Patient: I'm allergic to penicillin, I get hives.
Doctor: Okay. Let's get an x ray of that knee, and I'll see you in two weeks.
Patient: My niece drove me over, she has a new red bicycle."""

NOTE = """The patient is a 64-year-old with left knee pain for 3 weeks and swelling.
Denies injury. No fever or chills.
Hypertension, on lisinopril 10 mg every morning.
Takes naproxen 250 mg twice a day.
Allergic to penicillin, which gives hives.
X-ray of the left knee. Followup in 2 weeks."""

STRANGER = """The patient is a 31-year-old with migraine since college and photophobia.
Admits daily marijuana. Sumatriptan 50 mg as needed.
Brain MRI was normal. Neurology referral."""


def scored(prediction: str) -> NoteFacts:
    return score_note(NOTE, prediction, DIALOGUE)


def changed(old: str, new: str) -> str:
    assert old in NOTE
    return NOTE.replace(old, new)


CORRUPTIONS = {
    "denial flipped": changed("No fever or chills", "Fever and chills"),
    "finding denied": changed("and swelling", "without swelling"),
    "dose times ten": changed("lisinopril 10 mg", "lisinopril 100 mg"),
    "dose divided by ten": changed("naproxen 250 mg", "naproxen 25 mg"),
    "unit changed": changed("250 mg", "250 mcg"),
    "frequency changed": changed("twice a day", "four times a day"),
    "side changed": changed("with left knee", "with right knee").replace("the left", "the right"),
    "medicine changed": changed("naproxen", "warfarin"),
    "age changed": changed("64-year-old", "46-year-old"),
    "duration changed": changed("3 weeks", "3 years"),
    "normal finding hallucinated": NOTE + "\nLungs are clear to auscultation.",
    "denial hallucinated": NOTE + "\nDenies chest pain.",
    "problem hallucinated": NOTE + "\nHistory of atrial fibrillation.",
    "stranger's history added": NOTE + "\n" + STRANGER,
    "stranger's note": STRANGER,
}


@pytest.mark.parametrize("corrupted", CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_an_error_lowers_the_score_and_is_reported(corrupted: str) -> None:
    good, bad = scored(NOTE), scored(corrupted)
    assert bad.f1 < good.f1
    assert bad.precision < good.precision
    assert bad.hallucination > good.hallucination
    assert bad.hallucinated


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("dose times ten", "100 mg"),
        ("side changed", "right"),
        ("medicine changed", "warfarin"),
        ("problem hallucinated", "atrial fibrillation"),
    ],
)
def test_the_offending_words_are_named(name: str, word: str) -> None:
    hallucinated = scored(CORRUPTIONS[name]).hallucinated
    assert any(word in " ".join(fact.offending) for fact in hallucinated)


@pytest.mark.parametrize("name", ["denial flipped", "side changed", "dose times ten"])
def test_a_fact_that_the_dialogue_denies_is_contradicted(name: str) -> None:
    assert any(fact.status == "contradicted" for fact in scored(CORRUPTIONS[name]).hallucinated)


def test_a_fact_in_neither_text_is_unsupported() -> None:
    hallucinated = scored(CORRUPTIONS["problem hallucinated"]).hallucinated
    assert [fact.status for fact in hallucinated] == ["unsupported"]


@pytest.mark.parametrize("lost", NOTE.splitlines())
def test_a_lost_line_lowers_recall_and_raises_omission(lost: str) -> None:
    good, bad = scored(NOTE), scored(NOTE.replace(lost, ""))
    assert bad.recall < good.recall
    assert bad.f1 < good.f1
    assert bad.omission > good.omission
    assert bad.omitted


PADDING = {
    "small talk": "The doctor greeted the patient. It rained a lot on the way here.",
    "true and beside": "Her niece drove her over. The niece has a new red bicycle.",
    "carrier words": "The patient presents today and states that the visit was noted as reported.",
    "twice": NOTE,
    "half twice": "\n".join(NOTE.splitlines()[:3]),
}


@pytest.mark.parametrize("padding", PADDING.values(), ids=PADDING)
@pytest.mark.parametrize("n_lines", [2, 4, 6])
def test_padding_gains_nothing(padding: str, n_lines: int) -> None:
    short = "\n".join(NOTE.splitlines()[:n_lines]).replace("10 mg", "15 mg")
    added = padding if "knee" not in padding else short
    plain, padded = scored(short), scored(f"{short}\n{added}\n{added}")
    assert padded.f1 <= plain.f1
    assert padded.precision <= plain.precision
    assert padded.omission >= plain.omission
    assert padded.hallucination >= plain.hallucination


def test_length_alone_gains_nothing() -> None:
    assert scored("word " * 200).f1 == 0.0


@pytest.mark.parametrize("note", [NOTE, STRANGER, "None.", "As above.", "Stable.", "x"])
def test_a_note_agrees_with_itself(note: str) -> None:
    result = score_note(note, note, DIALOGUE)
    measures = (result.precision, result.recall, result.f1, result.omission, result.hallucination)
    assert measures == (1.0, 1.0, 1.0, 0.0, 0.0)
    assert all(fact.status == "matched" for fact in result.reference)


def test_the_order_of_sentences_does_not_matter() -> None:
    backwards = scored("\n".join(reversed(NOTE.splitlines())))
    assert backwards.f1 == pytest.approx(scored(NOTE).f1)
    assert backwards.omission == pytest.approx(scored(NOTE).omission)


def test_other_words_for_the_same_facts_score_as_well() -> None:
    reworded = """Sixty four year old. Pain in the left knee for three weeks, with edema.
    No injury. He denies fever and chills. High blood pressure, takes ten mg of lisinopril qAM.
    Aleve 250 mg b.i.d. Allergy to PCN (hives). Radiograph of left knee. Follow up in two weeks."""
    result = scored(reworded)
    assert result.f1 > 0.85
    assert result.hallucination == 0.0


@pytest.mark.parametrize("empty", ["", "   \n", "...", "?"])
def test_an_empty_prediction_scores_nothing(empty: str) -> None:
    result = scored(empty)
    measures = (result.precision, result.recall, result.f1, result.omission, result.hallucination)
    assert measures == (0.0, 0.0, 0.0, 1.0, 0.0)


@pytest.mark.parametrize("empty", ["", " \n", "..."])
def test_an_empty_reference_is_an_error_without_text(empty: str) -> None:
    with pytest.raises(ValueError, match="expected a reference") as error:
        score_note(empty, NOTE, DIALOGUE)
    assert "knee" not in str(error.value)


def test_a_generic_denial_matches_one_denial_for_recall_only() -> None:
    score = score_note("No prior surgeries.", "None.", "Doctor: Any surgeries?\nPatient: No.")
    assert (score.recall, score.omission) == (1.0, 1.0)
    many = score_note("No gout, no asthma, no stroke and no anemia.", "Noncontributory.")
    assert many.recall == 0.25


def test_a_generic_denial_of_what_was_affirmed_is_wrong() -> None:
    assert score_note("Penicillin.", "None.", "Patient: Penicillin gives me hives.").hallucinated


def test_the_dialogue_supports_facts_that_the_reference_omits() -> None:
    brief = score_note("Left knee pain.", "Left knee pain. Allergic to penicillin.", DIALOGUE)
    deaf = score_note("Left knee pain.", "Left knee pain. Allergic to penicillin.", "")
    assert not brief.hallucinated
    assert deaf.hallucinated
    assert brief.f1 > deaf.f1


def test_swapped_doses_are_seen() -> None:
    note = (
        "Lisinopril 10 mg. " + "She was told to keep a diary of all readings. " + "Naproxen 250 mg."
    )
    swapped = note.replace("10 mg", "x").replace("250 mg", "10 mg").replace("x.", "250 mg.")
    assert score_note(note, swapped, "").f1 < 1.0


def test_of_two_statements_on_the_whole_fact_the_one_that_agrees_is_chosen() -> None:
    def statement(*, pain_absent: bool) -> Statement:
        words = ("pain", "severe", "chronic", "sharp")
        tokens = tuple(
            Token(
                word, 1.0 if word == "pain" else LIGHT_WEIGHT, word == "pain" and pain_absent, at, 0
            )
            for at, word in enumerate(words)
        )
        return Statement(" ".join(words), words, tokens)

    # Agreeing 0.4 + 0.4 + 0.4 and contradicted 1.0 add up to more than the whole, by rounding.
    denies, agrees = statement(pain_absent=True), statement(pain_absent=False)
    cover = Index([denies, agrees]).best(Atom("", agrees.tokens, agrees))
    assert (cover.share, cover.conflicts) == (1.0, ())


def test_measures_stay_between_zero_and_one() -> None:
    texts = [NOTE, STRANGER, "None.", "Denies fever.", "Left knee pain, 3 weeks.", DIALOGUE]
    for reference in texts:
        for prediction in texts:
            result = score_note(reference, prediction, DIALOGUE)
            for name in ("precision", "recall", "f1", "omission", "hallucination"):
                assert 0.0 <= getattr(result, name) <= 1.0


def test_omissions_of_the_dialogue_are_listed_by_kind() -> None:
    omissions = {
        (item.kind, word)
        for item in dialogue_omissions(DIALOGUE, "Left knee pain.")
        for word in item.text.split()
    }
    assert {
        ("medicine", "naproxen"),
        ("medicine", "lisinopril"),
        ("allergy", "penicillin"),
        ("denial", "fever"),
        ("number", "3"),
    } <= omissions


def test_a_full_note_omits_little() -> None:
    all_of_it = len(dialogue_omissions(DIALOGUE, "Seen."))
    assert len(dialogue_omissions(DIALOGUE, NOTE)) <= all_of_it / 4


def test_a_wrong_dose_counts_as_omitted() -> None:
    wrong = NOTE.replace("naproxen 250 mg", "naproxen 2500 mg")
    left_out = dialogue_omissions(DIALOGUE, wrong)
    assert any("250" in " ".join(item.offending) for item in left_out)


def test_an_unanswered_question_is_no_omission() -> None:
    assert not dialogue_omissions("Doctor: Any gout?\nPatient: Let me think.", "Seen.")


@pytest.mark.slow
def test_forty_full_notes_take_seconds() -> None:
    note, dialogue = NOTE * 8, DIALOGUE * 8  # about 450 and 1,200 words
    note = "\n".join(f"{line} Item {i} months." for i, line in enumerate(note.splitlines()))
    score_note(note, note, dialogue)
    begin = time.process_time()
    for _ in range(40):
        score_note(note, note, dialogue)
    # 2 s on a quiet machine, 6 s on a slow one under load; comparing all pairs would take minutes.
    assert time.process_time() - begin < 15.0
