import random

import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.safety.toxicity_thresholds import (
    best_f1_threshold,
    quality,
    threshold_for_precision,
    threshold_table,
)

P = np.array([0.9, 0.8, 0.7, 0.6, 0.3, 0.2])
TRUE = np.array([1, 1, 0, 1, 0, 0], bool)


def test_precision_recall_f1_and_share_are_those_counted_by_hand():
    found = quality(P, TRUE, 0.65)
    assert (found.precision, found.recall, found.f1, found.flagged) == (2 / 3, 2 / 3, 2 / 3, 3 / 6)
    assert quality(P, TRUE, 0.6).recall == 1.0  # a probability that equals the threshold is flagged


def test_what_is_not_defined_is_none():
    assert quality(P, TRUE, 0.95).precision is None
    assert quality(P, np.zeros(6, bool), 0.5).recall is None
    assert quality(P, np.zeros(6, bool), 0.95).f1 is None


def test_the_chosen_threshold_stands_in_the_table():
    table = threshold_table(P, TRUE, 0.123)
    thresholds = [row.threshold for row in table]
    assert thresholds == sorted(thresholds)
    assert len(thresholds) == 20 and 0.123 in thresholds
    assert table[0].flagged >= table[-1].flagged


def test_the_best_threshold_is_the_best_of_all_that_differ():
    drawn = random.Random(0)
    for _ in range(40):
        p = np.array([round(drawn.random(), 1) for _ in range(15)])
        true = np.array([drawn.random() < 0.4 for _ in range(15)])
        if not true.any():
            continue
        every = [quality(p, true, t).f1 for t in [*np.unique(p), 1.1]]
        assert quality(p, true, best_f1_threshold(p, true)).f1 == pytest.approx(max(every))


def test_a_wanted_precision_is_reached_with_the_largest_recall_there_is():
    drawn = random.Random(1)
    for _ in range(40):
        p = np.array([round(drawn.random(), 1) for _ in range(15)])
        true = np.array([drawn.random() < 0.5 for _ in range(15)])
        if not true.any():
            continue
        rows = [quality(p, true, t) for t in np.unique(p)]
        good = [row.recall for row in rows if row.precision >= 0.6]
        if not good:
            with pytest.raises(UserError, match="no threshold has a precision of 0.6"):
                threshold_for_precision(p, true, 0.6)
            continue
        found = quality(p, true, threshold_for_precision(p, true, 0.6))
        assert found.precision >= 0.6
        assert found.recall == max(good)


def test_without_a_positive_text_or_with_a_senseless_wish_there_is_no_threshold():
    with pytest.raises(UserError, match="no text is positive"):
        best_f1_threshold(P, np.zeros(6, bool))
    with pytest.raises(UserError, match="more than 0"):
        threshold_for_precision(P, TRUE, 1.5)


def test_one_lucky_text_does_not_make_a_precision():
    p, true = np.linspace(1, 0, 40), np.array([True] + [False, True] * 19 + [False])
    assert threshold_for_precision(p, true, 0.9) > p[1]
    with pytest.raises(UserError, match="that flag 10 or more has 0.545"):
        threshold_for_precision(p, true, 0.9, least_flagged=10)
