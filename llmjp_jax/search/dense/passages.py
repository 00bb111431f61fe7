"""Cuts a document into passages that each get a vector of their own, at the ends of sentences and lines where it can.

One vector for a long document would say what it is about and hide each sentence of it, and a model reads only the beginning.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence

# Behind what a passage may end: Japanese and Western ends of sentences with what closes after them, and lines.
_END = re.compile(r"[。．！？!?]+[」』）】)\]\"'”’]*|\.(?=\s)|\n")


def cut(
    text: str, count: Callable[[Sequence[str]], list[int]], limit: int
) -> list[tuple[int, int]]:
    """The passages of a text as (start, stop) in characters, without white space around them; none of an empty text.

    'A b. C d. E f.' with a count of words and limit 4 -> 'A b. C d.', 'E f.'

    Args:
      count: how many tokens each text is.
      limit: tokens of a passage. It is filled with sentences; one that is longer is halved until it fits.
    """
    ends = [match.end() for match in _END.finditer(text)]
    bounds = list(itertools.pairwise(dict.fromkeys([0, *ends, len(text)])))
    sizes = count([text[start:stop] for start, stop in bounds])
    found: list[tuple[int, int]] = []
    begin, filled = 0, 0
    for (start, stop), size in zip(bounds, sizes, strict=True):
        if filled + size > limit:
            found.append((begin, start))
            begin, filled = start, 0
        if size > limit:
            found += _halved(text, start, stop, count, limit)
            begin = stop
        else:
            filled += size
    found.append((begin, len(text)))
    return [span for span in (_stripped(text, *span) for span in found) if span[0] < span[1]]


def _halved(
    text: str, start: int, stop: int, count: Callable[[Sequence[str]], list[int]], limit: int
) -> list[tuple[int, int]]:
    """Parts of a sentence that is too long, cut at white space near the middle if there is any in the second quarter."""
    waiting, found = [(start, stop)], []
    while waiting:
        start, stop = waiting.pop()
        if stop - start < 2 or count([text[start:stop]])[0] <= limit:
            found.append((start, stop))
            continue
        middle = (start + stop) // 2
        space = text.rfind(" ", start + (stop - start) // 4 + 1, middle)
        middle = space if space > start else middle
        waiting += [(middle, stop), (start, middle)]
    return found


def _stripped(text: str, start: int, stop: int) -> tuple[int, int]:
    part = text[start:stop]
    return stop - len(part.lstrip()), start + len(part.rstrip())
