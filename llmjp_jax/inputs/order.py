"""The order of training data as pure, exact, invertible functions of integers.

`mix` says which source sample i comes from and which of that source's samples it is; `permute` shuffles a source's
windows within an epoch. Both have inverses, so the steps that saw a document can be found. There is no state, and no
file is read here.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence

import numpy as np

_ROUNDS = 6


@functools.lru_cache(maxsize=4096)
def order_key(seed: int, source: str, epoch: int) -> tuple[int, ...]:
    """The round keys of one epoch of one source: sha256 of (seed, source, epoch), so that none resembles another."""
    keys = []
    for block in range(2):
        digest = hashlib.sha256(f"{block}:{seed}:{epoch}:{source}".encode()).digest()
        keys += [int.from_bytes(digest[i : i + 8], "little") for i in range(0, 32, 8)]
    return tuple(keys[:_ROUNDS])


def permute(index: np.ndarray | int, n: int, key: Sequence[int]) -> np.ndarray:
    """A pseudo-random bijection of 0..n-1.

    A Feistel network over the smallest power of two that holds n; a value that falls outside 0..n-1 walks its cycle
    until it is inside (Black and Rogaway, 'Ciphers with Arbitrary Finite Domains', 2002). For example,
    `permute(arange(5), 5, order_key(0, 'ja', 0))` is `[3 0 1 4 2]`.

    Args:
      index: integers in 0..n-1, any shape.
      n: the size of the domain, 1 <= n < 2^62.
      key: from `order_key`.

    Returns:
      int64 of the shape of `index`.
    """
    return _walk(index, n, key, range(_ROUNDS))


def unpermute(index: np.ndarray | int, n: int, key: Sequence[int]) -> np.ndarray:
    """The inverse of `permute`: `unpermute(permute(i, n, key), n, key) == i`."""
    return _walk(index, n, key, range(_ROUNDS - 1, -1, -1))


def _walk(index: np.ndarray | int, n: int, key: Sequence[int], rounds: range) -> np.ndarray:
    index = np.asarray(index)
    if not 1 <= n < 1 << 62:
        raise ValueError(f"n is {n}; it must lie in 1..2^62-1")
    if index.size and (index.min() < 0 or index.max() >= n):
        raise ValueError(f"an index lies outside 0..{n - 1}")
    bits = (n - 1).bit_length()
    values = _feistel(index.reshape(-1).astype(np.uint64), bits, key, rounds)
    outside = np.flatnonzero(values >= np.uint64(n))
    while outside.size:
        walked = _feistel(values[outside], bits, key, rounds)
        values[outside] = walked
        outside = outside[walked >= np.uint64(n)]
    return values.astype(np.int64).reshape(index.shape)


def _feistel(values: np.ndarray, bits: int, key: Sequence[int], rounds: range) -> np.ndarray:
    """Even rounds change the high half by the low one, odd rounds the low by the high; run backwards it undoes itself."""
    low_bits = np.uint64(bits // 2)
    low_mask = np.uint64((1 << (bits // 2)) - 1)
    high_mask = np.uint64((1 << (bits - bits // 2)) - 1)
    high, low = values >> low_bits, values & low_mask
    for r in rounds:
        if r % 2 == 0:
            high = high ^ (_splitmix64(low, key[r]) & high_mask)
        else:
            low = low ^ (_splitmix64(high, key[r]) & low_mask)
    return (high << low_bits) | low


def _splitmix64(values: np.ndarray, key: int) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014) over values offset by a key."""
    z = values * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def mix(index: np.ndarray | int, weights: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Which source each sample comes from, and which of that source's samples it is.

    Source 0 takes sample i when floor((i+1) w/W) > floor(i w/W), and it is then its sample number floor(i w/W); the
    samples that remain are dealt to the other sources in the same way. For example, weights (2, 1, 1):

        sample            0  1  2  3  4  5  6  7
        source            2  0  1  0  2  0  1  0
        index in source   0  0  0  1  1  2  1  3

    The proportions are exact: every W consecutive samples from a multiple of W hold each source exactly w times, and
    in every prefix of n samples source t's count differs from n w/W by more than -1 and less than the t-th harmonic
    number (0, 1, 1.5, 1.84 ...) if the weights do not increase.

    Args:
      index: non-negative integers, any shape.
      weights: non-negative integers, not all zero.

    Returns:
      (source, index within the source), both int64 of the shape of `index`.
    """
    index = np.asarray(index)
    weights = _checked(weights)
    rest = _exact(index.reshape(-1), sum(weights))
    source = np.full(rest.shape, -1, np.int64)
    within = np.zeros(rest.shape, np.int64)
    place = np.arange(rest.size)
    remaining = sum(weights)
    for t, weight in enumerate(weights):
        if weight == 0:
            continue
        before = _scaled(rest, weight, remaining)
        taken = _scaled(rest + 1, weight, remaining) > before
        source[place[taken]] = t
        within[place[taken]] = before[taken]
        rest, place = (rest - before)[~taken], place[~taken]
        remaining -= weight
        if not place.size:
            break
    return source.reshape(index.shape), within.reshape(index.shape)


def unmix(source: int, within: np.ndarray | int, weights: Sequence[int]) -> np.ndarray:
    """The sample that is number `within` of `source`: the inverse of `mix`, as int64 of the shape of `within`."""
    within = np.asarray(within)
    weights = _checked(weights)
    if weights[source] == 0:
        raise ValueError(f"source {source} has weight 0: no sample comes from it")
    remaining = [sum(weights[t:]) for t in range(len(weights))]
    # A sample's number grows by at most W/w on the way up, so this bounds every product below.
    largest = (int(within.max(initial=0)) + 2) * remaining[0]
    kind = np.int64 if largest * remaining[0] < 1 << 63 else object
    value = within.reshape(-1).astype(kind)
    value = -(-(value + 1) * remaining[source] // weights[source]) - 1
    for t in range(source - 1, -1, -1):
        if weights[t]:
            value = value * remaining[t] // (remaining[t] - weights[t])
    return value.astype(np.int64).reshape(within.shape)


def mix_counts(samples: int, weights: Sequence[int]) -> list[int]:
    """How many of the first `samples` samples come from each source."""
    weights = _checked(weights)
    counts, remaining = [], sum(weights)
    for weight in weights:
        count = samples * weight // remaining if weight else 0
        counts.append(count)
        samples -= count
        remaining -= weight
    return counts


def _checked(weights: Sequence[int]) -> list[int]:
    weights = [int(w) for w in weights]
    if not weights or min(weights) < 0 or sum(weights) == 0:
        raise ValueError(f"weights are {weights}; they must be non-negative and not all zero")
    divisor = math.gcd(*weights)
    return [w // divisor for w in weights]


def _exact(index: np.ndarray, total: int) -> np.ndarray:
    """int64 where every product of `mix` fits into it, exact Python integers where not."""
    largest = int(index.max(initial=0)) + 1
    fits = min(largest, total) * total < 1 << 63 and largest < 1 << 62
    return index.astype(np.int64 if fits else object)


def _scaled(index: np.ndarray, weight: int, total: int) -> np.ndarray:
    """floor(index * weight / total), with no intermediate beyond index + total * weight."""
    quotient, rest = index // total, index % total
    return quotient * weight + rest * weight // total
