"""Exact occurrences of a needle in documents that lie one after another in an array: bytes of text, or token ids.

Tantivy proposes documents; this decides, and counts. It is plain comparison of integers, so that it can be believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_CHUNK = 1 << 18  # units compared at a time: what is made of them stays in the processor's cache
_RARE = (
    256  # a unit that makes up less than one in so many leaves few places to compare by themselves
)
_TOGETHER = 4  # units of a needle without a rare one that are compared everywhere
_ONE_BY_ONE = 16  # so few places are compared whole, one after another
_WHOLE_SHARE = 4  # where candidates are more than a quarter of a stream, all of it is read
_LONG = 1_000  # units of a document that is read by itself; of shorter ones many at once


class Found(NamedTuple):
    """Rows of documents with a needle, ascending, and how often each has it: int64 both."""

    rows: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Stream:
    """Documents joined.

    Attributes:
      units: [units] of an unsigned or int32 type, memory-mapped.
      starts: where each document begins, and at the end the number of units: int64 [documents + 1].
      frequency: how often each value stands in `units`: int64 [values].
    """

    units: np.ndarray
    starts: np.ndarray
    frequency: np.ndarray

    def document(self, row: int) -> np.ndarray:
        """The units of one document."""
        return self.units[self.starts[row] : self.starts[row + 1]]

    def find(self, needle: np.ndarray, rows: np.ndarray | None = None) -> Found:
        """Every document with the needle; overlapping occurrences count each.

            documents `1 2 1 2 1 | 2 1`, needle `1 2 1`  ->  row 0, twice

        Args:
          needle: int64 [units], at least one.
          rows: documents to look into, ascending; None: all.
        """
        order = self._by_rarity(needle)
        if order is None:
            return Found(np.zeros(0, np.int64), np.zeros(0, np.int64))
        needle = needle.astype(self.units.dtype)  # a wider type would make NumPy widen all units
        places = np.concatenate(
            [
                np.zeros(0, np.int64),
                *(
                    self._compared(some, needle, order)
                    for some in self._begins(needle, order, rows)
                ),
            ]
        )
        if len(places) < len(self.starts):
            owners = np.searchsorted(self.starts, places, "right") - 1
            owners = owners[places + len(needle) <= self.starts[owners + 1]]
            first = np.flatnonzero(np.diff(owners, prepend=-1))
            return Found(owners[first], np.diff(first, append=len(owners)))
        # Of so many places it is quicker to ask for each document which are its.
        begin = np.searchsorted(places, self.starts[:-1])
        counts = np.searchsorted(places, self.starts[1:] - len(needle), "right") - begin
        held = np.flatnonzero(counts > 0)
        return Found(held, counts[held])

    def first(self, needle: np.ndarray, row: int) -> int:
        """Where the needle stands first in a document that has it, from its beginning."""
        order, (start, stop) = self._by_rarity(needle), self.starts[row : row + 2].tolist()
        needle = needle.astype(self.units.dtype)
        for some in self._in_stretch(needle, order, start, stop):
            places = self._compared(some, needle, order)
            if len(places):
                return int(places[0]) - start
        raise ValueError(f"row {row} does not hold the needle")

    def _by_rarity(self, needle: np.ndarray) -> np.ndarray | None:
        """The places in the needle, those of its rarest units first; None where the stream lacks one of them."""
        inside = (needle >= 0) & (needle < len(self.frequency))
        frequency = np.where(inside, self.frequency[np.where(inside, needle, 0)], 0)
        order = np.argsort(frequency, kind="stable")
        return order if frequency[order[0]] else None

    def _begins(self, needle: np.ndarray, order: np.ndarray, rows: np.ndarray | None):
        """Places at which the needle may begin, since its rarest units stand where they should, in chunks."""
        sizes = None if rows is None else self.starts[rows + 1] - self.starts[rows]
        if sizes is None or sizes.sum() > len(self.units) // _WHOLE_SHARE:
            yield from self._in_stretch(needle, order, 0, len(self.units))
        elif sizes.sum() > _LONG * len(rows):
            for start, size in zip(self.starts[rows].tolist(), sizes.tolist(), strict=True):
                yield from self._in_stretch(needle, order, start, start + size)
        else:
            yield from self._in_short_documents(needle, order[0], self.starts[rows], sizes)

    def _in_stretch(self, needle: np.ndarray, order: np.ndarray, start: int, stop: int):
        rare = self.frequency[needle[order[0]]] * _RARE < len(self.units)
        together = order[:1] if rare else order[:_TOGETHER]
        last = stop - len(needle) + 1
        for begin in range(start, last, _CHUNK):
            end = min(begin + _CHUNK, last)
            same = self.units[begin + together[0] : end + together[0]] == needle[together[0]]
            for place in together[1:]:
                same &= self.units[begin + place : end + place] == needle[place]
            yield begin + np.flatnonzero(same)

    def _in_short_documents(self, needle: np.ndarray, rarest: int, starts: np.ndarray, sizes: np.ndarray):  # fmt: skip
        sizes = np.maximum(
            sizes - len(needle) + 1, 0
        )  # so many places has a document where the needle may begin
        for begin in range(0, len(starts), _CHUNK // _LONG):
            some = slice(begin, begin + _CHUNK // _LONG)
            ends = np.cumsum(sizes[some])
            places = np.arange(int(ends[-1])) + np.repeat(
                starts[some] - ends + sizes[some], sizes[some]
            )
            yield places[self.units[places + rarest] == needle[rarest]]

    def _compared(self, places: np.ndarray, needle: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Those of the places at which the whole needle stands."""
        for place in order.tolist():
            if len(places) <= _ONE_BY_ONE:
                break
            places = places[self.units[places + place] == needle[place]]
        else:
            return places
        size = len(needle)
        same = [np.array_equal(self.units[place : place + size], needle) for place in places]
        return places[np.array(same, bool)]
