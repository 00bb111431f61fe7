"""exact_match, char_f1 and set_f1, against formulas written another way."""

import random

import pytest

from llmjp_jax.evaluation.metrics import COMPAT, score
from llmjp_jax.evaluation.metrics.matching import (
    char_f1,
    exact_match,
    reference_char_f1,
    reference_set_f1,
    set_f1,
)

ALPHABET = "あいう漢 aBé_。・0-"


def texts(seed: int, count: int = 300, longest: int = 14):
    choice = random.Random(seed)
    for _ in range(count):
        left = "".join(choice.choices(ALPHABET, k=choice.randrange(longest)))
        right = list(left)
        choice.shuffle(right) if choice.random() < 0.3 else None
        for _ in range(choice.randrange(4)):
            right.insert(choice.randrange(len(right) + 1), choice.choice(ALPHABET))
        yield left, "".join(right)[choice.randrange(3) :]


def common_subsequence(left: str, right: str) -> int:
    """Length of the longest one, by dynamic programming."""
    row = [0] * (len(right) + 1)
    for character in left:
        above = row[:]
        for place, other in enumerate(right, 1):
            row[place] = above[place - 1] + 1 if character == other else max(above[place], row[place - 1])  # fmt: skip
    return row[-1]


def words(text: str, deleted=lambda character: False) -> str:
    kept = [c for c in text if not deleted(c)]
    spaced = "".join(c if c == "_" or c.isalnum() else " " for c in kept)
    return " ".join(sorted(spaced.lower().split()))


def test_char_f1_is_the_f1_of_the_longest_common_subsequence():
    for prediction, gold in texts(seed=1):
        left, right = words(prediction), words(gold)
        if not left and not right:
            wanted = float(prediction == gold)
        elif not left or not right:
            wanted = 0.0
        else:
            common = common_subsequence(left, right)
            precision, recall = common / len(left), common / len(right)
            wanted = 2 * precision * recall / (precision + recall) if common else 0.0
        assert char_f1(prediction, gold) == pytest.approx(wanted, abs=1e-12), (prediction, gold)


def test_reference_char_f1_deletes_latin_1_and_rounds_to_whole_hundredths():
    def latin_1(character):
        return 0x80 <= ord(character) < 0x100

    for prediction, gold in texts(seed=2):
        left, right = words(prediction, latin_1), words(gold, latin_1)
        if left == right:
            wanted = 1.0
        else:
            wanted = 2 * common_subsequence(left, right) / (len(left) + len(right))
        found = reference_char_f1(prediction, gold)
        assert abs(found - wanted) <= 0.005 + 1e-12 and round(found, 2) == found, (prediction, gold)


@pytest.mark.parametrize(("lengths", "wanted"), [((3, 13), 0.12), ((5, 11), 0.38)])
def test_a_half_goes_to_the_even_hundredth(lengths, wanted):
    # One common character of 16 is 12.5 hundredths, three are 37.5.
    common = round(wanted * 8)
    prediction = "あ" * common + "い" * (lengths[0] - common)
    gold = "あ" * common + "う" * (lengths[1] - common)
    assert reference_char_f1(prediction, gold) == wanted
    assert char_f1(prediction, gold) == common / 8


@pytest.mark.parametrize("metric", [char_f1, set_f1, exact_match])
def test_a_pair_scores_between_0_and_1_the_same_both_ways_and_1_with_itself(metric):
    for left, right in texts(seed=3, count=200):
        assert 0.0 <= metric(left, right) <= 1.0
        assert metric(left, right) == metric(right, left)
        assert metric(left, left) == 1.0


def test_char_f1_knows_accents_that_the_reference_deletes():
    assert reference_char_f1("naïve", "nave") == 1.0
    assert char_f1("naïve", "nave") == pytest.approx(8 / 9)


def test_only_equal_texts_of_punctuation_agree():
    assert [char_f1(left, "。") for left in ("。", "、", "")] == [1.0, 0.0, 0.0]
    assert [reference_char_f1(left, "。") for left in ("。", "、", "")] == [1.0, 1.0, 1.0]


def test_set_f1_is_that_of_precision_and_recall():
    choice = random.Random(4)
    for _ in range(300):
        left, right = (choice.choices(["a", "b", " c ", "d", ""], k=choice.randrange(5)) for _ in "lr")  # fmt: skip
        found = {line.strip() for line in left if line.strip()}
        gold = {line.strip() for line in right if line.strip()}
        hits = sum(line in gold for line in found)
        precision = hits / len(found) if found else 0.0
        recall = hits / len(gold) if gold else 0.0
        wanted = 2 * precision * recall / (precision + recall) if hits else float(not found and not gold)  # fmt: skip
        assert set_f1("\n".join(left), "\n".join(right)) == pytest.approx(wanted, abs=1e-12)


def test_reference_set_f1_wants_a_line_that_stands_twice_twice():
    assert reference_set_f1("A\nA", "A\nA") == pytest.approx(2 / 3)
    assert set_f1("A\nA", "A\nA") == 1.0
    assert reference_set_f1("", "A\n\nB") == 0.5
    assert set_f1("", "A\n\nB") == 0.0


def test_the_mean_of_items_is_the_value():
    predictions, golds = ["東京", "YES", "京都"], ["東京都", "YES", "大阪"]
    for compat in (None, COMPAT):
        found = score("char_f1", predictions, golds, compat=compat)
        assert found.items == pytest.approx((0.8, 1.0, 0.0))
        assert found.value == pytest.approx(0.6)
