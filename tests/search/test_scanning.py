"""Occurrences in joined documents, against the plainest loop."""

import numpy as np
import pytest

from llmjp_jax.search import scanning
from llmjp_jax.search.scanning import Stream


def stream_of(documents) -> Stream:
    units = np.concatenate([np.zeros(0, np.uint8), *(np.array(d, np.uint8) for d in documents)])
    starts = np.cumsum([0, *map(len, documents)])
    return Stream(units, starts, np.bincount(units, minlength=5).astype(np.int64))


def looked_up(stream, needle, rows=None) -> list[tuple[int, int, int]]:
    found = stream.find(needle, rows)
    return [
        (row, count, stream.first(needle, row))
        for row, count in zip(found.rows.tolist(), found.counts.tolist(), strict=True)
    ]


def by_looking(documents, needle) -> list[tuple[int, int, int]]:
    """(row, count, first) of each document that has the needle."""
    found = []
    for row, document in enumerate(documents):
        places = [p for p in range(len(document) - len(needle) + 1) if list(document[p : p + len(needle)]) == list(needle)]  # fmt: skip
        if places:
            found.append((row, len(places), places[0]))
    return found


@pytest.mark.parametrize("small_chunks", [False, True])
@pytest.mark.parametrize("long_documents", [False, True])
def test_finding_equals_looking(monkeypatch, small_chunks, long_documents):
    if small_chunks:
        monkeypatch.setattr(scanning, "_CHUNK", 7)
        monkeypatch.setattr(scanning, "_ONE_BY_ONE", 1)
        monkeypatch.setattr(scanning, "_RARE", 4)
        monkeypatch.setattr(scanning, "_TOGETHER", 3)
    monkeypatch.setattr(scanning, "_LONG", 3 if long_documents else 7)
    draw, ways = np.random.default_rng(0), set()
    for _ in range(600):
        documents = [draw.integers(0, 3, draw.integers(0, 12)) for _ in range(draw.integers(1, 40))]
        stream = stream_of(documents)
        needle = draw.integers(0, 4, draw.integers(1, 5))
        expected = by_looking(documents, needle)
        assert looked_up(stream, needle) == expected
        rows = np.flatnonzero(draw.random(len(documents)) < draw.choice([0.05, 0.2, 0.9]))
        among = [one for one in expected if one[0] in rows]
        if set(rows) >= {row for row, *_ in expected}:  # candidates hold all that there is
            assert looked_up(stream, needle, rows) == among
        ways.add(
            len(rows)
            and int(stream.starts[rows + 1].sum() - stream.starts[rows].sum()) * 4
            > len(stream.units)
        )
    assert ways == {0, True}


def test_nothing_is_found_in_nothing():
    assert [len(part) for part in stream_of([[], []]).find(np.array([1]))] == [0, 0]
