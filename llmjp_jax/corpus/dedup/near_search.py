"""The search for near-duplicates within a window of paragraphs sorted by signature, as machine code."""

from __future__ import annotations

import numpy as np

from llmjp_jax.corpus.dedup.machine_code import compiled
from llmjp_jax.corpus.dedup.simhash import (
    LENGTH_DIFFERENCE,
    LONG_TEXT,
    LONG_WORDS,
    MATCHING_BITS,
    SHORT_TEXT,
    SHORT_WORDS,
    edits_agree,
    is_long_pair,
    lengths_agree,
    long_bitset,
    long_bitsets_agree_at,
    matching_bits,
    ones,
    short_bitset,
    short_overlap_agrees,
)

# A pair is long where its mean length is above 30, and its lengths differ by at most 50: so its texts have at least
# the one length, and those of a short pair at most the other.
_LEAST_OF_LONG = LONG_TEXT + 1 - LENGTH_DIFFERENCE // 2
_MOST_OF_SHORT = LONG_TEXT + 1 + LENGTH_DIFFERENCE // 2


@compiled
def bitsets(units, starts):
    """The bitsets of texts: long uint64 [texts, 128], the bits set in them int64 [texts], short uint64 [texts, 12].

    `units` uint16: all texts' code units; `starts` int64 [texts + 1]: where each begins and the last ends.
    """
    texts = len(starts) - 1
    long = np.zeros((texts, LONG_WORDS), np.uint64)
    long_ones = np.zeros(texts, np.int64)
    short = np.zeros((texts, SHORT_WORDS), np.uint64)
    for text in range(texts):
        content = units[starts[text] : starts[text + 1]]
        if len(content) >= _LEAST_OF_LONG:
            long[text] = long_bitset(content)
            long_ones[text] = ones(long[text])
        if len(content) <= _MOST_OF_SHORT:
            short[text] = short_bitset(content)
    return long, long_ones, short


@compiled
def _root(parents, text):
    while parents[text] != text:
        parents[text] = parents[parents[text]]
        text = parents[text]
    return text


@compiled
def find_pairs(signatures, units, starts, long, long_ones, short, oldest, first):
    """Near-duplicates among texts sorted by signature: int64 [pairs, 2], later and earlier index.

    Each text from index `first` on is compared with those from `oldest[text]` (int64 [texts]) to the one before it. Not all
    pairs are listed, but enough to connect what they connect: two texts joined already are not compared again.
    """
    texts = len(signatures)
    parents = np.arange(texts)
    lengths = starts[1:] - starts[:-1]
    pairs = np.empty((texts, 2), np.int64)
    count = 0
    for later in range(first, texts):
        length = lengths[later]
        for earlier in range(later - 1, oldest[later] - 1, -1):
            if not lengths_agree(length, lengths[earlier]):
                continue
            if matching_bits(signatures[later], signatures[earlier]) < MATCHING_BITS:
                continue
            a, b = _root(parents, later), _root(parents, earlier)
            if a == b:
                continue
            if is_long_pair(length, lengths[earlier]):
                total = long_ones[later] + long_ones[earlier]
                near = long_bitsets_agree_at(long[later], long[earlier], total)
            else:
                bigrams = length > SHORT_TEXT and lengths[earlier] > SHORT_TEXT
                near = short_overlap_agrees(short[later], short[earlier], bigrams) and edits_agree(
                    units[starts[later] : starts[later + 1]],
                    units[starts[earlier] : starts[earlier + 1]],
                )
            if near:
                parents[a] = b
                pairs[count, 0], pairs[count, 1] = later, earlier
                count += 1
    return pairs[:count].copy()
