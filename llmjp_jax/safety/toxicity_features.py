"""A text as weights of its character n-grams, which are hashed into buckets: what the toxicity classifier looks at.

Hashes are fixed: the same text has the same features on every machine and in every version of Python.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Iterable

import numpy as np

from llmjp_jax.errors import UserError

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_LIMIT = 1 << 24


@dataclasses.dataclass(frozen=True)
class Ngrams:
    """Which n-grams of a text count.

    Attributes:
      sizes: characters each, at least 1.
      buckets: how many different ones are told apart, a power of two.
      longest_text: characters from which on a text is not looked at.
    """

    sizes: tuple[int, ...]
    buckets: int
    longest_text: int

    def __post_init__(self):
        if not self.sizes or any(type(size) is not int or not 1 <= size <= 16 for size in self.sizes):  # fmt: skip
            raise UserError(f"ngrams = {self.sizes!r} must be whole numbers from 1 to 16")
        if not (2 <= self.buckets <= _LIMIT and self.buckets & (self.buckets - 1) == 0):
            raise UserError(f"buckets = {self.buckets!r} must be a power of two, at most {_LIMIT}")
        if self.longest_text < 1:
            raise UserError(f"longest_text = {self.longest_text!r} must be at least 1")

    def counts(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The buckets of a text in rising order [n] and how often each occurs [n]; nothing of an empty text.

        Full-width and half-width forms, capital and small letters are one (NFKC, casefold), runs of spaces one space.
        """
        text = unicodedata.normalize("NFKC", text[: self.longest_text]).casefold()
        text = " ".join(text.split())
        if not text:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        # A lone surrogate, which JSON may hold, is a character as any other.
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)  # fmt: skip
        found = [_hashes(codes, size) for size in self.sizes if size <= len(codes)]
        hashes = np.concatenate(found) if found else np.zeros(0, np.uint64)
        buckets = (hashes & np.uint64(self.buckets - 1)).astype(np.int64)
        return np.unique(buckets, return_counts=True)

    def matrix(self, texts: Iterable[str], rarity: np.ndarray | None = None):
        """A scipy CSR matrix [texts, buckets] float32 of rows of length 1 (0: a text without n-grams).

        An n-gram that occurs c times weighs (1 + log c) times its rarity.

        Args:
          rarity: [buckets]; None: 1 for all.
        """
        from scipy.sparse import csr_matrix

        indices, values, ends = [], [], [0]
        for text in texts:
            buckets, counts = self.counts(text)
            weights = 1 + np.log(counts)
            if rarity is not None:
                known = rarity[buckets] > 0
                buckets, weights = buckets[known], (weights * rarity[buckets])[known]
            norm = np.sqrt(np.square(weights).sum())
            indices.append(buckets)
            values.append((weights / norm if norm > 0 else weights).astype(np.float32))
            ends.append(ends[-1] + len(buckets))
        return csr_matrix(
            (_joined(values, np.float32), _joined(indices, np.int64), np.asarray(ends)),
            shape=(len(ends) - 1, self.buckets),
        )

    def rarity(self, texts: Iterable[str]) -> np.ndarray:
        """How rare each bucket is [buckets] float32: 1 + log((1 + texts) / (1 + texts that have it)).

        It is 0, so that it never counts, for one that fewer than two texts have: nothing can be learned from it, and a new
        text has many such.
        """
        having, number = np.zeros(self.buckets, np.int64), 0
        for text in texts:
            having[self.counts(text)[0]] += 1
            number += 1
        rarity = 1 + np.log((1 + number) / (1 + having))
        return np.where(having < 2, 0, rarity).astype(np.float32)


def _hashes(codes: np.ndarray, size: int) -> np.ndarray:
    """A 64-bit hash of each run of `size` codes; runs of different sizes have different ones."""
    count = len(codes) - size + 1
    hashes = np.full(count, size, np.uint64)
    for offset in range(size):
        hashes = (hashes ^ codes[offset : offset + count]) * _MULTIPLIER  # wraps around
        hashes ^= hashes >> np.uint64(29)
    hashes *= _MULTIPLIER
    return hashes ^ (hashes >> np.uint64(32))


def _joined(parts: list[np.ndarray], dtype) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)
