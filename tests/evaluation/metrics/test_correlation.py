"""Numbers read from answers, and correlations of them."""

import math
import random

import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.metrics import COMPAT, ReferenceStops, parse_float, parse_number, score


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3", 3.0), ("３．５", 3.5), ("類似度は3.5です。", 3.5), ("5.", 5.0), (".5", 0.5), ("(4)", 4.0),
        ("-1", -1.0), ("−1.5", -1.5), ("+3", 3.0), ("類似度:-2", -2.0), ("A-3", 3.0),
        ("1e1", 10.0), ("2.5E-1", 0.25), ("1,000", 1000.0), ("-1,234,567.5", -1234567.5), ("3,", 3.0), ("約３点。", 3.0),
    ],
)  # fmt: skip
def test_the_one_number_of_a_text_is_read(text, number):
    assert parse_number(text) == number


@pytest.mark.parametrize(
    "text", ["", ".", "四", "1.2.3", "2..5", "4,8", "1,2,3", "1/2", "5-3", "0.0〜5.0", "12 34", "1e999", "½"]
)  # fmt: skip
def test_a_text_with_no_number_or_several_has_none(text):
    assert parse_number(text) is None


def test_any_number_that_python_writes_is_read_back():
    choice = random.Random(0)
    for _ in range(500):
        number = choice.choice([choice.uniform(-9, 9), choice.randrange(-10**9, 10**9), 10 ** choice.uniform(-30, 30)])  # fmt: skip
        for written in (str(number), f"{number:,}" if abs(number) >= 1e-4 else str(number), f"答えは{number}です"):  # fmt: skip
            expected = abs(number) if written.startswith("答え") else number
            assert parse_number(written) == expected, written


@pytest.mark.parametrize(
    ("text", "number"), [("-3", 3.0), ("1e1", 11.0), ("4,8", 48.0), ("1.2.3", -2.0), ("", -2.0), ("四", -2.0)]
)  # fmt: skip
def test_the_reference_reads_digits_and_points_alone(text, number):
    assert parse_float(text) == number


def data(seed: int, count: int) -> tuple[list[str], list[str]]:
    choice = random.Random(seed)
    golds = [f"{choice.uniform(0, 5):.1f}" for _ in range(count)]
    return [f"{min(5, max(0, float(gold) + choice.gauss(0, 1))):.0f}" for gold in golds], golds


def ranks(numbers: list[float]) -> list[float]:
    """1 + how many are smaller + half of how many others are equal."""
    return [
        1 + sum(other < number for other in numbers) + (sum(other == number for other in numbers) - 1) / 2
        for number in numbers
    ]  # fmt: skip


@pytest.mark.parametrize("compat", [None, COMPAT])
def test_correlations_are_those_of_the_textbook(compat):
    for seed in range(30):
        predictions, golds = data(seed, count=3 + seed)
        left, right = [float(text) for text in predictions], [float(text) for text in golds]
        if len(set(left)) == 1:
            continue
        wanted = np.corrcoef(left, right)[0, 1]
        assert score("pearson", predictions, golds, compat=compat).value == pytest.approx(wanted, abs=1e-12)  # fmt: skip
        wanted = np.corrcoef(ranks(left), ranks(right))[0, 1]
        assert score("spearman", predictions, golds, compat=compat).value == pytest.approx(wanted, abs=1e-12)  # fmt: skip


def test_an_answer_without_a_number_neither_helps_nor_is_left_out():
    """Half answered perfectly: r is the root of the share of gold's variation that those answers explain."""
    _, golds = data(seed=7, count=40)
    numbers = np.array([float(gold) for gold in golds])
    answered = numbers[:20] - numbers[:20].mean()
    share = (answered @ answered) / ((numbers - numbers.mean()) ** 2).sum()
    half = score("pearson", [*golds[:20], *["分からない"] * 20], golds).value
    assert half == pytest.approx(math.sqrt(share), abs=1e-12) and half < 0.9
    assert score("pearson", golds, golds).value == pytest.approx(1.0)
    assert score("spearman", [*golds[:20], *["分からない"] * 20], golds).value < 0.9
    assert score("pearson", ["分からない"] * 40, golds).value == 0.0


def test_predictions_that_do_not_vary_score_0():
    for metric in ("pearson", "spearman"):
        for compat in (None, COMPAT):
            assert score(metric, ["3", "3.0", "3"], ["1", "2", "3"], compat=compat).value == 0.0


def test_a_number_as_long_as_an_answer_may_be_does_not_become_nan():
    found = score("pearson", ["9" * 300, "1", "2"], ["5.0", "1.0", "2.0"])
    wanted = np.corrcoef([1, 0, 0], [5, 1, 2])[0, 1]
    assert found.value == pytest.approx(wanted, abs=1e-12) and found.items is None
    assert score("pearson", ["9" * 400, "1", "2"], ["5.0", "1.0", "2.0"], compat=COMPAT).value == 0.0  # fmt: skip


def test_minus_signs_count_in_the_sound_version_alone():
    predictions, golds = ["-2", "-1", "1"], ["-2.0", "-1.0", "1.0"]
    assert score("pearson", predictions, golds).value == pytest.approx(1.0)
    assert score("pearson", predictions, golds, compat=COMPAT).value < 0


def test_a_gold_answer_that_is_no_number_is_named():
    with pytest.raises(UserError, match="sample 1 is '３点'"):
        score("pearson", ["1", "2"], ["1", "３点"])
    with pytest.raises(ReferenceStops, match="ValueError"):
        score("spearman", ["1", "2"], ["1", "３点"], compat=COMPAT)


def test_one_sample_has_no_correlation():
    assert score("pearson", ["1"], ["1"]).value == 0.0
    with pytest.raises(ReferenceStops):
        score("pearson", ["1"], ["1"], compat=COMPAT)
