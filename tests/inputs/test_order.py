"""The order of data: bijections, exact proportions, inverses, and that none of it ever changes."""

from __future__ import annotations

import hashlib
from fractions import Fraction

import numpy as np
import pytest

from llmjp_jax.inputs.order import mix, mix_counts, order_key, permute, unmix, unpermute

RANDOM = np.random.default_rng(2)
SIZES = [*range(1, 20), 255, 256, 257, *RANDOM.integers(20, 100_000, 25).tolist()]
BIG_SIZES = [2**32 - 1, 2**32, 2**32 + 1, 2**33 + 5, 5 * 10**12, 2**62 - 1]
# Weights do not increase within one tuple: the bound on prefixes is stated for that.
WEIGHTS = [(1,), (1, 1), (50, 45, 5), (7, 7, 7, 7), (97, 31, 13, 2, 1), (585, 317, 97, 1)]
TOKEN_COUNTS = (8670888578, 4697570389, 1442858730)  # LLM-jp v2.0's code, English, Japanese


@pytest.mark.parametrize("n", SIZES)
def test_the_permutation_is_a_bijection_with_an_inverse(n):
    key = order_key(n, "ja", n % 5)
    index = np.arange(n)
    permuted = permute(index, n, key)
    assert np.array_equal(np.sort(permuted), index)
    assert np.array_equal(unpermute(permuted, n, key), index)


@pytest.mark.parametrize("n", BIG_SIZES)
def test_the_permutation_is_a_bijection_beyond_four_billion(n):
    key = order_key(1, "en", 0)
    index = np.unique(RANDOM.integers(0, n, 100_000))
    permuted = permute(index, n, key)
    assert permuted.min() >= 0 and permuted.max() < n
    assert len(np.unique(permuted)) == len(index)
    assert np.array_equal(unpermute(permuted, n, key), index)
    assert np.array_equal(permute(index.reshape(1, -1)[:, :5], n, key), permuted[None, :5])


@pytest.mark.parametrize("index, n", [(5, 5), (-1, 5), (0, 0), (0, 2**62)])
def test_what_lies_outside_the_domain_is_refused(index, n):
    with pytest.raises(ValueError, match="index lies outside|n is"):
        permute(np.array([index]), n, order_key(0, "a", 0))


def test_seeds_sources_and_epochs_have_unrelated_orders():
    n = 1000
    orders = [
        permute(np.arange(n), n, order_key(seed, source, epoch))
        for seed in range(3)
        for source in ("ja", "en")
        for epoch in range(3)
    ]
    for i in range(len(orders)):
        for j in range(i):
            # Two random orders agree in one place on average.
            assert np.count_nonzero(orders[i] == orders[j]) < 10


def test_every_place_of_the_order_is_equally_likely():
    n, keys = 97, 3000
    for place in (0, 1, 50, 96):
        values = np.array([permute(place, n, order_key(7, "x", e)) for e in range(keys)])
        expected = keys / n
        chi_squared = ((np.bincount(values, minlength=n) - expected) ** 2 / expected).sum()
        assert chi_squared < 150  # 96 degrees of freedom: exceeded once in 3,000


def test_neighbours_do_not_stay_neighbours():
    permuted = permute(np.arange(100_000), 100_000, order_key(0, "ja", 0))
    assert np.count_nonzero(np.diff(permuted) == 1) < 10
    assert abs(np.corrcoef(permuted[:-1], permuted[1:])[0, 1]) < 0.02


def test_the_order_is_the_one_that_older_runs_were_trained_in():
    # If this fails, every run that is continued sees other data than it would have: do not change the numbers, but
    # give the new order a name of its own.
    assert permute(np.arange(5), 5, order_key(0, "ja", 0)).tolist() == [3, 0, 1, 4, 2]
    orders = [
        permute(np.arange(2000) * (n // 2000), n, order_key(1, "en", 2)) for n in (2000, 10**12)
    ]
    source, within = mix(np.arange(5000) + 10**7, (50, 45, 5))
    digest = hashlib.sha256(np.concatenate([*orders, source, within]).astype("<i8").tobytes())
    assert digest.hexdigest() == "cc08f90cd55d3c4a985dc433042b936ceae0fa4f881d8f1780fe2ac7431efe85"


def test_the_worked_example_of_mix():
    source, within = mix(np.arange(8), (2, 1, 1))
    assert source.tolist() == [2, 0, 1, 0, 2, 0, 1, 0]
    assert within.tolist() == [0, 0, 0, 1, 1, 2, 1, 3]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_each_source_is_read_in_order_without_gaps(weights):
    source, within = mix(np.arange(20 * sum(weights)), weights)
    for t in range(len(weights)):
        assert within[source == t].tolist() == list(range(20 * weights[t]))


@pytest.mark.parametrize("weights", WEIGHTS)
def test_every_prefix_is_close_to_the_exact_proportions(weights):
    total = sum(weights)
    source, _ = mix(np.arange(20 * total), weights)
    n = np.arange(1, 20 * total + 1)
    for t, weight in enumerate(weights):
        deviation = np.cumsum(source == t) - n * weight / total
        harmonic = sum(1 / k for k in range(1, t + 1))
        assert deviation.min() > -1 - 1e-9
        assert deviation.max() < harmonic + 1e-9
        assert np.allclose(deviation[total - 1 :: total], 0)


@pytest.mark.parametrize("weights", [*WEIGHTS, (3, 0, 2), (1, 2, 50), TOKEN_COUNTS])
@pytest.mark.parametrize("first", [0, 10**7, 10**13 + 1])
def test_every_sample_is_found_again(weights, first):
    index = np.arange(first, first + 500)
    source, within = mix(index, weights)
    for t in np.unique(source):
        assert np.array_equal(unmix(int(t), within[source == t], weights), index[source == t])


def test_weights_too_large_for_64_bits_are_mixed_exactly():
    index = np.arange(10**12, 10**12 + 60)
    source, within = mix(index, TOKEN_COUNTS)
    for i, s, k in zip(index.tolist(), source.tolist(), within.tolist(), strict=True):
        assert (s, k) == by_definition(i, TOKEN_COUNTS)


def test_counts_of_a_prefix_are_those_of_its_samples():
    for weights in [*WEIGHTS, (3, 0, 2), (100, 90, 10)]:
        source, _ = mix(np.arange(333), weights)
        assert mix_counts(333, weights) == np.bincount(source, minlength=len(weights)).tolist()


def test_weights_with_a_common_divisor_mix_alike():
    for one, other in zip(
        mix(np.arange(99), (50, 45, 5)), mix(np.arange(99), (10, 9, 1)), strict=True
    ):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("weights", [(), (0, 0), (1, -1)])
def test_impossible_weights_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        mix(np.arange(3), weights)


def by_definition(i: int, weights) -> tuple[int, int]:
    """The definition of `mix`, in exact fractions."""
    for t, weight in enumerate(weights):
        share = Fraction(weight, sum(weights[t:]))
        before = int(i * share)
        if int((i + 1) * share) > before:
            return t, before
        i -= before
    raise AssertionError
