"""Exact occurrences of a needle in documents that lie one after another in an array: bytes of text, or token ids.

Tantivy proposes documents; this decides, and counts. It is plain comparison of integers, so that it can be believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_CHUNK = 1 << 22  # units compared at a time: few enough to stay in the cache and in memory
_ONE_BY_ONE = 16  # so few places are compared whole, one after another
_WHOLE_SHARE = 4  # where candidates are more than a quarter of a stream, all of it is read
_LONG = 1_000  # units of a document that is read by itself; of shorter ones many at once


class Found(NamedTuple):
    """Rows of documents with a needle, ascending; in each, how often and where first, from the document's beginning: int64."""

    rows: np.ndarray
    counts: np.ndarray
    starts: np.ndarray


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

    def rarest(self, needle: np.ndarray) -> tuple[int, int]:
        """Which unit of the needle is the rarest in the stream, and how often it stands there."""
        inside = (needle >= 0) & (needle < len(self.frequency))
        frequency = np.where(inside, self.frequency[np.where(inside, needle, 0)], 0)
        place = int(frequency.argmin())
        return place, int(frequency[place])

    def find(self, needle: np.ndarray, rows: np.ndarray | None = None) -> Found:
        """Every document with the needle; overlapping occurrences count each.

            documents `1 2 1 2 1 | 2 1`, needle `1 2 1`  ->  row 0, twice, first at 0

        Args:
          needle: int64 [units], at least one.
          rows: documents to look into, ascending; None: all.
        """
        anchor, frequency = self.rarest(needle)
        found = []
        if frequency:
            found = [
                self._compared(some, needle, anchor)
                for some in self._anchored(needle, anchor, rows)
            ]
        places = np.concatenate([np.zeros(0, np.int64), *found])
        if len(places) < len(self.starts):
            owners = np.searchsorted(self.starts, places, "right") - 1
            inside = places + len(needle) <= self.starts[owners + 1]
            held, firsts, counts = np.unique(owners[inside], return_index=True, return_counts=True)
            return Found(held, counts, places[inside][firsts] - self.starts[held])
        # Of so many places it is quicker to ask for each document which are its.
        begin = np.searchsorted(places, self.starts[:-1])
        counts = np.searchsorted(places, self.starts[1:] - len(needle), "right") - begin
        held = np.flatnonzero(counts > 0)
        return Found(held, counts[held], places[begin[held]] - self.starts[held])

    def _anchored(self, needle: np.ndarray, anchor: int, rows: np.ndarray | None):
        """Places at which the needle may begin, since its rarest unit stands where it should, in chunks."""
        sizes = None if rows is None else self.starts[rows + 1] - self.starts[rows]
        if sizes is None or sizes.sum() > len(self.units) // _WHOLE_SHARE:
            yield from self._in_stretch(needle, anchor, 0, len(self.units))
        elif sizes.sum() > _LONG * len(rows):
            for start, size in zip(self.starts[rows].tolist(), sizes.tolist(), strict=True):
                yield from self._in_stretch(needle, anchor, start, start + size)
        else:
            yield from self._in_short_documents(needle, anchor, self.starts[rows], sizes)

    def _in_stretch(self, needle: np.ndarray, anchor: int, start: int, stop: int):
        last = stop - len(needle) + 1
        for begin in range(start, last, _CHUNK):
            end = min(begin + _CHUNK, last)
            yield begin + np.flatnonzero(
                self.units[begin + anchor : end + anchor] == needle[anchor]
            )

    def _in_short_documents(
        self, needle: np.ndarray, anchor: int, starts: np.ndarray, sizes: np.ndarray
    ):
        sizes = np.maximum(
            sizes - len(needle) + 1, 0
        )  # so many places has a document where the needle may begin
        for begin in range(0, len(starts), _CHUNK // _LONG):
            some = slice(begin, begin + _CHUNK // _LONG)
            ends = np.cumsum(sizes[some])
            places = np.arange(int(ends[-1])) + np.repeat(
                starts[some] - ends + sizes[some], sizes[some]
            )
            yield places[self.units[places + anchor] == needle[anchor]]

    def _compared(self, places: np.ndarray, needle: np.ndarray, anchor: int) -> np.ndarray:
        """Those of the places at which the whole needle stands."""
        for number, unit in enumerate(needle):
            if len(places) <= _ONE_BY_ONE:
                break
            if number != anchor:
                places = places[self.units[places + number] == unit]
        else:
            return places
        size = len(needle)
        same = [np.array_equal(self.units[place : place + size], needle) for place in places]
        return places[np.array(same, bool)]
