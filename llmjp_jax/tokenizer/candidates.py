"""The substrings of words that a vocabulary is chosen from, with how often each occurs in the text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from llmjp_jax.tokenizer.layout import SPACE


def count_words(lines: Iterable[str]) -> Counter[str]:
    """How often each word occurs, with `▁` before it: "a b a" -> {"▁a": 2, "▁b": 1}.

    Only U+0020 ends a word, as in SentencePiece: an ideographic space is a character like others.
    """
    words: Counter[str] = Counter()
    for line in lines:
        words.update(filter(None, line.split(" ")))
    return Counter({SPACE + word: count for word, count in words.items()})


def frequent_substrings(
    words: Mapping[str, int], max_length: int, min_frequency: int, at_most: int | None = None
) -> list[tuple[str, int]]:
    """Substrings with their counts: single characters all, those of 2 to `max_length` from `min_frequency` times on.

    Overlapping occurrences count. Longer ones are looked for only where their beginning is frequent. Takes about 60 bytes
    of memory for each character of the different words.

    Args:
      words: word -> how often it occurs.
      at_most: keep of the longer ones only so many, those that cover most text (count x length).

    Returns: by length, then in the order of their characters.
    """
    text = np.frombuffer("".join(f"{word}\n" for word in words).encode("utf-32-le"), np.uint32)
    counts_of = np.fromiter(words.values(), np.int64, len(words))
    lengths = np.fromiter(map(len, words), np.int64, len(words)) + 1
    weights = np.repeat(counts_of, lengths)
    alphabet, characters = np.unique(text, return_inverse=True)
    newline = np.searchsorted(alphabet, ord("\n"))
    positions = np.flatnonzero(text != ord("\n"))
    groups = characters[positions].astype(
        np.int64
    )  # equal where the substrings at two positions are
    totals = np.bincount(groups, weights[positions], len(alphabet)).astype(np.int64)
    singles = [(chr(point), int(n)) for point, n in zip(alphabet, totals, strict=True) if n]
    levels = []  # (first position, length, count) of the substrings of each length
    for length in range(2, max_length + 1):
        ends = positions + length - 1
        inside = (
            characters[ends] != newline
        )  # every word ends in a newline, so there is such a place
        positions, groups, ends = positions[inside], groups[inside], ends[inside]
        keys = groups * len(alphabet) + characters[ends]
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        totals = np.bincount(inverse, weights[positions], len(first)).astype(np.int64)
        frequent = totals >= min_frequency
        if not frequent.any():
            break
        found = np.stack([positions[first], np.full(len(first), length), totals], axis=1)
        levels.append(found[frequent])
        alive = frequent[inverse]
        positions, groups = positions[alive], inverse[alive].astype(np.int64)
    if not levels:
        return singles
    table = np.concatenate(levels)
    if at_most is not None and len(table) > at_most:
        best = np.argsort(-table[:, 1] * table[:, 2], kind="stable")[:at_most]
        table = table[np.sort(best)]
    return singles + [
        ("".join(map(chr, text[start : start + length])), count)
        for start, length, count in table.tolist()
    ]
