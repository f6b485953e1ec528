"""ROUGE compared with the package, and the properties of intervals and p."""

from __future__ import annotations

import math
import random
import time

import numpy as np
import pytest
from rouge_score import rouge_scorer
from scipy import stats

from medisum_utils.scoring.rouge import ROUGE_NAMES, interval, paired_difference, rouge_scores

WORDS = (
    *("the", "patient", "denies", "chest", "pain", "and", "takes", "5", "mg", "of", "no"),
    *("Lisinopril", "daily,", "fever;", "BP", "120/80"),
)


def _note(rng: random.Random, n_lines: int) -> str:
    lines = (" ".join(rng.choices(WORDS, k=rng.randint(0, 12))) for _ in range(n_lines))
    return "\n".join(lines)


def _package(references: list[str], predictions: list[str], stemmer: bool) -> dict[str, list]:
    scorer = rouge_scorer.RougeScorer(list(ROUGE_NAMES), use_stemmer=stemmer)
    scores = [scorer.score(*pair) for pair in zip(references, predictions, strict=True)]
    return {name: [score[name].fmeasure for score in scores] for name in ROUGE_NAMES}


@pytest.mark.parametrize("stemmer", [False, True])
def test_rouge_is_the_packages_to_the_last_bit(stemmer):
    rng = random.Random(3)
    pairs = [(_note(rng, rng.randint(0, 9)), _note(rng, rng.randint(0, 9))) for _ in range(300)]
    pairs += [("", ""), ("...", "pain"), ("pain", "\n\n"), ("a\r\nb", "b\r\na"), ("é", "é pain")]
    references, predictions = map(list, zip(*pairs, strict=True))
    assert rouge_scores(references, predictions, stemmer) == _package(
        references, predictions, stemmer
    )


def test_rouge_without_stemmer_distinguishes_word_forms():
    assert rouge_scores(["tablets"], ["tablet"])["rouge1"] == [0.0]
    assert rouge_scores(["tablets"], ["tablet"], stemmer=True)["rouge1"] == [1.0]


def test_rouge_lsum_sees_lines_and_rouge_l_does_not():
    scores = rouge_scores(["one two\nthree four"], ["three four\none two"])
    assert scores["rougeLsum"] == [1.0]
    assert scores["rougeL"] == [0.5]


def test_rouge_refuses_different_lengths_and_other_types():
    with pytest.raises(ValueError, match="2 references and 1 predictions"):
        rouge_scores(["a", "b"], ["a"])
    with pytest.raises(TypeError, match="float"):
        rouge_scores(["a"], [math.nan])


def test_interval_is_scipys_and_repeats_with_its_seed():
    values = list(np.random.default_rng(1).normal(0.5, 0.1, 40))
    estimate = interval(values, seed=5)
    assert estimate == interval(values, seed=5)
    assert estimate != interval(values, seed=6)
    assert estimate["mean"] == pytest.approx(np.mean(values))
    expected = stats.bootstrap((values,), np.mean, rng=np.random.default_rng(5))
    # The batches draw in another order, so the resamples differ, but not by much.
    assert estimate["low"] == pytest.approx(expected.confidence_interval.low, abs=0.002)
    assert estimate["high"] == pytest.approx(expected.confidence_interval.high, abs=0.002)


def test_intervals_cover_the_true_mean():
    rng = np.random.default_rng(0)
    intervals = [interval(rng.normal(0.4, 0.1, 30).tolist(), seed=i) for i in range(200)]
    covered = sum(estimate["low"] <= 0.4 <= estimate["high"] for estimate in intervals)
    assert 0.88 <= covered / len(intervals) <= 0.99


def test_intervals_of_odd_samples_follow_the_rules():
    assert interval([0.3]) == {"mean": 0.3, "low": None, "high": None}
    assert interval([0.0] * 7) == {"mean": 0.0, "low": 0.0, "high": 0.0}
    constant = interval([0.1] * 3)
    assert constant["low"] == constant["mean"] == constant["high"] == pytest.approx(0.1)
    for sample in ([0.0, 1.0], [0.0] * 39 + [1.0], [1e-9, 0.0, 0.0], [0.5, 0.5, 0.5 + 1e-16]):
        estimate = interval(sample)
        assert estimate["low"] <= estimate["mean"] <= estimate["high"]
    with pytest.raises(ValueError, match="at least one value"):
        interval([])
    with pytest.raises(ValueError, match="1 of 2 that are not"):
        interval([0.1, math.nan])


def test_paired_difference_sees_a_small_steady_gain():
    rng = np.random.default_rng(2)
    b = rng.uniform(0, 1, 40)
    a = b + 0.01 + rng.normal(0, 0.005, 40)  # far below the spread of either
    difference = paired_difference(a, b, seed=1)
    assert 0 < difference["low"] < difference["mean"] < difference["high"] < 0.02
    assert difference["p"] == pytest.approx(2 / 10_000)  # the least that 9,999 permutations can say
    reversed_difference = paired_difference(b, a, seed=1)
    assert reversed_difference["mean"] == pytest.approx(-difference["mean"])


def test_paired_difference_is_exact_for_few_pairs():
    # All 2^5 sign patterns: only the two uniform ones are as extreme.
    assert paired_difference([1, 2, 3, 4, 5], [0, 0, 0, 0, 0], seed=0)["p"] == 2 / 32


def test_paired_difference_has_its_error_rate():
    rng = np.random.default_rng(4)
    ps = [paired_difference(*rng.normal(0, 1, (2, 12)), seed=i)["p"] for i in range(100)]
    assert 0.01 <= np.mean(np.array(ps) <= 0.05) <= 0.10


def test_paired_difference_of_odd_samples_follows_the_rules():
    same = paired_difference([0.2, 0.4], [0.2, 0.4])
    assert same == {"mean": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}
    assert paired_difference([0.5], [0.25]) == {"mean": 0.25, "low": None, "high": None, "p": 1.0}
    with pytest.raises(ValueError, match="pairs"):
        paired_difference([0.1], [0.1, 0.2])


def test_four_rouges_with_intervals_cost_no_more_than_the_package():
    rng = random.Random(8)
    notes = [[_note(rng, 45) for _ in range(8)] for _ in range(2)]
    start = time.process_time()
    for values in rouge_scores(*notes).values():
        interval(values)
    own_s = time.process_time() - start
    start = time.process_time()
    _package(*notes, stemmer=False)
    assert own_s <= 1.1 * (time.process_time() - start)
