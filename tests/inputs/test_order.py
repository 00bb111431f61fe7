"""The order of windows: bijections, inverses, chance, and that none of it ever changes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from llmjp_jax.inputs.order import order_key, permute, unpermute

RANDOM = np.random.default_rng(2)
SIZES = [*range(1, 20), 255, 256, 257, *RANDOM.integers(20, 100_000, 25).tolist()]
BIG_SIZES = [2**32 - 1, 2**32, 2**32 + 1, 2**33 + 5, 5 * 10**12, 2**62 - 1]


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
    digest = hashlib.sha256(np.concatenate(orders).astype("<i8").tobytes())
    assert digest.hexdigest() == "4f3af464b3e3d14ce457b36009263c731f94f036d17273ba2a3c6b5071196d00"
