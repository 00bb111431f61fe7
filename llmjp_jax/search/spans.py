"""The longest stretches of a sequence of which something holds, such as that they stand in a corpus, found with few questions.

What is asked, and of what (characters or token ids), is for the caller: see `attribution`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

# Where nothing is found, parts of at least so much of the shortest span are asked for: shorter ones are common, so that an index
# takes long to find them, and that they are there lets nothing more be passed over.
_SHORTEST_PART = 0.5


class Span(NamedTuple):
    """A stretch of a sequence, its end not included."""

    start: int
    stop: int


def longest_spans(
    length: int, contains: Callable[[int, int], bool], minimum: int | Sequence[int]
) -> list[Span]:
    """Every span of at least `minimum` units that is contained and that no contained span is a part of, by start.

        the corpus `abcd`, `cde`, the text `abcdex`, at least 2 units  ->  [0, 4) `abcd`, [2, 5) `cde`

    When a stretch is not contained, how short a part at its end is not contained either tells how many starts no span can have.
    So it asks at most four times for each unit, and in running text, found or not, less than once.

    Args:
      length: of the sequence.
      contains: whether [start, stop) is contained. A part of what is contained must be contained too. It is asked only of
        stretches of at least half of `minimum`.
      minimum: units, at least 1; or for each start the stop that a span from there must reach, never descending, where one
        that lies behind `length` allows no span from there on.
    """
    least = range(minimum, minimum + length) if isinstance(minimum, int) else minimum
    if length and least[0] < 1:
        raise ValueError(f"a span has at least one unit, not {least[0]}")
    spans: list[Span] = []
    start = stop = 0  # what is still to be found begins at `start` or later, and reaches `stop`
    while start < length:
        stop = max(stop, least[start])
        if stop > length:
            break
        if contains(start, stop):
            end = _first(stop + 1, length + 1, lambda place, start=start: not contains(start, place)) - 1  # fmt: skip
            spans.append(Span(start, end))
            start, stop = start + 1, end + 1
        else:
            shortest = max(1, int((least[start] - start) * _SHORTEST_PART))
            start = _first(start + 1, stop - shortest + 1, lambda place, stop=stop: contains(place, stop))  # fmt: skip
    return spans


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The smallest of low..high for which something holds that holds from there on; of `high` it is not asked.

    Near `low` it takes one or two questions, and never more than twice the logarithm of the distance.
    """
    step = 1
    while low < high:
        place = min(low + step, high) - 1
        if holds(place):
            high = place
            break
        low, step = place + 1, 2 * step
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
