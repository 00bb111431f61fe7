"""The order of a source's windows within an epoch: a pseudo-random permutation that is computed, not stored.

It has an inverse, so the steps that saw a document can be found. Which source a sample comes from, `mixing.py` says.
"""

from __future__ import annotations

import functools
import hashlib
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
