"""BLEU over ids, perplexity and Min-K%: against sacreBLEU, by hand, and at their ends."""

import math
import random

import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.search.memorization import Protocol
from llmjp_jax.search.memorization.measures import (
    leading_matches,
    min_k_probability,
    perplexity,
    token_bleu,
)


def sacrebleu_of(written, wanted) -> float:
    """sacreBLEU of the ids as words: its 'floor' smoothing of 0.1 is NLTK's method 1."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize="none", smooth_method="floor", smooth_value=0.1, force=True)
    texts = [" ".join(map(str, ids)) for ids in (written, wanted)]
    return metric.corpus_score([texts[0]], [[texts[1]]]).score / 100


@pytest.mark.parametrize("seed", range(60))
def test_token_bleu_is_that_of_sacrebleu_with_the_same_smoothing(seed):
    choice = random.Random(seed)
    vocabulary = choice.choice([2, 5, 40, 1000])
    wanted = choice.choices(range(vocabulary), k=choice.randint(4, 60))
    written = list(wanted)
    for place in range(len(written)):
        if choice.random() < seed / 60:
            written[place] = choice.randrange(vocabulary)
    if seed % 3 == 0:
        written = written[: max(4, len(written) - seed % 7)] + [0] * (seed % 5)
    assert token_bleu(written, wanted) == pytest.approx(sacrebleu_of(written, wanted), abs=1e-9)


def test_an_order_of_ngrams_without_a_match_counts_a_tenth_of_one():
    # Two of four tokens agree, one of three pairs, none of two triples and of the one run of four.
    expected = (2 / 4 * 1 / 3 * 0.1 / 2 * 0.1 / 1) ** 0.25
    assert token_bleu([1, 2, 8, 9], [1, 2, 3, 4]) == pytest.approx(expected)


def test_bleu_ends_at_one_and_at_zero():
    assert token_bleu([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]) == 1
    assert token_bleu([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == 0
    assert token_bleu([7], [7]) == pytest.approx((1 * 0.1 * 0.1 * 0.1) ** 0.25)


def test_matches_are_counted_up_to_the_first_other_token():
    assert leading_matches([1, 2, 3], [1, 2, 3]) == 3
    assert leading_matches([1, 9, 3], [1, 2, 3]) == 1
    assert leading_matches([9, 2, 3], [1, 2, 3]) == 0


def test_min_k_is_the_mean_of_the_lowest_and_perplexity_that_of_all():
    scores = np.array([-1, -9, -2, -3, -7], np.float32)
    assert min_k_probability(scores, 40) == -8
    assert min_k_probability(scores, 20) == -9
    assert min_k_probability(scores, 1) == -9  # at least one
    assert min_k_probability(scores, 100) == pytest.approx(-4.4)
    assert min_k_probability(np.arange(-50, 0), 20) == pytest.approx(np.arange(-50, -40).mean())
    assert perplexity(scores) == pytest.approx(math.exp(4.4))


def test_prefixes_that_do_not_fit_are_left_out_with_a_sentence():
    protocol, notes = Protocol().fitted(1049, "the model's longest sequence")
    assert protocol.prefix_lengths == (100, 200, 500) and protocol.length == 550
    assert notes == [
        "prefixes of 1000 tokens are left out: with the 50 that follow they are longer than the model's longest sequence, 1049 tokens"
    ]
    assert Protocol().fitted(1050, "a row") == (Protocol(), [])
    with pytest.raises(
        UserError, match="in a row, 129 tokens; give --prefix_lengths= of at most 79"
    ):
        Protocol().fitted(129, "a row")
    with pytest.raises(UserError, match="give a smaller --continuation="):
        Protocol().fitted(50, "a row")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"prefix_lengths": ()}, "prefix_lengths"),
        ({"prefix_lengths": (0,)}, "prefix_lengths"),
        ({"continuation": 0}, "continuation"),
        ({"min_k_percent": 0}, "min_k_percent"),
    ],
)
def test_a_protocol_that_asks_nothing_is_refused(fields, sentence):
    with pytest.raises(UserError, match=sentence):
        Protocol(**fields)


def test_prefix_lengths_are_put_in_order_and_taken_once():
    assert Protocol(prefix_lengths=(50, 20, 50)).prefix_lengths == (20, 50)
