"""The paired test finds a true difference, seldom one that is none, and Holm's correction is Holm's."""

import numpy as np
import pytest

from llmjp_jax.evaluation.report.bootstrap import generator, mean_scorer, resample
from llmjp_jax.evaluation.report.comparison import adjust, difference, holm


def p_value(first, second, name):
    gained = np.asarray(second, float) - np.asarray(first, float)
    drawn = resample(mean_scorer(gained), len(gained), generator(name), 1000)
    return difference(gained.mean(), drawn, len(gained)).p


def test_a_true_difference_is_found_and_none_is_seldom_found():
    rng, found, false = np.random.default_rng(5), 0, 0
    for repeat in range(200):
        easy = rng.random(
            100
        )  # what both runs find easy or hard, so that their answers go together
        first, equal, better = (easy + 0.3 * rng.normal(size=100) < level for level in (0.5, 0.5, 0.7))  # fmt: skip
        false += p_value(first, equal, repeat) < 0.05
        found += p_value(first, better, repeat) < 0.05
    assert found >= 0.9 * 200 and 0.01 <= false / 200 <= 0.1


def test_pairing_sees_what_two_intervals_apart_do_not():
    rng = np.random.default_rng(0)
    first = rng.random(200)
    assert p_value(first, first + 0.02 + 0.02 * rng.normal(size=200), "x") < 0.002
    assert p_value(first, rng.permutation(first + 0.02), "y") > 0.05


def test_equal_runs_do_not_differ_and_few_items_are_not_tested():
    same = np.zeros(40)
    found = difference(0.0, same, 40)
    assert found.p == 1.0 and not adjust([found])[0].significant
    assert difference(1.0, np.ones(100), 9) is None
    assert difference(0.1, np.full(100, np.nan), 40) is None


@pytest.mark.parametrize("given, expected", [
    ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]), ([0.5, 0.9], [1.0, 1.0]), ([0.02], [0.02]), ([], []),
])  # fmt: skip
def test_holm_multiplies_the_least_by_all_the_next_by_one_less_and_never_falls(given, expected):
    assert holm(given) == pytest.approx(expected)


def test_corrected_for_many_rows_chance_seldom_makes_a_row_significant():
    rng, tables = np.random.default_rng(11), 0
    for _ in range(200):
        tables += min(holm(list(rng.random(20)))) < 0.05
    assert tables / 200 <= 0.1


def test_untested_rows_do_not_count():
    rng = np.random.default_rng(0)
    tested = difference(0.5, 0.5 + 0.25 * rng.normal(size=2000), 50)
    assert adjust([None, tested, None]) == [None, adjust([tested])[0], None]
    assert adjust([tested])[0].adjusted_p == tested.p
