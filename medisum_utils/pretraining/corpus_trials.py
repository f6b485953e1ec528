"""The trials on a real corpus: what each changes, and the examples that it learns from.

Like every trial they look at no test: of a corpus, training and validation are read, and no other
file.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from medisum_utils.data.corpora import ACI_BENCH, MTS_DIALOG, parse_aci_bench, parse_mts_dialog
from medisum_utils.data.corpora_fetch import corpus_files
from medisum_utils.data.leaks import remove_leaks
from medisum_utils.data.sources import ACI, MTS, as_soap
from medisum_utils.encounter import Encounter
from medisum_utils.modelling.example import RenderedExample
from medisum_utils.modelling.prompt import Renderer
from medisum_utils.notes.parts import BY_DIVISION, SECTION, WHOLE
from medisum_utils.pretraining.ablation import INSTRUCTION
from medisum_utils.pretraining.ablation_record import DEFAULT
from medisum_utils.synthesis.encounters import generate

NF4, EXACT = "NF4", "exact"
NOTHING, TRANSLATIONS, GENERATED = "nothing", "back-translations", "generated encounters"
# By MTS-Dialog's authors, to French or Spanish and back; the file and its official count.
_TRANSLATED = {
    "Augmented-Data/MTS-Dialog-Augmented-TrainingSet-3-FR-and-ES-3603-Pairs-final.csv": 3603
}
# Generated encounters are five times as long as MTS-Dialog's.
ADDED = {(MTS, TRANSLATIONS): 1.0, (MTS, GENERATED): 0.25, (ACI, GENERATED): 1.0}
_READ = ("train", "valid")
UNKNOWN = "unknown"  # who speaks first where a dialogue does not say
LONGEST_PART = {MTS: 300, ACI: 700}  # tokens, as in the profiles `mts` and `aci`
LONGEST_NOTE = {MTS: 300, ACI: 1400}  # tokens, of a note that is written whole


@dataclass(frozen=True, slots=True)
class CorpusTrial:
    """One trial: what it changes, in words, and the resulting settings.

    `base` is how the linear layers are held, `NF4` or `EXACT`; `rank` 0 trains all weights instead
    of an adapter. `share` is the part of the training data. `auxiliary` data are added, `ADDED`
    examples for each of the corpus. With `start` the weights are those that the same trial has
    learnt on that corpus.
    """

    change: str
    corpus: str
    parts: str
    n_passes: int
    batch_tokens: int
    start: str = ""
    base: str = NF4
    rank: int = 16
    share: float = 1.0
    auxiliary: str = NOTHING
    learning_rate: float = 2.0e-3

    @property
    def longest_answer(self) -> int:
        """The limit of each answer, in tokens."""
        return (LONGEST_NOTE if self.parts == WHOLE else LONGEST_PART)[self.corpus]

    @property
    def beginning(self) -> CorpusTrial | None:
        """The trial whose weights this one starts from, None for the base's own."""
        if not self.start:
            return None
        own = {name: getattr(self, name) for name in ("base", "rank", "learning_rate")}
        return replace(CORPUS_TRIALS[self.start][0], change="", **own)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides what is learnt: everything but the words."""
        return {name: value for name, value in asdict(self).items() if name != "change"}


def _trials(default: CorpusTrial, *others: dict[str, Any]) -> tuple[CorpusTrial, ...]:
    """The default, one trial for each change of it that all corpora share, and `others`."""
    everything = {"base": EXACT, "rank": 0}
    changes: tuple[dict[str, Any], ...] = (
        {"change": "LoRA: exact weights instead of NF4", "base": EXACT},
        {"change": "rank 8", "rank": 8},
        {"change": "rank 64", "rank": 64},
        {"change": "half of the training data", "share": 0.5},
        *others,
        {"change": "the note written whole", "parts": WHOLE},
        {"change": "full fine-tuning, rate 5e-4", **everything, "learning_rate": 5.0e-4},
        {"change": "full fine-tuning, rate 2e-4", **everything, "learning_rate": 2.0e-4},
    )
    return (default, *(replace(default, **change) for change in changes))


WITH_GENERATED = {"change": "with generated encounters", "auxiliary": GENERATED}
CORPUS_TRIALS = {
    MTS: _trials(
        # Three passes where the profile has five, to save time.
        CorpusTrial(f"{DEFAULT}: QLoRA, rank 16", MTS, SECTION, n_passes=3, batch_tokens=4096),
        {"change": "with back-translations", "auxiliary": TRANSLATIONS},
        WITH_GENERATED,
    ),
    ACI: _trials(
        CorpusTrial(
            f"{DEFAULT}: QLoRA, rank 16", ACI, BY_DIVISION, n_passes=8, batch_tokens=5120, start=MTS
        ),
        {"change": "without MTS-Dialog before it", "start": ""},
        WITH_GENERATED,
    ),
}


def chosen_trials(corpus: str, words: str = "") -> tuple[CorpusTrial, ...]:
    """The trials on a corpus; with `words`, separated by commas, those whose words have one.

    Raises: ValueError for an unknown corpus, or a word that no trial has.
    """
    if corpus not in CORPUS_TRIALS:
        raise ValueError(f"expected a corpus of {', '.join(CORPUS_TRIALS)}, got {corpus!r}")
    trials, wanted = CORPUS_TRIALS[corpus], [word.strip() for word in words.split(",") if words]
    for word in wanted:
        if not word or not any(word in trial.change for trial in trials):
            known = "; ".join(trial.change for trial in trials)
            raise ValueError(f"expected words of trials ({known}), got {word!r}")
    return tuple(
        trial for trial in trials if not wanted or any(word in trial.change for word in wanted)
    )


@lru_cache
def read_corpus(corpus: str) -> tuple[tuple[Encounter, ...], tuple[Encounter, ...]]:
    """Training and validation of a corpus, training without what validation repeats.

    Raises: what `corpus_files` raises.
    """
    listed = {ACI: ACI_BENCH, MTS: MTS_DIALOG}[corpus]
    parse = {ACI: parse_aci_bench, MTS: _parse_mts}[corpus]
    files = corpus_files(corpus, {listed[split][0] for split in _READ})
    splits = {split: parse(files[listed[split][0]], split, listed[split][1]) for split in _READ}
    train, valid = remove_leaks(splits)[0].values()
    return tuple(train), tuple(valid)


@lru_cache
def read_translations() -> tuple[Encounter, ...]:
    """MTS-Dialog's back-translated training dialogues, without what validation repeats.

    Translation has taken the first speaker from one in 25; those are left out.
    """
    files = corpus_files(f"{MTS}-translated")
    ((name, n_expected),) = _TRANSLATED.items()
    everything = _parse_mts(files[name], "translated", n_expected, first_speaker=UNKNOWN)
    translated = [each for each in everything if each.turns[0].speaker != UNKNOWN]
    splits = {"translated": translated, "valid": list(read_corpus(MTS)[1])}
    return tuple(remove_leaks(splits)[0]["translated"])


def _parse_mts(path: Path, split: str, n_expected: int, **options: str) -> list[Encounter]:
    return [as_soap(each) for each in parse_mts_dialog(path, split, n_expected, **options)]


def training_examples(trial: CorpusTrial, base: str, seed: int) -> list[RenderedExample]:
    """What a trial learns from, in the tokens of `base`; `seed` draws its share and what is added.

    Notes of generated encounters are written by division, as in the profile `clinic`.
    """
    rng = random.Random(f"{seed}, share")
    examples = list(_rendered(trial.corpus, trial.parts, base))
    if trial.share < 1:
        examples = rng.sample(examples, round(trial.share * len(examples)))
    n_added = round(ADDED.get((trial.corpus, trial.auxiliary), 0) * len(examples))
    if trial.auxiliary == TRANSLATIONS:
        examples += rng.sample(_rendered(TRANSLATIONS, trial.parts, base), n_added)
    elif trial.auxiliary == GENERATED:
        by_division = renderer_of(base, BY_DIVISION)
        examples += [by_division.example(e) for e in generate(n_added, seed=seed, split="train")]
    return examples


@lru_cache
def _rendered(what: str, parts: str, base: str) -> tuple[RenderedExample, ...]:
    """The training split of a corpus, or the back-translations, as tokens."""
    encounters = read_translations() if what == TRANSLATIONS else read_corpus(what)[0]
    renderer = renderer_of(base, parts)
    return tuple(renderer.example(encounter) for encounter in encounters)


@lru_cache
def renderer_of(base: str, parts: str) -> Renderer:
    """The renderer of all trials for a base, which asks for notes in `parts`."""
    return Renderer(AutoTokenizer.from_pretrained(base), INSTRUCTION, parts=parts)
