"""Exact occurrences of a needle in documents that lie one after another in an array: bytes of text, or token ids.

Tantivy proposes documents; this decides, and counts. It is plain comparison of integers, so that it can be believed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_CHUNK = 1 << 18  # units compared at a time: what is made of them stays in the processor's cache
_RARE = (
    256  # a unit that makes up less than one in so many leaves few places to compare by themselves
)
_COMMON = 32  # more than one in so many: no use in looking for the places of one unit first
_TOGETHER = 8  # units of a needle without a rare one that are compared everywhere
_ONE_BY_ONE = 16  # so few places are compared whole, one after another
_WHOLE_SHARE = 4  # where candidates are more than a quarter of a stream, all of it is read
_LONG = 1_000  # units of a document that is read by itself; of shorter ones many at once
# Threads that read whole streams at a time: more would take the memory's bandwidth from one another, and from short queries.
_SCANS = threading.BoundedSemaphore(max(1, (os.cpu_count() or 1) // 2))


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
        sizes = None if rows is None else self.starts[rows + 1] - self.starts[rows]
        if sizes is None or sizes.sum() > len(self.units) // _WHOLE_SHARE:
            with _SCANS:
                return self._find_everywhere(needle, order)
        if sizes.sum() > _LONG * len(rows):
            stretches = zip(self.starts[rows].tolist(), sizes.tolist(), strict=True)
            begins = (
                some
                for start, size in stretches
                for some in self._in_stretch(needle, order[:1], start, start + size)
            )
        else:
            begins = self._in_short_documents(needle, order[0], self.starts[rows], sizes)
        found = [self._compared(some, needle, order) for some in begins]
        return self._owned(np.concatenate([np.zeros(0, np.int64), *found]), len(needle))

    def _find_everywhere(self, needle: np.ndarray, order: np.ndarray) -> Found:
        together = order[:1] if self._has_rare(needle, _RARE) else order[:_TOGETHER]
        if len(together) == len(order) and self._begins_often(needle):
            return self._counted(needle)
        begins = self._in_stretch(needle, together, 0, len(self.units))
        found = [self._compared(some, needle, order) for some in begins]
        return self._owned(np.concatenate([np.zeros(0, np.int64), *found]), len(needle))

    def first(self, needle: np.ndarray, row: int) -> int:
        """Where the needle stands first in a document that has it, from its beginning."""
        order, (start, stop) = self._by_rarity(needle), self.starts[row : row + 2].tolist()
        needle = needle.astype(self.units.dtype)
        for some in self._in_stretch(needle, order[:1], start, stop):
            places = self._compared(some, needle, order)
            if len(places):
                return int(places[0]) - start
        raise ValueError(f"row {row} does not hold the needle")

    def is_common(self, needle: np.ndarray) -> bool:
        """Whether the needle's units are all so frequent that scanning is quicker than anything else."""
        return self._by_rarity(needle) is not None and not self._has_rare(needle, _COMMON)

    def _has_rare(self, needle: np.ndarray, share: int) -> bool:
        """Whether a unit of the needle, whose units all stand in the stream, is less than one in `share` of it."""
        return int(self.frequency[needle].min()) * share < len(self.units)

    def _begins_often(self, needle: np.ndarray) -> bool:
        """Whether the needle begins at more than one place in `_COMMON`, as far as the first units tell."""
        marks = self._marks(needle, range(len(needle)), 0, _CHUNK)
        return np.count_nonzero(marks) * _COMMON > len(marks)

    def _by_rarity(self, needle: np.ndarray) -> np.ndarray | None:
        """The places in the needle, those of its rarest units first; None where the stream lacks one of them."""
        inside = (needle >= 0) & (needle < len(self.frequency))
        frequency = np.where(inside, self.frequency[np.where(inside, needle, 0)], 0)
        order = np.argsort(frequency, kind="stable")
        return order if frequency[order[0]] else None

    def _counted(self, needle: np.ndarray) -> Found:
        """`find` in everything for a short needle: the places where it begins are marked, and only counted, since they are many."""
        begins = self.starts[:-1]
        ends = np.maximum(self.starts[1:] - len(needle) + 1, begins)
        counts, so_far = np.zeros(len(begins), np.int64), 0
        for begin in range(0, len(self.units) - len(needle) + 1, _CHUNK):
            marks = self._marks(needle, range(len(needle)), begin, begin + _CHUNK)
            before = _marks_before(marks)
            for places, sign in ((ends, 1), (begins, -1)):
                some = slice(*np.searchsorted(places, (begin, begin + _CHUNK)))
                counts[some] += sign * (so_far + before(places[some] - begin))
            so_far += int(np.count_nonzero(marks))
        for places, sign in (
            (ends, 1),
            (begins, -1),
        ):  # those behind the last place where the needle may begin
            counts[np.searchsorted(places, begin + _CHUNK) :] += sign * so_far
        held = np.flatnonzero(counts)
        return Found(held, counts[held])

    def _marks(self, needle: np.ndarray, units: Iterable[int], begin: int, end: int) -> np.ndarray:
        """Whether these units of the needle stand where they should if it begins at begin..end-1: bool, short at the end of all."""
        end = min(end, len(self.units) - len(needle) + 1)
        first, *others = units
        same = self.units[begin + first : end + first] == needle[first]
        for place in others:
            same &= self.units[begin + place : end + place] == needle[place]
        return same

    def _owned(self, places: np.ndarray, size: int) -> Found:
        """Places, ascending, by documents; those that reach beyond theirs are dropped."""
        owners = np.searchsorted(self.starts, places, "right") - 1
        owners = owners[places + size <= self.starts[owners + 1]]
        first = np.flatnonzero(np.diff(owners, prepend=-1))
        return Found(owners[first], np.diff(first, append=len(owners)))

    def _in_stretch(self, needle: np.ndarray, units: np.ndarray, start: int, stop: int):
        """Places at which the needle may begin, since these units of it stand where they should, in chunks."""
        last = stop - len(needle) + 1
        for begin in range(start, last, _CHUNK):
            yield begin + np.flatnonzero(
                self._marks(needle, units.tolist(), begin, min(begin + _CHUNK, last))
            )

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


def _marks_before(marks: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function of places 0..len(marks), int64, that says how many marks stand before each.

    Eight marks are one word, whose ones are counted at once: a tenth of the time that a running sum of single marks takes.
    """
    padded = np.concatenate([marks, np.zeros(8 - len(marks) % 8, bool)])
    words = padded.view("<u8")
    sums = np.zeros(len(words) + 1, np.int64)
    np.cumsum(np.bitwise_count(words), out=sums[1:])

    def before(places: np.ndarray) -> np.ndarray:
        places = np.minimum(places, len(marks))
        word, inside = places >> 3, (places & 7).astype(np.uint64)
        low = (np.uint64(1) << (inside * np.uint64(8))) - np.uint64(
            1
        )  # the bytes of a word that lie before the place
        return sums[word] + np.bitwise_count(words[word] & low)

    return before
