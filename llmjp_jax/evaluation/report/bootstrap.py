"""How far a score may be chance: percentile bootstrap over a task's items, the same numbers at each call.

A resample draws as many items as there are, with replacement (Efron and Tibshirani 1993, chapter 13). Metrics that are the mean of
their items are resampled as numbers; corpus metrics (correlations, BLEU, chrF) are computed anew on the items drawn. Not for
comparing two runs: that is `comparison.py`.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from llmjp_jax.errors import UserError

RESAMPLES = 1000
LEVEL = 0.95
SEED = 0

_AT_ONCE = 1 << 22  # indices drawn at once: 32 MiB

Interval = tuple[float, float]
# From indices [resamples, items] to values [resamples].
Scorer = Callable[[np.ndarray], np.ndarray]


def generator(*names: object) -> np.random.Generator:
    """A random generator that depends on `SEED` and the names alone, not on what was drawn before for others."""
    text = "\0".join(map(str, (SEED, *names)))
    return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))


def mean_scorer(values: Sequence[float]) -> Scorer:
    """The scorer of a metric that is the mean of its items' scores `values`, [items]."""
    array = np.asarray(values, np.float64)
    return lambda indices: array[indices].mean(axis=1)


def corpus_scorer(metric: str, predictions: Sequence[str], golds: Sequence[str], compat: str | None = None) -> Scorer:  # fmt: skip
    """The scorer of a metric that belongs to all items together, for `llmjp_jax.evaluation.metrics.score`'s arguments.

    BLEU and chrF add up counts of each text, so that the texts are counted once; any other is computed on each resample.
    """
    if compat is None and metric in ("bleu_en", "bleu_ja", "chrf"):
        return _counting_scorer(metric, predictions, golds)
    from llmjp_jax.evaluation.metrics import MetricUnavailable, score

    def one(indices: np.ndarray) -> float:
        try:
            drawn = ([texts[index] for index in indices] for texts in (predictions, golds))
            return score(metric, *drawn, compat=compat).value
        except MetricUnavailable:  # of these items, as of a correlation of one
            return float("nan")

    return lambda indices: np.array([one(row) for row in indices])


def _counting_scorer(metric: str, predictions: Sequence[str], golds: Sequence[str]) -> Scorer:
    from sacrebleu.metrics import BLEU, CHRF

    from llmjp_jax.evaluation.metrics.words import without_nul

    tokenizers = {"bleu_en": "13a", "bleu_ja": "ja-mecab"}
    counting = CHRF() if metric == "chrf" else BLEU(tokenize=tokenizers[metric], force=True)
    texts = [[without_nul(text) for text in side] for side in (predictions, golds)]
    counts = np.array(counting._extract_corpus_statistics(texts[0], [texts[1]]), np.int64)

    def score(indices: np.ndarray) -> np.ndarray:
        totals = np.stack([counts[row].sum(axis=0) for row in indices])
        found = [counting._compute_score_from_stats(total.tolist()).score for total in totals]
        return np.minimum(found, 100.0)

    return score


def resample(score: Scorer, items: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> np.ndarray:  # fmt: skip
    """The values of resamples, [resamples].

    Raises:
      UserError: there are no items, or no resamples.
    """
    if items < 1 or resamples < 1:
        raise UserError(f"{resamples} resamples of {items} items cannot be drawn; give at least one of each")  # fmt: skip
    rows = max(1, _AT_ONCE // items)
    parts = [
        score(rng.integers(items, size=(min(rows, resamples - first), items)))
        for first in range(0, resamples, rows)
    ]
    return np.concatenate(parts)


def interval(values: np.ndarray, level: float = LEVEL) -> Interval | None:
    """The middle `level` of resampled values; None where more than one in a hundred of them has no value."""
    known = values[np.isfinite(values)]
    if len(known) < 0.99 * len(values) or not len(known):
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@functools.cache
def is_cheap(metric: str) -> bool:
    """Whether a metric compares texts alone: it runs no program and no model."""
    from llmjp_jax.evaluation.metrics import METRICS

    found = METRICS.get(metric)
    return bool(found) and not (found.runs_code or found.needs_inputs or metric.startswith("bert_score"))  # fmt: skip
