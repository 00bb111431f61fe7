"""The same questions answered by looking at everything, in other words than the index does; and queries to ask.

Documents are joined as bytes, and Python's own `bytes.find` goes through them.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Sequence

import numpy as np

from llmjp_jax.search import Counts


class Joined:
    """Documents that are searched one by one: `width` bytes make a unit."""

    def __init__(self, documents: Sequence[bytes], width: int):
        self.data, self.width = b"".join(documents), width
        self.ends = np.cumsum([len(document) for document in documents]).tolist()

    def find(self, needle: bytes) -> dict[int, list[int]]:
        """{document: the units at which the needle begins in it}."""
        found: dict[int, list[int]] = {}
        place = self.data.find(needle)
        while place >= 0:
            document = bisect.bisect_right(self.ends, place)
            start = self.ends[document - 1] if document else 0
            if place % self.width == 0 and place + len(needle) <= self.ends[document]:
                found.setdefault(document, []).append((place - start) // self.width)
            place = self.data.find(needle, place + 1)
        return found


def counts(found: dict[int, list[int]]) -> Counts:
    return Counts(len(found), sum(map(len, found.values())))


def joined_ids(rows: Sequence[np.ndarray]) -> Joined:
    return Joined([np.asarray(row, np.uint16).tobytes() for row in rows], 2)


def joined_texts(texts: Sequence[str]) -> Joined:
    return Joined([text.encode() for text in texts], 1)


def id_query(choose: random.Random, rows: Sequence[np.ndarray], vocab_size: int) -> list[int]:
    """1 to 12 ids: cut from a document, across the end of one, changed in one place, or drawn."""
    size, kind = choose.randint(1, 12), choose.random()
    if kind < 0.15:
        return [choose.randrange(vocab_size) for _ in range(size)]
    number = choose.randrange(len(rows) - 1)
    row = rows[number].tolist()
    if kind < 0.3:  # across the end
        row = row[-size:] + rows[number + 1].tolist()
    start = choose.randrange(max(1, len(row) - size + 1))
    query = row[start : start + size]
    if kind > 0.8:
        query[choose.randrange(len(query))] = choose.randrange(vocab_size)
    return query


SPECIAL = ["\n", "\t", "\u3000", "\r\n", "</", "&amp;", "'", '"', "\\", "*", "?", "(", "[^", "🐱", "👩‍👩‍👧", "𩸽", "が", "\x00", "\ufdd0"]  # fmt: skip
SPECIAL += [
    "\x1c",
    "\u2028",
    "\ufffd",
    "　「",
    "...",
    "  ",
    "\n\n",
    "<script>",
    "AND",
    "OR a",
    "a:b",
    "ｱ",
    "Ａ",
    "aa",
    "aaaa",
]


def text_query(choose: random.Random, texts: Sequence[str]) -> str:
    """1 to 40 characters: cut from a text, across the end of one, changed in one place, or special."""
    size, kind = choose.choice([1, 2, 3, 5, 8, 13, 20, 40]), choose.random()
    if kind < 0.1:
        return choose.choice(SPECIAL)
    number = choose.randrange(len(texts) - 1)
    text = texts[number] or choose.choice(SPECIAL)
    if kind < 0.2:
        text = text[-(size // 2 + 1) :] + texts[number + 1]
    start = choose.randrange(max(1, len(text) - size + 1))
    query = text[start : start + size]
    if kind < 0.25:
        return query + choose.choice(SPECIAL)
    if kind > 0.8:
        place = choose.randrange(len(query))
        query = query[:place] + choose.choice("猫xe。 ") + query[place + 1 :]
    return query
