"""Whether ROUGE rises while truth falls: counted on notes whose faults are put there by hand."""

from __future__ import annotations

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest

from medisum_utils.encounter import Encounter, NoteSection, Turn
from medisum_utils.evaluation import SplitScores, real_text as sentences, score_split, truth

N = 12
FEVER, ASPIRIN = "Denies fever.", "Takes aspirin 100 mg daily."
INVENTED = ("Had a stroke in 1990.", "Takes warfarin 5 mg.", "Allergic to penicillin.")


def visits(n: int = N) -> list[Encounter]:
    """Real visits, as far as the judge can tell: their facts are not known."""
    turns = (
        Turn("doctor", "Any fever?"),
        Turn("patient", "No fever. I take aspirin 100 mg daily, and my knee hurts."),
    )
    note = (NoteSection("Subjective", "subjective", f"{FEVER} {ASPIRIN} Reports knee pain."),)
    return [Encounter(f"visit-{i}", "made-up", "test", turns, note) for i in range(n)]


def scored(base: list[str], ours: list[str]) -> SplitScores:
    encounters = visits(len(ours))
    nearest = [FEVER] * len(ours)
    return score_split(encounters, {"nearest": nearest, "base": base, "finetuned": ours})


@pytest.fixture(scope="module")
def invents() -> SplitScores:
    """The fine-tuned model says all that the reference says, and more that nobody said.

    How much it invents grows from one to three statements over the split.
    """
    ours = [
        f"{FEVER} {ASPIRIN} Reports knee pain. {' '.join(INVENTED[: 1 + i // 4])}" for i in range(N)
    ]
    return scored(["Knee pain."] * N, ours)


def at_length(split: str, scores: SplitScores) -> str:
    """What is said of a split, below what the section asks."""
    how, found = sentences.truth_at_length({split: scores}, 17).rsplit("\n\n", 1)
    assert how.startswith("## Does ROUGE rise while truth falls?")
    return found


def test_statements_are_counted_note_by_note(invents):
    values = truth.by_note(invents.systems["finetuned"])
    counted = np.array(values["n_hallucinated"])
    assert (counted[:4] < counted[4:8]).all()
    assert (counted[4:8] < counted[8:]).all()
    assert values["omission"] == [0.0] * N
    assert truth.by_note(invents.systems["base"])["n_hallucinated"] == [0.0] * N
    table = truth.truth_table({"test": invents}, 17)
    assert table.loc[("test", "base without adapter"), "hallucinated a note"].startswith("0.0")
    mean = f"{counted.mean():.1f}<br>"
    assert table.loc[("test", "fine-tuned"), "hallucinated a note"].startswith(mean)


def test_more_words_and_more_inventions_but_fewer_omissions_is_in_part(invents):
    change = truth.changes(invents, 17)
    assert truth.verdict(change) == "in part"
    said = at_length("test1", invents)
    assert said.startswith("**In part.** On 12 encounters of `test1`")
    assert "ROUGE-1 rises, more is hallucinated and less is omitted." in said
    rouge1 = np.mean(invents.systems["finetuned"].rouge["rouge1"])
    assert f"to {rouge1:.3f} (+" in said
    short = sentences.in_short({"test1": {}}, {"test1": invents, "test2": invents}, 17)
    assert short == (
        "Does ROUGE rise while truth falls, from base to fine-tuned, on `test1`? In part. There "
        "ROUGE-1 rises, more is hallucinated and less is omitted."
    )
    title = sentences.truth_title("test1", invents, 17)
    assert title == "test1:\nROUGE-1 rises, more is hallucinated and less is omitted"


@pytest.mark.parametrize(
    ("directions", "expected"),
    [
        ((1, 1, 0), "yes"),
        ((1, 0, 1), "yes"),
        ((1, 1, 1), "yes"),
        ((1, 1, -1), "in part"),
        ((1, -1, 1), "in part"),
        ((1, -1, -1), "no"),
        ((1, 0, 0), "no"),
        ((0, 1, 1), "no"),
        ((-1, 1, 1), "no"),
    ],
)
def test_the_verdict_needs_both_halves_of_the_question(directions, expected):
    names = ("rouge1", "n_hallucinated", "omission")
    gaps = {
        name: {"mean": float(way), "low": way - 0.5, "high": way + 0.5}
        for name, way in zip(names, directions, strict=True)
    }
    assert truth.verdict(gaps) == expected


def test_equal_notes_are_no_change():
    same = [f"{FEVER} {ASPIRIN}"] * N
    said = at_length("test", scored(same, same))
    assert said.startswith("**No.**")
    assert "ROUGE-1 does not clearly change" in said
    one = scored(same[:1], same[:1])  # one note has no interval
    assert "interval" not in at_length("test", one)


def test_the_examples_are_those_that_gain_words_and_inventions():
    """Four notes stay as they were, four gain an invention alone, and four gain much of both."""
    stages = ("Knee pain.", f"{FEVER} {INVENTED[0]}", f"{FEVER} {ASPIRIN} {' '.join(INVENTED)}")
    ours = [stages[(i + 1) % 3] for i in range(N)]  # much at 1, 4, 7 and 10
    scores = scored(["Knee pain."] * N, ours)
    assert truth.most_different(scores, 4) == [1, 4, 7, 10]
    assert len(truth.most_different(scores)) == truth.N_EXAMPLES


def test_examples_are_described_by_kind_and_without_their_text(invents):
    table = truth.examples_table(invents, [9, 0])
    assert list(table.index) == [
        (place, system) for place in ("10", "1") for system in ("base", "fine-tuned")
    ]
    ours, base = table.loc[("10", "fine-tuned")], table.loc[("10", "base")]
    assert ours["medicine"] == "1/1/0"  # aspirin; warfarin, which nobody named
    assert ours["allergy"] == "0/1/0"
    assert ours["denial"] == "1/0/0"
    assert base["medicine"] == "0/0/1"
    assert base["denial"] == "0/0/1"
    assert ours["words of dialogue"] == base["words of dialogue"] > ours["of reference"]
    cells = json.dumps(table.reset_index().astype(str).to_numpy().tolist()).lower()
    assert not any(word in cells for word in ("fever", "aspirin", "knee", "warfarin"))


def test_the_figure_has_a_point_for_each_system_and_its_claim(invents):
    fig = truth.truth_figure(invents, "a claim", 17)
    assert fig.get_suptitle() == "a claim"
    for ax in fig.axes:
        assert len(ax.get_legend_handles_labels()[1]) == 3
        (arrow,) = ax.texts
        ours = np.mean(invents.systems["finetuned"].rouge["rouge1"])
        assert arrow.xy[1] == pytest.approx(ours)
    plt.close(fig)
