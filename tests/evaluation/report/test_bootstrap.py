"""Intervals cover what they should, are the same each time, and corpus metrics are those of the texts drawn."""

import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.metrics import COMPAT, score
from llmjp_jax.evaluation.report.bootstrap import (
    corpus_scorer,
    generator,
    interval,
    mean_scorer,
    resample,
)


@pytest.mark.parametrize("kind", ["right or wrong", "parts"])
def test_a_95_percent_interval_covers_the_true_mean_about_95_times_in_100(kind):
    rng, repeats, covered = np.random.default_rng(7), 400, 0
    truth = 0.4 if kind == "right or wrong" else 2 / 7
    for repeat in range(repeats):
        values = rng.random(100) < truth if kind == "right or wrong" else rng.beta(2, 5, 100)
        low, high = interval(resample(mean_scorer(values), 100, generator(repeat), 1000))
        covered += low <= truth <= high
    # Three standard deviations of 400 draws, and the bootstrap's own lack of one in a hundred.
    assert 0.905 <= covered / repeats <= 0.985


def test_a_correlations_interval_covers_the_true_one():
    rng, repeats, covered, truth = np.random.default_rng(3), 40, 0, 0.6
    for repeat in range(repeats):
        x, noise = rng.normal(size=(2, 60))
        y = truth * x + np.sqrt(1 - truth**2) * noise
        texts = [[f"{value:.4f}" for value in values] for values in (x, y)]
        low, high = interval(resample(corpus_scorer("pearson", *texts), 60, generator(repeat), 100))
        covered += low <= truth <= high
    assert covered / repeats >= 0.82


def test_the_same_names_give_the_same_interval_and_others_another():
    values = np.random.default_rng(0).random(50)
    drawn = [resample(mean_scorer(values), 50, generator("interval", name)) for name in ("jnli", "jnli", "jsem")]  # fmt: skip
    assert (drawn[0] == drawn[1]).all() and (drawn[0] != drawn[2]).any()


def test_many_items_are_drawn_in_parts_and_give_what_one_part_gives(monkeypatch):
    values = np.random.default_rng(0).random(300)
    monkeypatch.setattr("llmjp_jax.evaluation.report.bootstrap._AT_ONCE", 1000)
    parts = resample(mean_scorer(values), 300, generator("x"), 50)
    monkeypatch.undo()
    assert parts.shape == (50,) and parts == pytest.approx(
        resample(mean_scorer(values), 300, generator("x"), 50)
    )


TEXTS = [
    "彼は駅へ行った。",
    "桜が咲いた",
    "he went to the station",
    "",
    "The cherry trees bloom.",
    "京都",
]


@pytest.mark.parametrize("metric", ["bleu_en", "bleu_ja", "chrf"])
def test_counts_of_texts_added_up_give_the_metric_of_the_texts(metric):
    golds = [*TEXTS[1:], TEXTS[0]]
    golds[3] = "x"
    predictions = [text + " the station 駅へ" for text in golds[:3]] + TEXTS[3:]
    drawn = generator("x").integers(len(golds), size=(20, len(golds)))
    found = corpus_scorer(metric, predictions, golds)(drawn)
    expected = [score(metric, [predictions[i] for i in row], [golds[i] for i in row]).value for row in drawn]  # fmt: skip
    assert found == pytest.approx(expected, abs=1e-9) and len(set(expected)) > 5


def test_a_resample_without_a_value_is_left_out_and_too_many_of_them_leave_no_interval():
    one = corpus_scorer("pearson", ["1", "2"], ["1", "2"], COMPAT)(np.array([[0], [1]]))
    assert np.isnan(one).all()  # llm-jp-eval's correlation of one sample does not exist
    values = np.arange(1000.0)
    values[:5] = np.nan
    assert interval(values) == pytest.approx((29.85, 974.15))
    values[:20] = np.nan
    assert interval(values) is None


def test_nothing_to_draw_from_is_an_error():
    with pytest.raises(UserError, match="of 0 items"):
        resample(mean_scorer([]), 0, generator("x"))
