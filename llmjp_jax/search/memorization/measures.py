"""How near what a model wrote is to what stood there, and how likely it held that to be. Of one sequence; numpy alone."""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence

import numpy as np

_ORDERS = (1, 2, 3, 4)
_EPSILON = 0.1


def leading_matches(written: Sequence[int], wanted: Sequence[int]) -> int:
    """How many tokens in a row, from the first, are the wanted ones; all of them: the sequence is extractable."""
    pairs = zip(written, wanted, strict=True)
    return next((place for place, (left, right) in enumerate(pairs) if left != right), len(wanted))


def token_bleu(written: Sequence[int], wanted: Sequence[int]) -> float:
    """BLEU-4 over token ids of one pair, 0 to 1, with the smoothing that NLTK calls method 1.

    An order of n-grams of which none agrees counts 0.1 of one (Chen and Cherry, 'A Systematic Comparison of Smoothing
    Techniques for Sentence-Level BLEU', 2014; NLTK's epsilon); without a single token in common it is 0.

        token_bleu([1, 2, 3, 4, 9], [1, 2, 3, 4, 5]) = (4/5 * 3/4 * 2/3 * 1/2) ** (1/4)
    """
    logarithms = []
    for order in _ORDERS:
        found, gold = _ngrams(written, order), _ngrams(wanted, order)
        same, total = (found & gold).total(), max(1, found.total())
        if order == 1 and not same:
            return 0.0
        logarithms.append(math.log((same or _EPSILON) / total))
    brevity = min(0.0, 1 - len(wanted) / len(written))
    return math.exp(brevity + sum(logarithms) / len(_ORDERS))


def _ngrams(ids: Sequence[int], order: int) -> collections.Counter:
    return collections.Counter(zip(*(ids[start:] for start in range(order)), strict=False))


def perplexity(logprobs: np.ndarray) -> float:
    """exp of the mean of minus the log-probabilities [tokens], at least one."""
    return float(np.exp(-np.mean(logprobs, dtype=np.float64)))


def min_k_probability(logprobs: np.ndarray, percent: float = 20.0) -> float:
    """Min-K% Prob: the mean of the `percent` % lowest log-probabilities [tokens] (Shi et al., 'Detecting Pretraining Data from
    Large Language Models', 2023); the number of them is rounded down, as there and in LLM-jp's script, but at least one.

    min_k_probability([-1, -9, -2, -3, -7], 40) = -8
    """
    count = max(1, int(len(logprobs) * percent / 100))
    return float(np.mean(np.sort(np.asarray(logprobs, np.float64))[:count]))
