"""ROUGE per note, equal to the rouge-score package's, and intervals for its mean.

Longest common subsequences are found by bit vectors: rouge-score's results, ties included, but
faster. One integer holds a whole row of the usual table: bit j is clear where the row grows from
column j to column j + 1. rapidfuzz's `LCSseq` may choose another subsequence among the longest, so
ROUGE-Lsum would differ.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from rouge_score import scoring, tokenize

ROUGE_NAMES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
CONFIDENCE = 0.95
N_RESAMPLES = 9999  # scipy's default
ROUNDING = 1e-12  # scores are in 0 to 1

Tokens = list[str]
Bits = Mapping[str, int]  # the positions of each token in a text, a bit each
Tokenizer = Callable[[str], Tokens]


def rouge_scores(
    references: Sequence[str], predictions: Sequence[str], stemmer: bool = False
) -> dict[str, list[float]]:
    """The F1 of each note by ROUGE name, in 0 to 1.

    `references[i]` and `predictions[i]` belong together; each list of the result has one
    value per pair. A text without letters or digits scores 0. ROUGE-Lsum expects one sentence per
    line. The values equal those of `rouge_score.rouge_scorer.RougeScorer` bit for bit.

    Raises: ValueError for lists of different lengths; TypeError for a note that is not text.
    Source: rouge-score 0.1.2.
    """
    if len(references) != len(predictions):
        raise ValueError(
            f"expected one prediction per reference, got {len(references)} references "
            f"and {len(predictions)} predictions"
        )
    tokenizer = _tokenizer(stemmer)
    scores: dict[str, list[float]] = {name: [] for name in ROUGE_NAMES}
    for reference, prediction in zip(references, predictions, strict=True):
        for name, f1 in _note_scores(reference, prediction, tokenizer).items():
            scores[name].append(f1)
    return scores


def _tokenizer(stemmer: bool) -> Tokenizer:
    if not stemmer:
        return partial(tokenize.tokenize, stemmer=None)
    from nltk.stem.porter import PorterStemmer  # takes a second to import and is rarely needed

    return partial(tokenize.tokenize, stemmer=PorterStemmer())


def _note_scores(reference: str, prediction: str, tokenizer: Tokenizer) -> dict[str, float]:
    # Tokens never span lines, so the text's tokens are the lines' tokens in sequence.
    reference_lines = _lines(reference, tokenizer)
    prediction_lines = _lines(prediction, tokenizer)
    reference_tokens = [token for line in reference_lines for token in line]
    prediction_tokens = [token for line in prediction_lines for token in line]
    n_both = len(reference_tokens), len(prediction_tokens)
    longest = _lcs_length(reference_tokens, _positions(prediction_tokens), n_both[1])
    return {
        "rouge1": _overlap_f1(Counter(reference_tokens), Counter(prediction_tokens)),
        "rouge2": _overlap_f1(
            Counter(pairwise(reference_tokens)), Counter(pairwise(prediction_tokens))
        ),
        "rougeL": _f1(longest, *n_both),
        "rougeLsum": _f1(_summary_hits(reference_lines, prediction_lines), *n_both),
    }


def _lines(text: str, tokenizer: Tokenizer) -> list[Tokens]:
    if not isinstance(text, str):
        raise TypeError(f"expected a note as text, got {type(text).__name__}")
    return [tokens for line in text.split("\n") if (tokens := tokenizer(line))]


def _overlap_f1(reference: Counter, prediction: Counter) -> float:
    return _f1((reference & prediction).total(), reference.total(), prediction.total())


def _f1(n_hits: int, n_reference: int, n_prediction: int) -> float:
    """The package's order of operations, so that results agree to the last bit."""
    return scoring.fmeasure(n_hits / max(n_prediction, 1), n_hits / max(n_reference, 1))


def _summary_hits(reference_lines: list[Tokens], prediction_lines: list[Tokens]) -> int:
    """Counts the tokens of the union LCS, each at most as often as it occurs in both texts."""
    candidates = [(_positions(line), len(line)) for line in prediction_lines]
    left = Counter(token for line in reference_lines for token in line) & Counter(
        token for line in prediction_lines for token in line
    )
    n_hits = 0
    for line in reference_lines:
        for index in _union(line, candidates):
            if left[line[index]] > 0:
                left[line[index]] -= 1
                n_hits += 1
    return n_hits


def _union(line: Tokens, candidates: list[tuple[Bits, int]]) -> set[int]:
    words = set(line)
    return {
        index
        for candidate, n_tokens in candidates
        if not words.isdisjoint(candidate)
        for index in _lcs_reference_indices(line, candidate, n_tokens)
    }


def _positions(tokens: Sequence[str]) -> dict[str, int]:
    """Maps each token to an integer with one bit set for each of its positions."""
    bits: dict[str, int] = {}
    for index, token in enumerate(tokens):
        bits[token] = bits.get(token, 0) | (1 << index)
    return bits


def _rows(reference: Sequence[str], candidate: Bits, n_candidate: int) -> list[int]:
    """The table's rows 0 to len(reference) as bit vectors, n_candidate bits each."""
    full = (1 << n_candidate) - 1
    row = full
    rows = [row]
    for token in reference:
        match = row & candidate.get(token, 0)
        if match:
            row = ((row + match) | (row - match)) & full
        rows.append(row)
    return rows


def _lcs_length(reference: Sequence[str], candidate: Bits, n_candidate: int) -> int:
    """The length of the longest common subsequence, in tokens.

    `candidate` holds the `_positions` of the other text, `n_candidate` its length.
    Source: Hyyro 2004, Bit-parallel LCS-length computation revisited.
    """
    return n_candidate - _rows(reference, candidate, n_candidate)[-1].bit_count()


def _lcs_reference_indices(
    reference: Sequence[str], candidate: Bits, n_candidate: int
) -> list[int]:
    """The indices in `reference` of one longest common subsequence, last first.

    If several are longest, it chooses the same one as rouge-score: going back from the end, a
    match first, then up unless the table's value to the left is greater.
    """
    rows = _rows(reference, candidate, n_candidate)
    i, j = len(reference), n_candidate
    value = j - rows[i].bit_count()
    indices: list[int] = []
    while value:  # where the table says 0, there are no matches left
        if candidate.get(reference[i - 1], 0) >> (j - 1) & 1:
            i, j, value = i - 1, j - 1, value - 1
            indices.append(i)
        elif j - (rows[i - 1] & ((1 << j) - 1)).bit_count() == value:
            i -= 1
        else:
            j -= 1
    return indices


def interval(values: Sequence[float], seed: int = 0) -> dict[str, float | None]:
    """The mean of `values` with its 95% bootstrap interval: mean, low, high.

    The unit is that of `values`. BCa bootstrap over the values, 9,999 resamples, seeded.
    One value has no interval: low and high are None. If all values are equal to within rounding,
    the interval has zero width at their mean.

    Raises: ValueError for an empty list or a value that is not finite.
    Source: scipy.stats.bootstrap; Efron 1987, Better bootstrap confidence intervals.
    """
    from scipy import stats  # takes a second to import

    sample = _finite(values)
    mean = float(sample.mean())
    if sample.size == 1:
        return {"mean": mean, "low": None, "high": None}
    if np.ptp(sample) <= ROUNDING:
        return {"mean": mean, "low": mean, "high": mean}
    bounds = stats.bootstrap(
        (sample,),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=N_RESAMPLES,
        batch=1000,  # limits memory for many notes
        rng=np.random.default_rng(seed),
    ).confidence_interval
    if not (math.isfinite(bounds.low) and math.isfinite(bounds.high)):
        raise ValueError(f"no interval could be computed for these {sample.size} values")
    return {"mean": mean, "low": float(bounds.low), "high": float(bounds.high)}


def paired_difference(
    a: Sequence[float], b: Sequence[float], seed: int = 0
) -> dict[str, float | None]:
    """The mean, interval and p of a - b over the same encounters: mean, low, high, p.

    The interval is `interval` of the differences. p is the two-sided p-value of the paired
    permutation test on the mean difference (a and b are swapped within encounters): exact if 2^n
    is at most 9,999, otherwise from 9,999 seeded permutations and never 0. A single pair, or pairs
    that are all equal to within rounding, give p = 1.

    Raises: ValueError for different lengths, empty lists or a value that is not finite.
    Source: scipy.stats.permutation_test, permutation_type="samples".
    """
    if len(a) != len(b):
        raise ValueError(f"expected pairs, got {len(a)} values and {len(b)} values")
    difference = _finite(a) - _finite(b)
    result = interval(difference.tolist(), seed)
    return {**result, "p": _permutation_p(difference, seed)}


def _permutation_p(difference: np.ndarray, seed: int) -> float:
    from scipy import stats  # takes a second to import

    if difference.size == 1 or np.abs(difference).max() <= ROUNDING:
        return 1.0
    test = stats.permutation_test(
        (difference,),  # for one sample, "samples" permutes the signs
        np.mean,
        permutation_type="samples",
        n_resamples=N_RESAMPLES,
        vectorized=True,
        batch=1000,
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)


def _finite(values: Sequence[float]) -> np.ndarray:
    sample = np.asarray(values, dtype=float)
    if sample.ndim != 1 or sample.size == 0:
        raise ValueError(f"expected a list of at least one value, got shape {sample.shape}")
    n_bad = int((~np.isfinite(sample)).sum())
    if n_bad:
        raise ValueError(f"expected finite values, got {n_bad} of {sample.size} that are not")
    return sample
